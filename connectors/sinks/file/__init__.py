"""Points as lines of a file, for whatever reads files."""
