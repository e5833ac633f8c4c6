"""The gateway itself as a device: how much waits, what its disk has left, whether it hears."""
