"""Certificates and keys that the configuration names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headgate.config.certificates import Certificate, key_problem

_START = datetime(2026, 1, 1, tzinfo=UTC)
_END = datetime(2026, 12, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (_START - timedelta(days=1), "gw.pem is not valid before 2026-01-01 00:00 UTC; is the"),
        (_START, ""),
        (_END - timedelta(days=30, seconds=1), ""),
        (_END - timedelta(days=30), "gw.pem expires in 30 days, on 2026-12-31 12:00 UTC; renew it"),
        (_END, "gw.pem has expired, on 2026-12-31 12:00 UTC; renew it"),
    ],
)
def test_a_certificate_is_warned_of_thirty_days_ahead(now: datetime, says: str) -> None:
    """With its key, its file and its date."""
    warning = Certificate("mqtt.tls.cert_file", "gw.pem", _START, _END).warning(now)

    assert warning.startswith(f"mqtt.tls.cert_file: {says}" if says else "")
    assert bool(warning) == bool(says)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_of_its_owner_is_used(tmp_path: Path, mode: int) -> None:
    """Whatever the owner may do with it."""
    key = tmp_path / "key.pem"
    key.touch(mode)
    key.chmod(mode)

    assert key_problem(key) == ""


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """As ssh has it; with the mode, and what to type."""
    key = tmp_path / "key.pem"
    key.touch()
    key.chmod(mode)

    assert f"with mode {mode:04o}; chmod 600 {key}" in key_problem(key)


def test_a_key_that_is_not_there_is_somebody_elses_problem(tmp_path: Path) -> None:
    """Who opens it says so."""
    assert key_problem(tmp_path / "none.pem") == ""
