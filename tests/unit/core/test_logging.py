"""What a process writes to stderr. Each test has a process of its own: logging is global."""

from __future__ import annotations

import json
import subprocess
import sys
from textwrap import dedent

import pytest

pytestmark = pytest.mark.slow


def stderr_of(style: str, script: str, level: str = "info") -> list[str]:
    """Lines that a script writes after logging is set up."""
    set_up = f"""
    import logging, structlog
    from headgate.core.logging import configure_logging
    configure_logging({level!r}, {style!r}, lane="ingest")
    logger = structlog.get_logger("headgate.test")
    """
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", dedent(set_up) + dedent(script)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return result.stderr.splitlines()


def test_a_program_reads_one_json_object_a_line() -> None:
    """Sentence, level, logger, time, context and values each under a key of their own."""
    (line,) = stderr_of("json", 'logger.warning("The broker is away.", host="plant", port=1883)')

    record = json.loads(line)
    assert record.pop("timestamp").endswith("Z")
    assert record == {
        "event": "The broker is away.",
        "level": "warning",
        "logger": "headgate.test",
        "lane": "ingest",
        "host": "plant",
        "port": 1883,
    }


def test_a_line_of_a_librarys_thread_names_its_lane_too() -> None:
    """Such a thread begins without the context of whoever configured logging."""
    script = """
    import contextvars, threading
    threading.Thread(
        target=contextvars.Context().run, args=(logger.warning, "Kafka does not answer.")
    ).start()
    """
    (line,) = stderr_of("json", script)

    assert json.loads(line)["lane"] == "ingest"


def test_what_is_no_terminal_gets_json() -> None:
    """A service manager collects lines for programs."""
    assert json.loads(stderr_of("auto", 'logger.info("Hello.")')[0])["event"] == "Hello."


def test_the_message_of_an_exception_can_not_paint_either() -> None:
    """A traceback has lines of its own, and nothing else."""
    script = r"""
try:
    raise ValueError("bad \x1b[2J\x9b1A name\u202e")
except ValueError:
    logger.exception("It failed.")
    """

    text = "\n".join(stderr_of("text", script))
    assert r"ValueError: bad \x1b[2J\x9b1A name\u202e" in text
    assert "Traceback (most recent call last):\n" in text
    assert "\x1b[2J" not in text

    (line,) = stderr_of("json", script)
    assert line.isprintable()


def test_text_from_outside_stays_on_its_line() -> None:
    """Line breaks, terminal escapes and their eight-bit forms can't forge or repaint anything."""
    script = r'logger.info("A device.", device="a\nb\x1b[31m\x9b2J\u2028c")'

    (text,) = stderr_of("text", script)
    (line,) = stderr_of("json", script)

    assert r"a\nb\x1b[31m\x9b2J\u2028c" in text
    assert json.loads(line)["device"] == r"a\nb\x1b[31m\x9b2J\u2028c"


def test_an_exception_is_told_with_its_traceback() -> None:
    """In JSON it is part of the one line."""
    script = """
    try:
        1 / 0
    except ZeroDivisionError:
        logger.exception("It failed.")
    """

    (line,) = stderr_of("json", script)

    assert "ZeroDivisionError" in json.loads(line)["exception"]
    assert "ZeroDivisionError: division by zero" in stderr_of("text", script)[-1]


def test_libraries_are_heard_but_not_seventy_times_a_second() -> None:
    """Their repetitions are held back, ours are not, and their chatter is left out."""
    script = """
    for port in range(50):
        logging.getLogger("some.library").error("No connection to %s", port)
        logging.getLogger("aiokafka.conn").info("Chatter")
        logger.error("Ours.")
    """

    events = [json.loads(line)["event"] for line in stderr_of("json", script)]

    assert events.count("No connection to 0") == 1
    assert events.count("Ours.") == 50
    assert len(events) == 51


def test_the_level_holds_for_all() -> None:
    """Below it nothing is written."""
    script = """
    logger.info("Ours.")
    logging.getLogger("some.library").info("Theirs.")
    """

    assert stderr_of("json", script, level="warning") == []
