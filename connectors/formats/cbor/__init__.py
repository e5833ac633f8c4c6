"""CBOR: what JSON says, in fewer bytes."""
