"""What stands alone."""
