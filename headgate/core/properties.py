"""What MQTT 5 says beside a message, as far as anybody asks for it."""

from __future__ import annotations

from typing import NamedTuple


class Properties(NamedTuple):
    """What is said beside a message, as it was sent.

    Attributes:
        content_type: What it is; empty where nothing says that.
        user: Names and values of the user properties that are asked for, each name once.
    """

    content_type: bytes = b""
    user: tuple[tuple[bytes, bytes], ...] = ()


class Asked(NamedTuple):
    """What is asked for.

    Attributes:
        content_type: Whether the content type is.
        user: Names of user properties.
    """

    content_type: bool
    user: frozenset[bytes]


#: Of a message that says nothing.
NOTHING = Properties()
