"""What can be installed beside Headgate, and how that is told."""

from __future__ import annotations

from headgate import __version__


def with_extra(name: str) -> str:
    """The command that adds an extra, for a message.

    Headgate is on no index, so it is its wheel that is named.
    """
    return (
        f"pip install './headgate-{__version__}-py3-none-any.whl[{name}]' "
        "(headgate init FOLDER puts the wheel into FOLDER/deploy/image)"
    )
