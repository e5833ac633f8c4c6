"""What is missing between two readings."""
