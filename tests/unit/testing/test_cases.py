"""``headgate test``: what it prints and exits with, and what it writes."""

from __future__ import annotations

import gc
import json
from itertools import permutations
from pathlib import Path

import pytest

from headgate.cli.main import main
from headgate.testing.cases import play_case
from tests.unit.docs.test_docs import ROOT

_CONFIG = """\
[local_store]
[feed.tank]
topic = "tanks/{device}"
time = { path = "t", unit = "s" }
device_state = false
channels.level = { unit = "m" }
"""
_MESSAGES = """\
{"topic": "tanks/t1", "payload": {"t": 1767225600, "level": 2}}
{"topic": "tanks/t1", "payload": {"t": 1767225601, "level": 4}}
{"topic": "tanks/t1", "payload": "?"}
"""


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A case that nothing is expected of yet."""
    folder = tmp_path / "cases" / "tank"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(_CONFIG)
    (folder / "in.jsonl").write_text(_MESSAGES)
    return folder


def test_what_is_written_is_what_comes_out_again(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user records a case by one command."""
    assert main(["test", "--write", str(case)]) == 0
    assert "written: 3 messages, 1 point, 1 in quarantine" in capsys.readouterr().out
    (line,) = (case / "out.lp").read_text().splitlines()
    assert "level_mean=3.0" in line
    assert "not_json" in (case / "quarantine.jsonl").read_text()

    assert main(["test", str(case)]) == 0
    assert capsys.readouterr().out == f"{case}: good: 3 messages, 1 point, 1 in quarantine\n"
    # A folder of cases is as good, and nothing of a gateway's is left behind.
    assert main(["test", str(case.parent)]) == 0
    assert {each.name for each in case.iterdir()} == {
        "config.toml",
        "in.jsonl",
        "out.lp",
        "quarantine.jsonl",
    }


def test_a_difference_is_told_by_its_line_and_field(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not expected, and what did not come, as well."""
    main(["test", "--write", str(case)])
    line = (case / "out.lp").read_text()
    other = line.replace("device=t1", "device=t2")
    (case / "out.lp").write_text("# by hand\n" + line.replace("mean=3.0", "mean=3.1") + other)
    (case / "quarantine.jsonl").unlink()
    capsys.readouterr()

    assert main(["test", str(case)]) == 1

    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{case}: differs: 3 messages, 1 point, 1 in quarantine"
    assert told[1].startswith("  out.lp:2: differs: tank_10s,device=t1,gateway=gateway 17672256")
    assert told[2] == "    level_mean: expected 3.1, got 3.0"
    assert told[3].startswith("  out.lp:3: did not come: tank_10s,device=t2,")
    assert told[4].startswith('  quarantine.jsonl: not expected: {"time": "2026-01-01T00:00:01.')
    assert len(told) == 5


def test_a_line_of_quarantine_may_name_what_matters_only(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line has one of what is there; what says more is looked for first."""
    main(["test", "--write", str(case)])
    with (case / "in.jsonl").open("a") as file:
        file.write('{"topic": "tanks/t2", "payload": "!"}\n')
    rows = '{"reason": "not_json"}\n{"reason": "not_json", "source": "mqtt:tanks/t1"}\n'
    (case / "quarantine.jsonl").write_text(rows)
    assert main(["test", str(case)]) == 0
    (case / "quarantine.jsonl").write_text(rows + '{"reason": "not_json"}\n')
    capsys.readouterr()
    assert main(["test", str(case)]) == 1
    assert 'quarantine.jsonl:3: did not come: {"reason": "not_json"}' in capsys.readouterr().out


def test_lines_that_say_the_same_much_are_paired_so_that_all_have_one(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever order they stand in: one that fits several leaves another what that needs."""
    (case / "in.jsonl").write_text(
        '{"topic": "tanks/t1", "payload": "?"}\n'
        '{"topic": "tanks/t2", "payload": "?"}\n'
        '{"topic": "tanks/t2", "payload": "!"}\n'
    )
    rows = ['{"payload": "?"}', '{"source": "mqtt:tanks/t1"}', '{"source": "mqtt:tanks/t2"}']
    for order in permutations(rows):
        (case / "quarantine.jsonl").write_text("\n".join(order))
        assert main(["test", str(case)]) == 0
    (case / "quarantine.jsonl").write_text("\n".join([rows[1], rows[1], rows[0]]))
    capsys.readouterr()

    assert main(["test", str(case)]) == 1

    told = capsys.readouterr().out.splitlines()[1:]
    assert told[0] == '  quarantine.jsonl:2: did not come: {"source": "mqtt:tanks/t1"}'
    assert [line.partition(": {")[0] for line in told[1:]] == ["  quarantine.jsonl: not expected"]


def test_a_case_of_which_nothing_is_expected_yet_tells_first_what_is_wrong_with_it(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its configuration, then its messages: the two are written before what comes of them."""
    (case / "in.jsonl").write_text("x")
    assert main(["test", str(case)]) == 2
    assert "in.jsonl:1: expected an object" in capsys.readouterr().err
    (case / "config.toml").write_text("[feed]")
    assert main(["test", str(case)]) == 2
    assert "config.toml:1: feed: " in capsys.readouterr().err


def test_the_smallest_configuration_of_the_page_is_one(case: Path) -> None:
    """Its sink is neither opened nor written."""
    page = (ROOT / "docs/testing-your-configuration.md").read_text()
    (case / "config.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    (case / "in.jsonl").write_text(
        '{"topic": "plant/a/p07/telemetry", "payload": {"time": 1767225600123, "flow": 41.2}}'
    )

    outcome = play_case(case)

    assert [line.partition(",")[0] for line in outcome.points].count("pump_10s") == 1
    assert {each.name for each in case.iterdir()} == {"config.toml", "in.jsonl"}


def test_files_may_begin_as_editors_of_windows_begin_them(case: Path) -> None:
    """With the three bytes that say that it is UTF-8."""
    main(["test", "--write", str(case)])
    for file in case.iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    assert main(["test", str(case)]) == 0


def test_a_folder_that_has_no_case_hides_no_other(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does it leave a program that reads the JSON with nothing."""
    main(["test", "--write", str(case)])
    nothing = case.parent.parent / "nothing"
    capsys.readouterr()

    assert main(["test", "--json", str(nothing), str(case)]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert [each["good"] for each in answer["cases"]] == [False, True]
    assert answer["cases"][0]["folder"] == str(nothing)
    assert answer["cases"][0]["problems"] == [
        f"{nothing}: expected a folder with in.jsonl, no such folder"
    ]

    assert main(["test", str(nothing), str(case)]) == 2
    output = capsys.readouterr()
    assert "no such folder" in output.err
    assert output.out.splitlines()[-1] == "1 of 2 cases are good"


def test_a_configuration_of_ones_own_is_played(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By ``-c``, in the place of the folder's."""
    main(["test", "--write", str(case)])
    (case / "config.toml").unlink()
    own = tmp_path / "headgate.toml"
    own.write_text(_CONFIG + "[feed.tank.channels.level.range]\n")
    own.write_text(_CONFIG.replace('"m" }', '"m", range = [0, 3] }'))
    capsys.readouterr()

    assert main(["test", "-c", str(own), str(case)]) == 1

    assert "level_flagged: expected 0i, got 1i" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("config.toml", None, "tank: expected config.toml, found none; or give"),
        ("config.toml", "[feed]", "config.toml:1: feed: "),
        ("in.jsonl", None, "tank: expected a folder with in.jsonl, found none"),
        ("in.jsonl", "x", "in.jsonl:1: expected an object"),
        ("out.lp", "m f=1", "out.lp:1: expected a point in line protocol"),
        ("out.lp", "m f=1 1\nm f=2 1", "out.lp:2: the same point as out.lp:1"),
        (
            "out.lp",
            None,
            "tank: expected out.lp, quarantine.jsonl or commands.jsonl, found none; --write",
        ),
        ("quarantine.jsonl", "[]", "quarantine.jsonl:1: expected a JSON object"),
        ("quarantine.jsonl", "{", "quarantine.jsonl:1: expected a JSON object"),
        (
            "quarantine.jsonl",
            '{"reason": "x", "topic": "y"}',
            "quarantine.jsonl:1: expected names out of time, source, reason, detail, payload, ",
        ),
    ],
)
def test_what_can_not_be_used_is_one_line(
    name: str, content: str | None, told: str, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing but the line."""
    (case / "out.lp").write_text("m f=1 1\n")
    if content is None:
        (case / name).unlink()
    else:
        (case / name).write_text(content)

    assert main(["test", str(case)]) == 2

    output = capsys.readouterr()
    assert told in output.err.splitlines()[0]
    assert output.out == ""


def test_a_case_that_is_broken_hides_no_other(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All are played; the worst of them is the exit code."""
    main(["test", "--write", str(case)])
    broken = case.parent / "a"
    broken.mkdir()
    (broken / "in.jsonl").write_text("x")
    capsys.readouterr()

    assert main(["test", "--json", str(case.parent)]) == 2

    answer = json.loads(capsys.readouterr().out)
    assert not answer["good"]
    assert [each["good"] for each in answer["cases"]] == [False, True]


@pytest.mark.parametrize(
    "arguments", [["--tolerance", "2"], ["--tolerance", "x"], ["--write", "--tolerance", "0"]]
)
def test_options_that_mean_nothing_are_refused(arguments: list[str], case: Path) -> None:
    """Before anything is written."""
    assert main(["test", *arguments, str(case)]) == 2
    assert not (case / "out.lp").exists()


@pytest.mark.slow
def test_a_thousand_cases_need_no_more_files_than_one(
    case: Path,
) -> None:
    """All that a gateway has open is closed with it."""
    open_files = []
    for _ in range(3):
        play_case(case)
        gc.collect()
        open_files.append(len(list(Path("/proc/self/fd").iterdir())))

    assert open_files[0] == open_files[-1]
