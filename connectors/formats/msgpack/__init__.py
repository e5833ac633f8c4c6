"""MessagePack: what JSON says, in fewer bytes."""
