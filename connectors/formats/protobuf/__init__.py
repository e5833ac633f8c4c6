"""Protocol Buffers by a user's own schema."""
