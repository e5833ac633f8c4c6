"""What a connection tells of the gateway, retained: that it is there or, as its last will, gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class State:
    """What is told, of one connection.

    Attributes:
        topic: Where.
        online: That the gateway is there.
        offline: That it is not.
    """

    topic: str
    online: bytes
    offline: bytes


#: Makes it for a connection that is about to be made, given when, ns since 1970 UTC.
MakeState: TypeAlias = Callable[[int], State]


def own_state(gateway: str) -> MakeState:
    """A word in a topic of the gateway's own."""
    state = State(f"headgate/{gateway}/state", b"online", b"offline")
    return lambda _wall_ns: state


def host_state(host: str) -> MakeState:
    """The STATE of a host application of Sparkplug 3.0, for which its nodes wait.

    Birth and death of one connection have one time, by which a node tells an old death.

    Args:
        host: The gateway's id as a host application.
    """

    def made(wall_ns: int) -> State:
        told = [
            json.dumps({"online": is_online, "timestamp": wall_ns // _NS_PER_MS}).encode()
            for is_online in (True, False)
        ]
        return State(f"spBv1.0/STATE/{host}", *told)

    return made


def former_host_state(host: str) -> MakeState:
    """The same of Sparkplug 2.2, which has a word and no time.

    Args:
        host: The gateway's id as a host application.
    """
    state = State(f"STATE/{host}", b"ONLINE", b"OFFLINE")
    return lambda _wall_ns: state
