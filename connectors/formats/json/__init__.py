"""JSON: objects, and arrays of them."""
