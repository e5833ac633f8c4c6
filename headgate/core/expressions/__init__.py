"""The language of derived channels: what it is made of, how it is read, and what it works out."""
