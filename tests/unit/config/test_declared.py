"""What a key is declared as decides what is checked and hidden, whatever the key is called."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.sinks.configured import configured_sinks
from headgate.config.certificates import certificates
from headgate.config.insecure import insecure
from headgate.config.load import load_config
from headgate.config.schema import Config
from headgate.core.components import installed
from headgate.core.errors import ConfigError

_FEED = '[feed.pump]\ntopic = "plant/{device}"\nchannels.flow = {}\n'
_CODE = """
from connectors.sinks.sink import SinkComponent
from headgate.config.table import Table
from headgate.config.values import (
    CertificatesFile, OwnCertificateFile, PrivateKeyFile, SecretFile, SecretVariable, WritableFile
)
from headgate.core.components import Component

class Inner(Table):
    trusted: CertificatesFile | None = None
    shown: OwnCertificateFile | None = None
    proof: PrivateKeyFile | None = None

class Odd(Table):
    phrase: SecretFile | None = None
    where: SecretVariable | None = None
    more: tuple[Inner, ...] = ()
    out: WritableFile | None = None

    def insecure(self):
        yield "phrase: is short; make it longer"

ODD = SinkComponent("odd", Odd, print)
PLAIN = Component("plain", Odd, print)
"""


@pytest.fixture(autouse=True)
def _brought(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A distribution that adds sinks: a good one, one that is none, one that can't be loaded."""
    site = tmp_path / "site"
    info = site / "odd_plant-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-plant\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(
        "[headgate.sinks]\nodd = odd_plant:ODD\nplain = odd_plant:PLAIN\nlost = odd_plant:LOST\n"
    )
    (site / "odd_plant.py").write_text(_CODE)
    monkeypatch.syspath_prepend(site)
    installed.cache_clear()
    yield
    installed.cache_clear()
    sys.modules.pop("odd_plant", None)


def _config(folder: Path, text: str) -> Config:
    (folder / "plant.toml").write_text(f"[sink.s]\n{text}\n{_FEED}")
    return load_config(folder / "plant.toml")


def _problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as found:
        _config(folder, text)
    return [line.removeprefix(f"{folder}/plant.toml:") for line in found.value.problems]


def test_a_value_that_may_be_a_secret_is_not_shown(tmp_path: Path) -> None:
    """Of the wrong type, or with what can't be a name in it."""
    assert _problems(tmp_path, 'type = "odd"\nphrase = 4711\nwhere = "hunter 2"') == [
        "3: sink.s.phrase: expected a path as text",
        "4: sink.s.where: expected the name of an environment variable, such as HEADGATE_TOKEN",
    ]


def test_what_is_named_must_be_there(tmp_path: Path) -> None:
    """In tables within the table, too, and meant from the file's folder."""
    (tmp_path / "key").write_text("k")
    (tmp_path / "key").chmod(0o644)
    (tmp_path / "void").touch()
    found = _problems(
        tmp_path,
        'type = "odd"\nphrase = "void"\nwhere = "HEADGATE_NOT_SET"\n'
        'more = [{}, { trusted = "ca", proof = "key" }]',
    )

    assert found[:3] == [
        "3: sink.s.phrase: expected a phrase, found an empty file",
        "4: sink.s.where: environment variable HEADGATE_NOT_SET is not set",
        f"5: sink.s.more.1.trusted: expected a file, found none at {tmp_path}/ca",
    ]
    assert found[3].startswith("5: sink.s.more.1.proof: expected a key that only its owner can ")


def test_what_is_named_is_warned_of(tmp_path: Path) -> None:
    """Certificates when they expire, and what the table says of itself."""
    # Up to the times, as X.509 has it; a lane reads no more.
    times = b"\x30\x1e" + 2 * b"\x17\x0d500102030405Z"
    signed = b"\x02\x01\x01" + b"\x30\x00" + b"\x30\x00" + times
    der = bytes([0x30, len(signed) + 2, 0x30, len(signed)]) + signed
    (tmp_path / "cert").write_text(ssl.DER_cert_to_PEM_cert(der))
    config = _config(tmp_path, 'type = "odd"\nmore = [{ trusted = "cert", shown = "cert" }]')

    assert [each.key for each in certificates(config)] == [
        "sink.s.more.0.trusted",
        "sink.s.more.0.shown",
    ]
    assert "sink.s.phrase: is short; make it longer" in list(
        insecure(config, tmp_path / "plant.toml")
    )


def test_a_file_that_is_written_is_nobody_elses(tmp_path: Path) -> None:
    """Here the log's."""
    assert _problems(tmp_path, 'type = "odd"\nout = "log.db"') == [
        (
            f"3: sink.s.out: expected a file of its own, got {tmp_path}/data/log.db, which log.url "
            "names, too"
        )
    ]


def test_what_can_not_be_loaded_is_told_with_its_package(tmp_path: Path) -> None:
    """At the key that asks for it."""
    (problem,) = _problems(tmp_path, 'type = "lost"')
    assert problem.startswith(
        "2: sink.s.type: headgate.sinks: lost (odd-plant 2.0) can't be loaded"
    )
    with pytest.raises(ConfigError, match=r"plain: expected a SinkComponent, got Component"):
        configured_sinks(_config(tmp_path, 'type = "plain"'))
