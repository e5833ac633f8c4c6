"""Whether devices can be heard, as one process tells another."""

from __future__ import annotations

from pathlib import Path

from headgate.core.clock import NS_PER_S
from headgate.core.heartbeat import Heartbeat


def test_devices_are_heard_since_messages_flow(tmp_path: Path) -> None:
    """Not while they do not, nor once nothing has been said for some seconds."""
    ingest, streams = Heartbeat(tmp_path), Heartbeat(tmp_path)
    assert streams.heard_ns(5) is None

    ingest.beat(10 * NS_PER_S, 0, is_flowing=True)
    ingest.beat(11 * NS_PER_S, 0, is_flowing=True)
    assert streams.heard_ns(12 * NS_PER_S) == 10 * NS_PER_S

    ingest.beat(12 * NS_PER_S, 0, is_flowing=False)
    assert streams.heard_ns(13 * NS_PER_S) == 13 * NS_PER_S

    ingest.beat(14 * NS_PER_S, 0, is_flowing=True)
    assert streams.heard_ns(15 * NS_PER_S) == 14 * NS_PER_S
    assert streams.heard_ns(20 * NS_PER_S) == 20 * NS_PER_S


def test_a_beat_of_just_now_is_no_beat_of_another_boot(tmp_path: Path) -> None:
    """Both lanes wake at the same moments: one has read the clock when the other writes."""
    ingest, streams = Heartbeat(tmp_path), Heartbeat(tmp_path)
    ingest.beat(10 * NS_PER_S, 0, is_flowing=True)
    ingest.beat(40 * NS_PER_S + 1000, 0, is_flowing=True)

    assert streams.heard_ns(40 * NS_PER_S) == 10 * NS_PER_S


def test_what_is_left_of_another_boot_or_half_a_file_says_nothing(tmp_path: Path) -> None:
    """Then devices are waited for."""
    Heartbeat(tmp_path).beat(10**15, 0, is_flowing=True)
    assert Heartbeat(tmp_path).heard_ns(NS_PER_S) == NS_PER_S

    (tmp_path / "ingest.pulse").write_bytes(b"123")
    assert Heartbeat(tmp_path).heard_ns(NS_PER_S) == NS_PER_S


def test_when_messages_last_flowed_outlives_the_process(tmp_path: Path) -> None:
    """As the time of what arrives; an earlier version has not said it."""
    assert Heartbeat(tmp_path).flowed_ns() == 0
    Heartbeat(tmp_path).beat(10, 700, is_flowing=True)
    assert Heartbeat(tmp_path).flowed_ns() == 700
    Heartbeat(tmp_path).beat(20, 900, is_flowing=False)
    assert Heartbeat(tmp_path).flowed_ns() == 700

    (tmp_path / "ingest.pulse").write_bytes(bytes(16))
    assert Heartbeat(tmp_path).flowed_ns() == 0
    assert Heartbeat(tmp_path).heard_ns(NS_PER_S) == 0
