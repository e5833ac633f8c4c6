"""The messages of ``sparkplug_b.proto`` as classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from headgate.core.errors import DataError

#: What the names of the schema's messages begin with.
_PACKAGE = "headgate.sparkplug"


def _messages() -> dict[str, Any]:
    """The classes by their names. They are in a pool of their own, where no other's can be."""
    pool = descriptor_pool.DescriptorPool()
    compiled = Path(__file__).with_name("sparkplug_b.desc").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        pool.Add(file)  # type: ignore[no-untyped-call, unused-ignore]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in ("Payload", "DataSet", "Template")
    }


_CLASSES = _messages()

#: Made by calling it, as protobuf has it.
Payload: Any = _CLASSES["Payload"]


def parsed(kind: str, content: bytes) -> Any:  # noqa: ANN401
    """A message of this kind.

    Raises:
        DataError: ``not_sparkplug``: it is none.
    """
    try:
        return _CLASSES[kind].FromString(content)
    except (DecodeError, RecursionError) as error:
        raise DataError("not_sparkplug", f"no {kind} of Sparkplug B: {error}"[:200]) from None
