"""What can't be."""
