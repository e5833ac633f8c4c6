"""Where messages come from: a folder a kind of source."""
