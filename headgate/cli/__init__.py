"""The command line. Thin: each command's module says what it does, and is loaded when used."""

from headgate.cli.main import main

__all__ = ["main"]
