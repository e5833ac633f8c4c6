"""The logs, a folder each, and which one the configuration asks for."""
