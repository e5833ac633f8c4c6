"""Running the golden inputs of model packages where an endless loop or a greedy graph can't hurt.

A package's graph is a program that somebody else may have made. ``headgate check`` has it run by a
process of its own, which is ended when a model takes too long or too much memory. Run as a program,
this module is that process: ``python -m headgate.cli.check_models FILE MODEL…``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

#: A model may take this long to be opened and run on its golden inputs, s. The runtime itself gives
#: up earlier on one that does not answer, where it can.
_LIMIT_S: Final = 60.0

#: The process may take this long to begin, s: all there is has to be read from a slow card.
_START_LIMIT_S: Final = 300.0

#: Between two looks at the process, s.
_LOOK_S: Final = 0.1

#: Memory that it may take: this part of the machine's.
_MEMORY_SHARE: Final = 0.5

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def verify_models(
    config_file: Path,
    models: Sequence[str],
    *,
    limit_s: float = _LIMIT_S,
    limit_bytes: int | None = None,
) -> list[str]:
    """Open models and run their golden inputs, in another process.

    Args:
        config_file: The configuration; it has been checked.
        models: Which of its models.
        limit_s: How long each may take.
        limit_bytes: How much memory; None: half of the machine's.

    Returns:
        Problems, ``model.NAME: what``; none when all agree with what they were at training.
    """
    if limit_bytes is None:
        limit_bytes = int(_MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES)
    problems: list[str] = []
    left = list(models)
    while left:
        said, ending = _run(config_file, left, limit_s, limit_bytes)
        name = left[0]
        for each in said:
            name = each["model"]
            problems += [f"model.{name}: {text}" for text in each["problems"]]
        if not ending:
            return problems
        # The one that it was at is to blame; those behind it have not been looked at yet.
        problems.append(f"model.{name}: {ending}")
        left = left[left.index(name) + 1 :]
    return problems


def _run(
    config_file: Path, models: Sequence[str], limit_s: float, limit_bytes: int
) -> tuple[list[dict[str, Any]], str]:
    """What the process said, and how it ended where it did not end well."""
    command = [sys.executable, "-P", "-m", "headgate.cli.check_models", str(config_file), *models]
    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603  (this very module)
            command, stdin=subprocess.DEVNULL, stdout=answers, stderr=errors
        )
        try:
            ending = _watch(process, answers.fileno(), limit_s, limit_bytes)
        finally:
            process.kill()
            process.wait()
        answers.seek(0)
        said = [json.loads(line) for line in answers.read().splitlines() if line.endswith(b"}")]
        if not ending and process.returncode != 0:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
            ending = (
                f"expected golden outputs, and the process that ran the model was ended by "
                f"{signal.strsignal(-process.returncode)}"
                if process.returncode < 0
                else f"expected golden outputs, and the process that ran the model failed: {last}"
            )
    return said, ending


def _watch(process: subprocess.Popen[bytes], answers: int, limit_s: float, limit_bytes: int) -> str:
    """Wait until the process has ended; why it must not go on, where it must not."""
    size, waited_s, most_s = 0, 0.0, _START_LIMIT_S
    while True:
        try:
            process.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            waited_s += _LOOK_S
        else:
            return ""
        now = os.fstat(answers).st_size
        if now != size:
            size, waited_s, most_s = now, 0.0, limit_s
        if waited_s >= most_s:
            return (
                f"expected golden outputs, got none within {most_s:g} s; the model loops, or is "
                "too large for this machine"
            )
        if _resident_bytes(process.pid) > limit_bytes:
            return (
                f"expected golden outputs, and the model takes more than {limit_bytes >> 20} MiB "
                "of memory for them; it is too large for this machine"
            )


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0  # it has just ended


def _tell(model: str, problems: Sequence[str] = ()) -> None:
    """Say that a model's turn has come, or what is wrong with it."""
    print(json.dumps({"model": model, "problems": problems}), flush=True)


def _main(config_file: Path, models: Sequence[str]) -> None:
    from headgate.config.load import load_config
    from headgate.core.errors import ConfigError, TransientError
    from headgate.gateway.process import die_with_parent
    from models.package import ModelPackage
    from streams.build import open_model

    die_with_parent()
    config = load_config(config_file)
    for name in models:
        _tell(name)
        try:
            open_model(config.model[name], ModelPackage.load(config.model[name].package))
        except ConfigError as error:
            _tell(name, error.problems)
        except TransientError as error:
            _tell(name, [str(error)])


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
