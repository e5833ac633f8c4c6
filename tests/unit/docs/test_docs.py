"""The documents name files, links, columns, flags and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from headgate.config.schema import Config
from headgate.config.table import Table
from headgate.core import records as kinds
from headgate.core.batch import Quality
from headgate.core.records import (
    aggregates,
    anomalies,
    availability,
    commands,
    health,
    messages,
    readings,
    rejected,
    retried,
    states,
)

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("docs/**/*.md"),
        *(ROOT / "connectors").glob("**/README.md"),
        *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "deploy/README")),
        ROOT / "benchmarks/README.md",
        ROOT / "changelog.d/README.md",
    )
)
FOLDERS = ("headgate", "streams", "connectors", "models", "tests", "deploy", "docs")

each_document = pytest.mark.parametrize("name", DOCUMENTS)


def prose(name: str) -> str:
    """A document without its blocks of code."""
    return re.sub(r"```.*?```", "", (ROOT / name).read_text(), flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The names under which a document's headings can be linked to."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@each_document
def test_named_files_exist(name: str) -> None:
    """A path in a document can be opened."""
    for path in re.findall(r"`([\w./-]+)`", prose(name)):
        if path.startswith(tuple(f"{folder}/" for folder in FOLDERS)) and "secrets" not in path:
            assert (ROOT / path).exists(), path


def broken_links(text: str, place: Path) -> list[str]:
    """Links of a document that stands there which lead to no file, or to no heading of one."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("https://"):
            file, _, heading = target.partition("#")
            path = place.parent / file if file else place
            if not path.exists() or (heading and heading not in anchors(path)):
                broken.append(target)
    return broken


@each_document
def test_links_lead_somewhere(name: str) -> None:
    """A link to a document and to a heading in it arrives."""
    assert broken_links(prose(name), ROOT / name) == []


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("`readings/1`", readings._READINGS),
        ("`availability/1` (in `readings`)", availability._AVAILABILITY),
        ("`messages/2` (in `quarantine`)", messages._MESSAGES),
        ("`retried/1` (in `quarantine`)", retried._RETRIED),
        ("`aggregates/1`", aggregates._AGGREGATES),
        ("`anomalies/3`", anomalies._ANOMALIES),
        ("`sensor_health/2` (in `anomalies`)", health._HEALTH),
        ("`device_state/1` (in `anomalies`)", states._STATES),
        ("`commands/1` (in `anomalies`)", commands._COMMANDS),
    ],
)
def test_record_columns_are_described(heading: str, schema: pa.Schema) -> None:
    """The table under a record's heading lists the record's columns, in order."""
    text = (ROOT / "docs/formats.md").read_text()
    section = text.split(f"### {heading}\n")[1].split("\n### ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)

    assert re.findall(r"`(\w+)`", " ".join(cells)) == schema.names


def test_rejected_columns_are_described() -> None:
    """Rejected readings have the columns of readings and those in their table."""
    text = (ROOT / "docs/formats.md").read_text()
    section = text.split("### `rejected/1` (in `quarantine`)\n")[1].split("\n### ")[0]
    names = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)

    assert readings._READINGS.names + names == rejected._REJECTED.names


def test_versions_are_the_ones_written() -> None:
    """Every kind of record has its section, under the version that is written now."""
    text = (ROOT / "docs/formats.md").read_text()

    for schema in (
        kinds.READINGS_SCHEMA,
        kinds.AVAILABILITY_SCHEMA,
        kinds.HELD_SCHEMA,
        kinds.AGGREGATES_SCHEMA,
        kinds.ANOMALIES_SCHEMA,
        kinds.HEALTH_SCHEMA,
        kinds.STATES_SCHEMA,
        kinds.REJECTED_SCHEMA,
        kinds.TEXT_READINGS_SCHEMA,
        kinds.TEXT_AGGREGATES_SCHEMA,
        kinds.COUNT_AGGREGATES_SCHEMA,
        kinds.CHANGES_SCHEMA,
        kinds.COMMANDS_SCHEMA,
        kinds.MESSAGES_SCHEMA,
        kinds.RETRIED_SCHEMA,
    ):
        assert f"### `{schema.decode()}`" in text


def test_quality_flags_are_described() -> None:
    """Each flag stands in the table with its bit."""
    text = (ROOT / "docs/formats.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([\w ]+) \|", text, re.MULTILINE)
    named = {name.upper().replace(" ", "_"): int(bit) for bit, name in rows}

    assert named == {flag.name: flag.value for flag in Quality if flag}


@each_document
def test_named_settings_exist(name: str) -> None:
    """A setting in a document can stand in the configuration file."""
    sections = Config.model_fields
    for section, key in re.findall(r"`(\w+)\.(\w+)(?: = [^`]*)?`", prose(name)):
        if key != "py" and section in sections and section not in ("feed", "model"):
            table = sections[section].annotation
            if not (isinstance(table, type) and issubclass(table, Table)):
                continue
            assert key in table.model_fields, f"{section}.{key}"
