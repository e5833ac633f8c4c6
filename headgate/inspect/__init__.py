"""What reads what stands in the log and the store, for people."""
