"""The metrics store: hypertables as declared state, loading, roll-ups and retention. Knows neither lake nor Dagster."""
