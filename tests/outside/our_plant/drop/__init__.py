"""Messages as files that something else puts into a folder."""
