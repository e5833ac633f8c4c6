"""A user's schema of Protocol Buffers, read with the configuration; no code is made of it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message_factory,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.message import DecodeError

from headgate.config.payload_path import parts_of

#: Files that everybody has, and that a descriptor set may have been written without.
_WELL_KNOWN = (timestamp_pb2, duration_pb2, wrappers_pb2)

#: No compiler takes longer, s.
_LONGEST_S = 60

#: Messages of a schema that a person is told of.
_TOLD = 10


def message_class(file: Path, name: str) -> Any:  # noqa: ANN401  (made while it runs)
    """The class of the message of this name in a descriptor set or ``.proto`` file.

    Raises:
        ValueError: There is none; the line begins with the key that is wrong.
    """
    try:
        changed_ns = file.stat().st_mtime_ns
    except OSError as error:
        raise ValueError(f"file: expected a schema at {file}: {error.strerror}") from None
    return _message_class(file, changed_ns, name)


@cache
def _message_class(file: Path, _changed_ns: int, name: str) -> Any:  # noqa: ANN401
    try:
        content = _compiled(file) if file.suffix == ".proto" else file.read_bytes()
    except OSError as error:
        raise ValueError(f"file: {file} can't be read: {error.strerror}") from None
    files = descriptor_pb2.FileDescriptorSet()
    try:
        files.ParseFromString(content)
    except DecodeError:
        files.Clear()
    if not files.file:
        raise ValueError(
            f"file: expected a .proto file, or what protoc --include_imports "
            f"--descriptor_set_out={file.name} writes, got something else in {file}"
        )
    pool = descriptor_pool.DescriptorPool()
    there = {each.name for each in files.file}
    try:
        for known in _WELL_KNOWN:
            if known.DESCRIPTOR.name not in there:
                pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
        for each in files.file:
            pool.Add(each)
        found = pool.FindMessageTypeByName(name)
    except KeyError:
        told = ", ".join(_messages(files)[:_TOLD])
        raise ValueError(f"message: no message {name} in {file}; there is {told}") from None
    except (TypeError, DecodeError) as error:
        raise ValueError(
            f"file: {file} can't be used: {error}; was it written with --include_imports?"[:300]
        ) from None
    return message_factory.GetMessageClass(found)


def _messages(files: Any) -> list[str]:  # noqa: ANN401
    """Full names of a schema's messages, but for those that everybody has."""
    return [
        f"{file.package}.{message.name}".strip(".")
        for file in files.file
        if file.package != "google.protobuf"
        for message in file.message_type
    ]


def no_field(kind: Any, path: str) -> str:  # noqa: ANN401
    """Why a path leads nowhere in messages of a class; empty when it may lead somewhere."""
    message, parts = kind.DESCRIPTOR, list(parts_of(path))
    while parts:
        name = parts.pop(0)
        field = message.fields_by_name.get(name)
        if field is None:
            told = ", ".join(each.name for each in message.fields)
            return f"no field {name} in {message.full_name}; it has {told}"
        if is_map(field):
            del parts[:1]
            field = field.message_type.fields_by_name["value"]
        elif field.is_repeated and parts and not parts.pop(0).isdecimal():
            return (
                f"{name} in {message.full_name} is an array; give a place in it, such as "
                f'"{name}.0", or records = "{name}"'
            )
        inner = field.message_type
        if inner is not None and inner.file.package == "google.protobuf":
            return ""
        if inner is None:
            return f"{name} in {message.full_name} has no fields" if parts else ""
        message = inner
    return ""


def is_map(field: Any) -> bool:  # noqa: ANN401
    """Whether a field is a map, which is written as a repeated message."""
    kind = field.message_type
    return kind is not None and kind.GetOptions().map_entry


def _compiled(file: Path) -> bytes:
    """A ``.proto`` file as a descriptor set."""
    if importlib.util.find_spec("grpc_tools") is None:
        raise ValueError(
            f"file: {file.name} must be compiled; install headgate[proto], or give what protoc "
            "--include_imports --descriptor_set_out=FILE writes"
        )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={file.parent}"]
        command += ["--include_imports", f"--descriptor_set_out={out}", str(file)]
        try:
            done = subprocess.run(  # noqa: S603  (the compiler that is installed with us)
                command, capture_output=True, text=True, timeout=_LONGEST_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ValueError(f"file: {file} can't be compiled: {error}") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            told = next((line for line in lines if "error" in line.lower() or ":" in line), "")
            raise ValueError(f"file: {file} can't be compiled: {told}"[:400])
        return out.read_bytes()
