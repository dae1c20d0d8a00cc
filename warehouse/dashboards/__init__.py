"""Dashboards over the metrics store: described once, drawn twice.

    *.yml        what is shown: titles, units, SQL with Grafana's macros
    described    what such a file may say
    macros       the macros and variables written out for a stretch of time, as Grafana does it
    grafana      the files that Grafana reads (`deploy/grafana/dashboards`), generated
    answers      the panels' queries put to the metrics store, read-only

`warehouse.page` draws the panels that say `page: true` for people without Grafana.
"""
