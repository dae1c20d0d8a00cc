"""The page that people look at: one HTML file about the version in force, written anew at each publish.

    figures    revenue, products and customers, by SQL in the published file
    account    checks, freshness, quarantine and changes of a publish, kept as its `record`
    plots      Vega-Lite, drawn to SVG at build time
    render     all of it set into `template/`
    write      the files `<WAREHOUSE_ROOT>/report/index.html` and `version-N.html`

It needs no server and asks for nothing from anywhere. `warehouse.report` is something else: what a build did.
"""
