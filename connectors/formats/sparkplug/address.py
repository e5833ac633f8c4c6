"""Whose a message of Sparkplug B is, as its topic says."""

from __future__ import annotations

from dataclasses import dataclass, field

from connectors.formats.sparkplug.nodes import NodeName
from headgate.core.errors import DataError

#: The first level of every topic.
NAMESPACE = "spBv1.0"

_BIRTHS = frozenset({"NBIRTH", "DBIRTH"})
_DATA = frozenset({"NDATA", "DDATA"})
_KINDS = _BIRTHS | _DATA | {"NDEATH", "DDEATH"}
_COMMANDS = frozenset({"NCMD", "DCMD"})


@dataclass(frozen=True, slots=True)
class Address:
    """Whose message one is, and what kind of.

    Attributes:
        kind: As the topic has it: NBIRTH, DDATA …
        node: The edge node.
        device: The device; empty where it is of the node itself.
    """

    kind: str
    node: NodeName
    device: str = ""
    is_data: bool = field(init=False)
    is_birth: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_data", self.kind in _DATA)
        object.__setattr__(self, "is_birth", self.kind in _BIRTHS)


def address_of(topic: bytes) -> Address | None:
    """Whose message this is; None for commands and what hosts say of themselves.

    Raises:
        DataError: ``not_sparkplug``: the topic is none of Sparkplug's.
    """
    levels = topic.decode(errors="replace").split("/")
    if levels[0] == NAMESPACE and 3 <= len(levels) <= 5:
        if levels[1] == "STATE":
            return None
        kind = levels[2]
        has_device = len(levels) == 5
        if kind in _COMMANDS:
            return None
        if len(levels) > 3 and all(levels) and kind in _KINDS and has_device == (kind[0] == "D"):
            return Address(kind, NodeName(levels[1], levels[3]), levels[4] if has_device else "")
    raise DataError("not_sparkplug", "expected a topic such as spBv1.0/GROUP/DDATA/NODE/DEVICE")
