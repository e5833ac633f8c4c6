"""The forward lane: results out of the log, to each sink."""
