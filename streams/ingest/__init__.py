"""The ingest lane: from the broker into the log."""
