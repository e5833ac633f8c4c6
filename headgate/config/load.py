"""Reading ``headgate.toml``: every mistake at once, each with its line and what is allowed.

A problem reads ``FILE:LINE: key: what is wrong, what is allowed``. The line is the key's own, or
that of the table it is missing from.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headgate.config.schema import Config, read_secret
from headgate.core.errors import ConfigError

_KeyPath = tuple[str, ...]

_TABLE_HEADER = re.compile(r"\s*\[\[?\s*(?P<key>[^\]]+?)\s*\]\]?\s*(#.*)?$")
_ASSIGNMENT = re.compile(r"""\s*(?P<key>(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'|\s*\.\s*)+?)\s*=""")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_SYNTAX_POSITION = re.compile(r" \(at line (\d+), column \d+\)$")


def load_config(path: Path) -> Config:
    """Read and check a configuration file. Connects to nothing.

    Raises:
        ConfigError: With every problem of the file, one line each.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: expected a configuration file, found none") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text: {error.reason}") from None
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable file: {error.strerror}") from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        position = _SYNTAX_POSITION.search(str(error))
        line = f":{position[1]}" if position else ""
        what = _SYNTAX_POSITION.sub("", str(error))
        raise ConfigError(f"{path}{line}: expected TOML: {what}") from None
    lines = _lines_of_keys(text)
    found: list[tuple[_KeyPath, str]] = []
    config = None
    try:
        config = Config.model_validate(raw, context={"folder": path.absolute().parent})
    except ValidationError as error:
        for details in error.errors():
            found.extend(_problems(details))
        # A validator of the whole file does not run when one of its tables is wrong.
        found.extend(_broken_references(raw))
    else:
        found.extend(_unreadable(config))
    if found or config is None:
        raise ConfigError(_report(path, lines, found))
    return config


def _report(path: Path, lines: dict[_KeyPath, int], found: list[tuple[_KeyPath, str]]) -> list[str]:
    report = {}
    for key, what in found:
        known = next((key[:n] for n in range(len(key), 0, -1) if key[:n] in lines), ())
        line = lines.get(known, 1)
        report[f"{path}:{line}: {'.'.join(key) or 'file'}: {what}"] = line
    return sorted(report, key=lambda text: report[text])


def _lines_of_keys(text: str) -> dict[_KeyPath, int]:
    """The line, from 1, on which each table and key of a TOML text is first named.

    Keys inside inline tables and arrays are not listed; their problems point at the outer key.
    """
    lines: dict[_KeyPath, int] = {}
    table: _KeyPath = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _TABLE_HEADER.match(line)
        assignment = _ASSIGNMENT.match(line)
        if header and not assignment:
            table = _key_path(header["key"])
            key = table
        elif assignment:
            key = table + _key_path(assignment["key"])
        else:
            continue
        for length in range(1, len(key) + 1):
            lines.setdefault(key[:length], number)
    return lines


def _key_path(text: str) -> _KeyPath:
    return tuple(part.strip("\"'") for part in _KEY_PART.findall(text))


def _problems(details: ErrorDetails) -> list[tuple[_KeyPath, str]]:
    key = tuple(str(part) for part in details["loc"] if part != "[key]")
    kind, value = details["type"], details["input"]
    context = details.get("ctx", {})
    if kind == "extra_forbidden":
        return [(key, _unknown_key(key))]
    if kind == "missing":
        return [(key, "missing; this key is required")]
    if kind == "literal_error":
        return [(key, f"expected {context['expected']}, got {value!r}")]
    if kind == "value_error":
        message = str(context["error"])
        if not key:
            return [_split_reference(part) for part in message.split("; ")]
        shown = f", got {value!r}" if isinstance(value, str | int | float) else ""
        return [(key, f"{message}{shown}")]
    wanted = details["msg"].replace("Input should be", "expected").replace("Field", "field")
    shown = "" if isinstance(value, dict) else f", got {value!r}"
    return [(key, f"{wanted}{shown}")]


def _split_reference(message: str) -> tuple[_KeyPath, str]:
    key, separator, what = message.partition(": ")
    if separator and re.fullmatch(r"[A-Za-z0-9_.-]+", key):
        return tuple(key.split(".")), what
    return (), message


def _unknown_key(key: _KeyPath) -> str:
    allowed = _allowed_keys(key[:-1])
    near = difflib.get_close_matches(key[-1], allowed, 1, 0.5)
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    return f"unknown key; allowed here: {', '.join(sorted(allowed))}"


def _allowed_keys(table: _KeyPath) -> list[str]:
    """Keys that the schema has at this place."""
    kind: Any = Config
    for part in table:
        kind = _model_in(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(part)
            kind = None if field is None else field.annotation
        elif get_origin(kind) in (dict, tuple):
            kind = get_args(kind)[-1 if get_origin(kind) is dict else 0]
    kind = _model_in(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return []


def _model_in(kind: Any) -> Any:  # noqa: ANN401  (any annotation may stand in the schema)
    """The annotation without ``| None`` and ``Annotated``."""
    while True:
        if hasattr(kind, "__metadata__"):
            kind = get_args(kind)[0]
        elif get_origin(kind) in (Union, UnionType):
            kind = next(each for each in get_args(kind) if each is not type(None))
        else:
            return kind


def _broken_references(raw: dict[str, Any]) -> list[tuple[_KeyPath, str]]:
    feeds, models = raw.get("feed", {}), raw.get("model", {})
    if not isinstance(feeds, dict) or not isinstance(models, dict):
        return []
    found: list[tuple[_KeyPath, str]] = [
        (("feed", name, "models"), f"no [model.{model}] in this file")
        for name, feed in feeds.items()
        if isinstance(feed, dict) and isinstance(feed.get("models"), list)
        for model in feed["models"]
        if model not in models
    ]
    if "influxdb" not in raw and "local_store" not in raw:
        found.append(((), "no sink: give [influxdb], [local_store] or both"))
    return found


def _unreadable(config: Config) -> list[tuple[_KeyPath, str]]:
    """Files and variables that the configuration names and that are not there."""
    found: list[tuple[_KeyPath, str]] = []
    secrets = [
        ("mqtt", "password", config.mqtt.password_env, config.mqtt.password_file),
        ("log", "password", config.log.password_env, config.log.password_file),
    ]
    if config.influxdb is not None:
        influxdb = config.influxdb
        secrets.append(("influxdb", "token", influxdb.token_env, influxdb.token_file))
    for table, name, env, file in secrets:
        try:
            read_secret(env, file)
        except ValueError as error:
            found.append(((table, f"{name}_{'env' if env else 'file'}"), str(error)))
    files = {("log", "tls_ca_file"): config.log.tls_ca_file}
    if config.mqtt.tls is not None:
        for name in ("ca_file", "cert_file", "key_file"):
            files["mqtt", "tls", name] = getattr(config.mqtt.tls, name)  # type: ignore[index]
    if config.influxdb is not None:
        files["influxdb", "ca_file"] = config.influxdb.ca_file
    found.extend(
        (key, f"expected a file, found none at {file}")
        for key, file in files.items()
        if file is not None and not file.is_file()
    )
    found.extend(
        (
            ("model", name, "package"),
            f"expected a model package, found no model.toml in {model.package}",
        )
        for name, model in config.model.items()
        if not (model.package / "model.toml").is_file()
    )
    return found
