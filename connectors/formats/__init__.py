"""Payload formats: how the bytes of a message become readings."""
