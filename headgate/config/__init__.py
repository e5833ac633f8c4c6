"""The configuration file: its schema, and loading it with every mistake reported at once."""
