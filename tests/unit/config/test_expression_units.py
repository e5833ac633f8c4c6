"""Differences of temperatures are not converted as temperatures."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config.load import load_config
from headgate.core.errors import ConfigError


def _load(path: Path, *derived: str) -> None:
    lines = "\n".join(derived)
    path.write_text(
        f"""
        [local_store]
        [feed.f]
        topic = "{{device}}"
        [feed.f.channels]
        T = {{ unit = "°C" }}
        U = {{ unit = "°C" }}
        C = {{ unit = "C" }}
        plain = {{}}
        correction = {{}}
        volts = {{ unit = "V" }}
        [feed.f.derived]
        {lines}
        """
    )
    load_config(path)


@pytest.mark.parametrize(
    "text",
    [
        "T - mean(T, '5m')",
        "T - U",
        "T - (T + U) / 2",
        "abs(delta(T))",
        "2 * (T - U)",
        "std(T, '5m')",
        "max(T - U, 0)",
        "T - U if T > 3 else 0",
        "C - mean(C, '5m')",
        "plain - mean(plain, '5m')",
        "delta(plain)",
        "(T - U) - (U - T)",
    ],
)
@pytest.mark.parametrize(("unit", "to"), [("°C", "°F"), ("°C", "K")])
def test_a_difference_is_not_converted_with_an_offset(
    text: str, unit: str, to: str, tmp_path: Path
) -> None:
    """One clear line says what to write instead; and that can be used."""
    path = tmp_path / "headgate.toml"
    with pytest.raises(ConfigError, match=f'got "{unit}" to "{to}", which adds'):
        _load(path, f'x = {{ value = "{text}", unit = "{unit}", to = "{to}" }}')
    _load(path, f'x = {{ value = "{text}", unit = "delta_degC", to = "delta_degF" }}')
    _load(path, f'x = {{ value = "{text}", unit = "K", to = "delta_degC" }}')
    _load(path, f'x = {{ value = "{text}", unit = "°C" }}')


def test_nor_is_one_of_another_derived_channel(tmp_path: Path) -> None:
    """Even if its unit does not say that it is a difference."""
    path = tmp_path / "headgate.toml"
    with pytest.raises(ConfigError, match="which adds 32"):
        _load(
            path,
            'less = { value = "T - U", unit = "°C" }',
            'x = { value = "mean(less, \'5m\')", unit = "°C", to = "°F" }',
        )


@pytest.mark.parametrize(
    "text",
    [
        "T",
        "mean(T, '5m')",
        "(T + U) / 2",
        "T - delta(U)",
        "T + (T - U)",
        "(T - U) + T",
        "T - 0.5",
        "T - correction",
        "plain - correction",
        "T * (volts - mean(volts, '5m')) / volts",
        "integral(T) / age(U)",
    ],
)
def test_a_temperature_is_converted(text: str, tmp_path: Path) -> None:
    """And what may be one."""
    _load(tmp_path / "headgate.toml", f'x = {{ value = "{text}", unit = "°C", to = "°F" }}')
