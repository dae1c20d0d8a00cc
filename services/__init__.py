"""Real servers on this machine: PostgreSQL with TimescaleDB, and an S3 server for tests."""
