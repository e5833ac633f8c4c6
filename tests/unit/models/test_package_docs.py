"""What docs/model-packages.md says of the golden file is what is read."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from models.package import Golden, ModelPackage

_ROOT = Path(__file__).parents[3]
_PAGE = _ROOT / "docs" / "model-packages.md"


def test_every_array_is_named_with_its_shape() -> None:
    """Names, order and shapes, held against a package that is shipped."""
    section = _PAGE.read_text().split("## `golden.safetensors`")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| `\[([^]]*)]` \|", section, re.MULTILINE))
    package = ModelPackage.load(_ROOT / "models" / "zoo" / "pump")
    sizes = {
        "n": len(package.golden.score),
        "window": package.manifest.framing.window,
        "channel": len(package.manifest.channels),
        "s": package.manifest.state_size,
    }
    shapes = {
        name: tuple(sizes[each] for each in shape.split(", ")) for name, shape in told.items()
    }

    assert set(told) == {each.name for each in fields(Golden)}
    assert shapes == {name: array.shape for name, array in package.golden.arrays().items()}


def test_the_example_writes_a_file_that_is_read(tmp_path: Path) -> None:
    """All six arrays, float32, in the shapes of a model without state."""
    section = _PAGE.read_text().split("## `golden.safetensors`")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    file = tmp_path / "golden.safetensors"
    exec(code.replace('"golden.safetensors"', repr(str(file))), {})
    arrays = load_file(file)

    assert set(arrays) == {each.name for each in fields(Golden)}
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    assert arrays["state"].shape == arrays["next_state"].shape == (1, 0)
