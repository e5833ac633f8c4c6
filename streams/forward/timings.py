"""How a forward lane spends its time, and how much it takes at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardTimings:
    """What nobody configures, and tests make smaller.

    Attributes:
        wait_s: Longest wait for a record; then there are other things to look after.
        first_pause_s: First pause between two tries to write.
        longest_pause_s: The longest one.
        read_bytes: Read of one partition at a time. Points are many times larger than the records
            they are made of, and a small box has to hold those of all partitions.
        thinned_bytes: Read at once, of records that are thinned or only looked at.
        warning_s: Between two warnings about the same sink, or that points are given up.
        look_s: Between two looks at how much waits.
        live_ms: Aggregates that have waited for so long are backlog: newer ones go first.
        glance_s: How long live points are waited for while there is a backlog to send.
        piece_records: Records in a piece of the backlog at most.
        round_limit_s: A round that makes no progress for so long hangs: each call of a sink ends
            earlier.
    """

    wait_s: float = 5.0
    first_pause_s: float = 0.2
    longest_pause_s: float = 30.0
    read_bytes: int = 64 << 10
    thinned_bytes: int = 1 << 20
    warning_s: float = 60.0
    look_s: float = 1.0
    live_ms: int = 10_000
    glance_s: float = 0.01
    piece_records: int = 256
    round_limit_s: float = 600.0


#: As a gateway has them.
USUAL = ForwardTimings()
