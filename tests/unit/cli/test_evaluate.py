"""``headgate evaluate`` and ``headgate model`` on a user's own recordings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from headgate.cli import main
from headgate.evaluation.judged import COLUMNS

pytestmark = pytest.mark.slow

_ROWS = 800
_FLEET_ROWS = 400


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A machine with two faults, labelled."""
    rng = np.random.default_rng(3)
    load = np.sin(np.arange(_ROWS) / 15)
    values = load[:, None] * np.array([2.0, 1.0]) + rng.normal(size=(_ROWS, 2)) * 0.05
    label = np.zeros(_ROWS, int)
    for first, last in ((400, 440), (600, 640)):
        values[first:last, 0] += 4
        label[first:last] = 1
    file = tmp_path / "machine.csv"
    rows = [
        f"{1_700_000_000 + at},{flow:.4f},{power:.4f},{wrong}"
        for at, ((flow, power), wrong) in enumerate(zip(values, label, strict=True))
    ]
    file.write_text("\n".join(["time,flow,power,wrong", *rows]))
    return file


def test_a_labelled_recording_is_scored(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both events are found in time; the page and its plots are there."""
    arguments = ["evaluate", "csv", str(recording), "--labels", "wrong", "--rows", "300"]
    assert main([*arguments, "--report", str(tmp_path / "page"), "--json"]) == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out.splitlines()[-1])

    assert "labelled as faulty" not in printed.err
    assert "note: model ridge: channels explain each other" in printed.err
    assert figures["events"] == figures["detected"] == 2
    assert figures["delay_s"] <= 2
    assert figures["precision"] > 0.8
    assert 0.5 < figures["vus_pr"] <= 1
    assert {file.name for file in (tmp_path / "page").iterdir()} == {"index.html", "machine.png"}


def test_a_package_is_scored_without_training(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained by one command, described by another, scored by a third."""
    model = str(tmp_path / "m")
    train = ["model", "train", "--feed", "machine", "--data", str(recording), "--rows", "300"]
    assert main([*train, "--channels", "flow,power", "--out", model]) == 0
    assert "ridge (channels explain each other" in capsys.readouterr().out
    assert main(["model", "report", model, "--out", str(tmp_path / "report.html")]) == 0
    assert "<img" in (tmp_path / "report.html").read_text()
    capsys.readouterr()
    arguments = ["evaluate", "csv", str(recording), "--labels", "wrong", "--package", model]
    assert main([*arguments, "--json"]) == 0

    assert json.loads(capsys.readouterr().out.splitlines()[-1])["detected"] == 2


def test_a_package_is_shown_on_a_recording(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One page with scores and alarms, with labels or without, and with a device that has none."""
    model, page = str(tmp_path / "m"), tmp_path / "pages" / "page.html"
    train = ["model", "train", "--feed", "machine", "--data", str(recording), "--rows", "300"]
    assert main([*train, "--channels", "flow,power", "--out", model]) == 0
    healthy = tmp_path / "healthy.csv"
    healthy.write_text("\n".join(recording.read_text().splitlines()[:200]))
    report = ["model", "report", model, "--data", str(recording), str(healthy)]
    capsys.readouterr()

    assert main([*report, "--out", str(page)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{page}\n"
    assert not said.err
    plain = page.read_text()
    assert plain.count("<img") == 2
    assert "<th>alarms</th>" in plain
    assert "recall" not in plain
    assert re.search("<td>healthy</td><td>199</td><td>0", plain)

    assert main([*report, "--labels", "wrong", "--out", str(page)]) == 0
    assert re.search("<td>machine</td><td>800</td>.*<td>2</td><td>2</td>", page.read_text())
    assert list(page.parent.iterdir()) == [page]

    assert main(["model", "report", model, "--data", str(recording)]) == 2
    assert "--data: expected --out FILE.html" in capsys.readouterr().err
    assert main([*report, "--labels", "flow", "--out", str(page)]) == 2
    assert "--labels: expected 0 or 1 in every row of 'flow'" in capsys.readouterr().err


def test_recordings_of_one_name_are_told_apart(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the folders they are in, as far up as it takes; the same file twice by its place."""
    model, page = str(tmp_path / "m"), tmp_path / "page.html"
    train = ["model", "train", "--feed", "machine", "--data", str(recording), "--rows", "300"]
    assert main([*train, "--channels", "flow,power", "--kind", "level", "--out", model]) == 0
    rows = recording.read_text().splitlines()
    files = []
    for at, name in enumerate(["may/a.csv", "june/a.csv", "x/june/a.csv", "b.csv"]):
        files.append(tmp_path / name)
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_text("\n".join(rows[: 101 + at]))
    report = ["model", "report", model, "--out", str(page)]
    assert main([*report, "--data", *map(str, files), str(files[-1])]) == 0
    shown = re.findall(r"<tr><td>([^<]+)</td><td>(\d+)</td>", page.read_text())

    assert shown == [
        ("may/a", "100"),
        (f"{tmp_path.name}/june/a", "101"),
        ("x/june/a", "102"),
        ("b.csv (4)", "103"),
        ("b.csv (5)", "103"),
    ]
    capsys.readouterr()

    assert main([*report, "--labels", "wrong", "--time", "when", "--time-unit", "ms"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in said] == [
        "--labels: expected --data",
        "--time: expected --data",
        "--time-unit: expected --data",
    ]


def _fleet(folder: Path) -> Path:
    """Three devices in one file, rows taking turns; two have faults, one is well."""
    lines = []
    for number, (name, faults) in enumerate(
        {"a": [(150, 180), (300, 330)], "b": [], "c": [(250, 270)]}.items()
    ):
        rng = np.random.default_rng(number)
        load = np.sin(np.arange(_FLEET_ROWS) / 15)
        values = load[:, None] * np.array([2.0, 1.0]) + rng.normal(size=(_FLEET_ROWS, 2)) * 0.05
        label = np.zeros(_FLEET_ROWS, int)
        for first, last in faults:
            values[first:last, 0] += 4
            label[first:last] = 1
        lines += [
            (at, name, f"{1_700_000_000 + at},{name},{flow:.4f},{power:.4f},{wrong}")
            for at, ((flow, power), wrong) in enumerate(zip(values, label, strict=True))
        ]
    file = folder / "fleet.csv"
    file.write_text(
        "\n".join(["time,device,flow,power,wrong", *(row for *_, row in sorted(lines))])
    )
    return file


def test_devices_of_a_recording_are_judged_one_by_one_and_counted_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One model for all; each has a row and a plot, and files of one device each say the same."""
    fleet, page = _fleet(tmp_path), tmp_path / "page"
    header, *rows = fleet.read_text().splitlines()
    files = []
    for name in "abc":
        files.append(tmp_path / f"{name}.csv")
        files[-1].write_text("\n".join([header, *(row for row in rows if f",{name}," in row)]))
    arguments = ["--labels", "wrong", "--kind", "level", "--report", str(page), "--json"]
    found = []
    for given in ([fleet], files):
        assert main(["evaluate", "csv", *map(str, given), *arguments]) == 0
        printed = capsys.readouterr()
        found.append(json.loads(printed.out.splitlines()[-1]))
        # Tables are of 80 characters here: every name and figure is there in full.
        assert "headgate, " in printed.err
        assert "false_alarms_per_day" in printed.err
        assert "…" not in printed.err
        assert len(list(page.glob("*.png"))) == 3 * len(found)
        said = re.findall(
            r"<tr><td>(headgate[^<]*)</td>(.*?)</tr>", (page / "index.html").read_text()
        )
        table = {name: re.findall("<td>([^<]*)</td>", row) for name, row in said}
        assert len(table) == 4
        at = COLUMNS.index("events")
        events = [row[at : at + 2] for row in table.values()]
        assert events == [["3", "3"], ["2", "2"], ["0", "0"], ["1", "1"]]
        volumes = [row[COLUMNS.index("vus_pr")] for row in table.values()]
        assert volumes[2] == "–"
        assert float(volumes[0]) == pytest.approx(
            (float(volumes[1]) + float(volumes[3])) / 2, abs=2e-3
        )

    assert found[0] == found[1]
    assert found[0]["events"] == found[0]["detected"] == 3
    names = {file.stem for file in page.glob("*.png")}
    assert names == {"fleet, a", "fleet, b", "fleet, c", "a", "b", "c"}


def test_a_package_is_scored_on_every_row_of_each_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A span of a log may name a device; a channel that is nowhere is told in one line."""
    fleet, model = _fleet(tmp_path), str(tmp_path / "m")
    log = tmp_path / "log.csv"
    spans = [("a", 150, 179), ("a", 300, 329), ("c", 250, 269)]
    times = [
        f"{1_700_000_000 + first},{1_700_000_000 + last},{name}" for name, first, last in spans
    ]
    log.write_text("\n".join(["start,end,device", *times]))
    train = ["model", "train", "--feed", "f", "--data", str(fleet), "--labels", str(log)]
    assert main([*train, "--channels", "flow,power", "--kind", "level", "--out", model]) == 0
    arguments = ["evaluate", "csv", str(fleet), "--package", model, "--json"]
    found = []
    for labels in ("wrong", str(log)):
        assert main([*arguments, "--labels", labels, "--channels", "flow,power"]) == 0
        found.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert main([*arguments, "--labels", "wrong", "--channels", "flow"]) == 2
    said = capsys.readouterr().err

    assert found[0] == found[1]
    assert found[0]["detected"] == 3
    assert "--package: expected channels flow, power in the recording, found no power" in said


def test_rows_that_are_known_to_be_faulty_are_not_trained_on(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by ``train``: told with device and count; without any healthy row there is no model."""
    page = tmp_path / "page"
    evaluate = ["evaluate", "csv", str(recording), "--labels", "wrong", "--kind", "level", "--json"]
    assert main([*evaluate, "--rows", "500", "--report", str(page)]) == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out.splitlines()[-1])
    note = "machine: 40 of the first 500 rows are labelled as faulty and not trained on"
    assert f"note: {note}\n" in printed.err
    assert note in (page / "index.html").read_text()
    assert figures["events"] == figures["detected"] == 1
    model = str(tmp_path / "m")
    train = ["model", "train", "--feed", "f", "--data", str(recording), "--labels", "wrong"]
    assert main([*train, "--rows", "500", "--kind", "level", "--out", model]) == 0
    assert main([*evaluate, "--rows", "500", "--package", model]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == figures

    header, *rows = recording.read_text().splitlines()
    recording.write_text("\n".join([header, *rows[400:]]))
    assert main([*evaluate, "--rows", "40"]) == 2
    said = capsys.readouterr().err.splitlines()

    assert len(said) == 1
    assert "machine: expected rows to train on that are not labelled as faulty" in said[0]


def test_a_label_among_the_channels_is_none(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by ``train``: it would explain the faults, or be what is missed."""
    arguments = ["evaluate", "csv", str(recording), "--labels", "wrong", "--rows", "300", "--json"]
    found = []
    for channels in ("flow,power", "flow,wrong,power"):
        assert main([*arguments, "--channels", channels]) == 0
        found.append(json.loads(capsys.readouterr().out.splitlines()[-1]))

    assert found[0] == found[1]


def test_devices_may_be_called_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also what a terminal has a meaning for, or a file system: all are shown, and plotted."""
    names = {"a": "a [pump]", "b": "x[/b]", "c": "x(:b]"}
    fleet, page, log = _fleet(tmp_path), tmp_path / "page", tmp_path / "log.csv"
    for short, name in names.items():
        fleet.write_text(fleet.read_text().replace(f",{short},", f",{name},"))
    log.write_text("start,end,device\n1700000150,1700000179,a [pump]\n")
    arguments = ["evaluate", "csv", str(fleet), "--channels", "flow,power", "--kind", "level"]
    arguments += ["--labels", str(log), "--report", str(page)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    # A name is folded where it has a blank.
    for name in names.values():
        assert name.split()[-1] in shown
    plots = {file.name for file in page.glob("*.png")}
    assert plots == {"fleet, a -pump-.png", "fleet, x--b-.png", "fleet, x(-b-.png"}


def test_a_title_is_no_markup(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A single device is the title, by its file's name."""
    file = recording.rename(tmp_path / "a [pump] :smile:.csv")
    assert main(["evaluate", "csv", str(file), "--labels", "wrong", "--kind", "level"]) == 0

    assert "a [pump] :smile:" in capsys.readouterr().out


def test_a_device_that_is_too_short_is_named(
    tmp_path: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no rows behind those that are trained on."""
    short = tmp_path / "short.csv"
    short.write_text("\n".join(recording.read_text().splitlines()[:200]))
    files = [str(recording), str(short)]
    assert main(["evaluate", "csv", *files, "--labels", "wrong", "--rows", "300"]) == 2

    assert "short: expected rows after the first 300, found 199 in all" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["csv", "FILE", "--labels", "absent"], "--labels: expected a column of numbers"),
        (["csv", "FILE", "--labels", "wrong", "--rows", "700"], "labelled rows after the first"),
        (["csv", "FILE", "--labels", "flow"], "--labels: expected 0 or 1 in every row of 'flow'"),
        (
            ["csv", "FILE", "--labels", "wrong", "--channels", "wrong"],
            "--labels: expected channels beside 'wrong', found none",
        ),
        (["csv", "FILE", "--labels", "wrong", "--kind", "magic"], "--kind: expected one of"),
        (["csv", "nowhere.csv", "--labels", "wrong"], "nowhere.csv: expected a CSV file"),
        (["skab", "--data", "FOLDER"], "expected SKAB's labelled files"),
        (["nab", "--data", "FOLDER"], "expected NAB's labels"),
        (["batadal", "--data", "FOLDER"], "BATADAL_dataset03.csv: expected a CSV file"),
        (["batadal", "--data", "FOLDER", "--choose-attacks", "x.csv"], "expected --choose FILE"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    problem: str,
    recording: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where, what was expected, what was found; exit code 2."""
    (tmp_path / "empty").mkdir()
    places = {"FILE": str(recording), "FOLDER": str(tmp_path / "empty")}
    code = main(["evaluate", *(places.get(each, each) for each in arguments)])
    said = capsys.readouterr().err.splitlines()

    assert code == 2
    assert any(re.search(problem, line) for line in said), said
