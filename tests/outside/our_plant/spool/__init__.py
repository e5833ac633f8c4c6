"""A signed file a point, in a folder that something else empties."""
