"""How Headgate is installed: the files that travel with it, its wheel, and its own packages.

It is installed either from a wheel or, for development, in place from a checkout of the source.
"""
