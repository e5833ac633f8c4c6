"""What happens to a batch between the log and the sinks: the stages, and their agents."""
