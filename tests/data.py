"""Where the labelled recordings are that some tests read and the project does not ship."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent


def data_dir(name: str) -> Path:
    """The folder of one data set; skips the test where it is absent.

    ``HEADGATE_TEST_DATA`` names the folder that holds the data sets.
    """
    folder = Path(os.environ.get("HEADGATE_TEST_DATA", _ROOT.parent / "shared" / "data")) / name
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: set HEADGATE_TEST_DATA to the folder above {name}")
    return folder
