"""Orchestration: the way of the data as Dagster assets, checks, jobs, schedules and sensors; no rule of its own."""
