"""The edges: everything that talks to the outside world, a folder each."""
