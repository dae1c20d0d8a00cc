"""Ingestion: sources declared in `sources/*.yml`, read by connectors, committed to the lake. Knows no Dagster."""
