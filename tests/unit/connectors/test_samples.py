"""A connector's sample is valid, shows the defaults that are, and stands in its README."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

import connectors
import streams
from connectors.sinks.components import BUILT_IN
from connectors.sources.components import BUILT_IN as SOURCES
from headgate.config.channel import ChannelConfig
from headgate.config.chosen import TYPE
from headgate.config.schema import Config
from headgate.config.source import brings
from headgate.core.components import component, installed, sample
from streams.stages.clean.rules.components import BUILT_IN as RULES

#: Keys that have no default: what the sample shows is an example.
_EXAMPLES = {
    "username",
    "password_env",
    "password_file",
    "shared_group",
    "primary_host",
    "source",
    "ignore",
    "token_env",
    "token_file",
    "secret_env",
    "secret_file",
    "url_env",
    "url_file",
    "urls_env",
    "at_most",
    "unacknowledged_for",
    "repeat",
    "quiet",
    "body",
    "ca_file",
    # Only with another transport.
    "path",
    "headers",
    "socket",
}
_ROOT = Path(connectors.__file__).parent


def _load(values: dict[str, Any]) -> Config:
    feed = {"f": {"topic": "{device}", "channels": {"x": {}}}}
    return Config.model_validate({"sink": {"other": "local_store"}, "feed": feed, **values})


def _shown(table: str) -> dict[str, Any]:
    """Keys of a table that are commented out."""
    lines = [line[2:] for line in table.splitlines() if line.startswith("# ")]
    return tomllib.loads("\n".join(lines))


def _defaults(shown: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shown.items() if key not in _EXAMPLES}


def test_the_connections_sample_is_true() -> None:
    """Loaded as it is, and with each default that it shows, it is the same configuration."""
    sample = (_ROOT / "mqtt" / "sample.toml").read_text()
    table, _, _ = sample.partition("# [mqtt.tls]")
    given = tomllib.loads(table)["mqtt"]
    defaults = _defaults(_shown(table))
    # Made from the gateway's name and a random part when it is not given.
    assert defaults.pop("client_id").startswith("headgate-gateway-")

    assert sample.rstrip() in (_ROOT / "mqtt" / "README.md").read_text()
    assert defaults
    assert _load({"mqtt": {**given, **defaults}}) == _load({"mqtt": given})


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_sinks_sample_is_true(name: str) -> None:
    """Loaded as it is, and with each default that it shows, it is the same; no key is left out."""
    folder = _ROOT / "sinks" / name
    sample = (folder / "sample.toml").read_text()
    ((called, given),) = tomllib.loads(sample)["sink"].items()
    shown = _shown(sample)
    alone = {"sink": {called: given}}

    assert sample.rstrip() in (folder / "README.md").read_text()
    assert given[TYPE] == name
    fields = component("sinks", name).table.model_fields
    assert {*given, *shown} - {TYPE} == {each.alias or key for key, each in fields.items()}
    assert _load(alone | {"sink": {called: {**given, **_defaults(shown)}}}) == _load(alone)


@pytest.mark.parametrize("name", sorted(installed("formats")))
def test_a_formats_sample_has_every_key(name: str) -> None:
    """As ``headgate components`` promises; its page has the same."""
    text = sample(installed("formats")[name])
    ((_, feed),) = tomllib.loads(text)["feed"].items()
    given = feed["format"] if isinstance(feed["format"], dict) else {}

    assert {*given, *_shown(text)} - {TYPE} == set(component("formats", name).table.model_fields)
    assert text.rstrip() in (_ROOT / "formats" / name / "README.md").read_text()


@pytest.mark.parametrize("name", SOURCES)
def test_a_sources_sample_is_true(name: str) -> None:
    """Loaded as it is, and with each default that it shows, it is the same; no key is left out."""
    folder = _ROOT / "sources" / name
    sample = (folder / "sample.toml").read_text()
    table, _, deeper = sample.partition("# [source")
    ((called, given),) = tomllib.loads(table)["source"].items()
    shown = _shown(table)
    defaults = _defaults(shown)
    # Made from the gateway's name and a random part when it is not given.
    defaults.pop("client_id", None)
    alone = {"source": {called: given}}

    assert sample.rstrip() in (folder / "README.md").read_text()
    assert given[TYPE] == name
    keys = {*given, *shown, *(["tls"] if deeper else [])} - {TYPE}
    # Of the one topic that a source measures itself nothing is to be passed over.
    fields = set(component("sources", name).table.model_fields) - (
        set() if brings(name) else {"ignore"}
    )
    assert keys == fields
    assert _load(alone | {"source": {called: {**given, **defaults}}}) == _load(alone)


@pytest.mark.parametrize("name", RULES)
def test_a_rules_sample_is_true(name: str) -> None:
    """Likewise; all of them stand in one page."""
    text = sample(installed("rules")[name])
    ((_, given),) = tomllib.loads(text)["feed"]["pump"]["channels"].items()
    shown = _shown(text)
    page = Path(streams.__file__).parent / "stages" / "clean" / "rules" / "README.md"

    assert text.rstrip() in page.read_text()
    assert [*given] == [name]
    keys = {*shown} or {"root"}
    assert keys == set(component("rules", name).table.model_fields)
    whole = {name: {**given[name], **shown} if shown else given[name]}
    assert ChannelConfig.model_validate(whole) == ChannelConfig.model_validate(given)
