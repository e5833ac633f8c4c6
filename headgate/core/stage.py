"""The contract between the stages of ``streams`` and the runner.

A stage is pure and synchronous: no I/O, no wall clock, no logging. The same readings give the
same results whatever batches they are cut into. A stage that remembers something is a
``StatefulStage``; what it remembers belongs to devices, so that a device's state can be written
down, moved and restored on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headgate.core.batch import Batch
from headgate.core.channels import Device

#: Arrays of one stage's state. Every array has its own length; names are the stage's own.
StateBlock = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Readings that a stage does not pass on, and why.

    Attributes:
        reason: Short fixed word, a counter's label: ``"late"``, ``"duplicate"``, ``"conflict"`` …
        batch: The readings as the stage received them.
    """

    reason: str
    batch: Batch


@dataclass(frozen=True, slots=True)
class Output:
    """What a row-preserving stage made of a batch.

    Every reading that went in is in ``main`` or in exactly one of ``rejected``; a stage that says
    so may hold it instead, as part of its state, and pass it on or reject it later. ``main`` may
    hold further readings that the stage made up; those carry ``Quality.IMPUTED``.
    """

    main: Batch
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """The devices, and their channels, that a snapshot is about.

    Attributes:
        devices: int32[d], device rows of the pipeline's ``ChannelTable``, each once.
        channels: int32[c], all channel rows of those devices, each once.
    """

    devices: NDArray[np.int32]
    channels: NDArray[np.int32]


class StatefulStage(Protocol):
    """State that belongs to devices.

    State arrays are indexed by device row or channel row and grow on demand when a row is met
    that is not there yet. In a ``StateBlock`` rows are *positions in the selection* (0 … d-1 or
    0 … c-1), never table rows: a restored process numbers devices and channels anew.

    A block is checked before it is restored (``streams.stages.blocks``), by its names:
    ``PREFIXdevice`` and ``PREFIXchannel`` hold positions, and the arrays ``PREFIX…`` beside one
    have as many rows; ``…_ns`` are times. Types, and shapes without the rows, are always those of
    ``snapshot``.
    """

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: one that was made under another is not taken.

        The form of its arrays, and what of the configuration they make no sense without.
        """
        ...

    def snapshot(self, selection: Selection) -> StateBlock:
        """Copy out what is remembered of these devices. Does not change the stage."""
        ...

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a snapshot; the selection lists the same devices in the same order.

        Whatever was remembered of these devices is replaced. A restored stage goes on exactly
        as the one that made the snapshot would have.
        """
        ...

    def forget(self, selection: Selection) -> None:
        """Drop what is remembered of these devices, as if they had never been seen."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of one bucket's devices.

    Attributes:
        next_offset: State is complete for all ``readings`` records below this offset …
        covered: … of each device, int64[d]: further for some after a restart. None: as far.
        silent_ns: int64[c], for how long of the time that the gateway ran nothing has come of each
            channel. None: it is not known.
        devices: In the order of the blocks' device positions; without tags where they were told
            apart by their names alone.
        channels: Channel keys in the order of the blocks' channel positions.
        fingerprints: By stage, what its state's meaning depends on; see ``Pipeline``.
        blocks: By stage, its state.
        texts: Of the text channels, the texts whose codes may stand there, each with its channel's
            position.
    """

    next_offset: int
    devices: list[Device]
    channels: list[str]
    fingerprints: dict[str, str]
    blocks: dict[str, StateBlock]
    covered: NDArray[np.int64] | None = None
    silent_ns: NDArray[np.int64] | None = None
    texts: list[tuple[int, str]] = field(default_factory=list)
