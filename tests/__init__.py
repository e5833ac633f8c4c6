"""The tests. ``unit`` needs nothing; the rest says what it needs by a marker."""
