"""What is thrown away of a message that is too large."""

from __future__ import annotations

import ctypes
import mmap
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from connectors.mqtt import bulk_client


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is copied before it is dropped")
def test_it_takes_no_memory() -> None:
    """Neither the place that it is read into, nor what comes: each process has that place."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
    with sender, receiver:
        sender.sendall(bytes([1]) * 4096)
        fed = bulk_client._FedSocket(receiver)
        left = 4096
        while left:
            left -= fed.discard(left)

    assert _pages_in_memory(bulk_client._NOWHERE) == 0


def _pages_in_memory(place: mmap.mmap) -> int:
    """Of the pages of a mapping those that take memory."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(place))
    with Path("/proc/self/pagemap").open("rb") as pages:
        pages.seek(address // mmap.PAGESIZE * 8)
        entries = np.frombuffer(pages.read(len(place) // mmap.PAGESIZE * 8), np.uint64)
    # The highest bit says that a page is there, the next one that it is swapped out.
    return int(np.count_nonzero(entries >> np.uint64(62)))
