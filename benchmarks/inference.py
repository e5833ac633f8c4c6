"""What the gateway adds to a model's own work: its inference beside bare onnxruntime.

Both score the same windows with one thread and as many windows a run, in turn, and CPU time is what
is compared: it stays the same when others use the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks import services
from benchmarks.plant import Plant, train_model
from headgate.config.schema import ModelConfig
from headgate.core.channels import Channel, ChannelTable
from headgate.core.results import Frames
from models.package import ModelPackage
from models.runtime import Runtime
from streams.stages.infer import Inferer

#: Windows of one run, as in a configuration that says nothing of it.
_MOST: int = ModelConfig.model_fields["max_batch"].default

#: Kinds that keep state, and how many channels their models have here.
_STATEFUL = {"ridge": 8, "level": 8, "novelty": 1}

#: Devices of which each has a window: one alone, and a fleet whose messages come together.
_DEVICES = (1, 64, 512, 10_000)

#: And devices of a fleet whose messages come as they please: of so many, anywhere among them.
_SOME, _FLEET = 64, 1000

#: Windows scored between two looks at the clock, at least; and looks, at least.
_WINDOWS_TIMED, _FEWEST = 512, 5


def without_state(plant: Plant, *, seconds: float) -> dict[str, float]:
    """Microseconds of CPU per window, 256 of them a run, of the plant's model; medians."""
    with services.folder() as folder:
        package = ModelPackage.load(train_model(plant, folder / "model", window=64))
    return _compared(package, 16 * _MOST, seconds)


def with_state(*, seconds: float) -> dict[str, dict[str, float]]:
    """The same for models that remember something of each device, by kind and devices."""
    found = {}
    with services.folder() as folder:
        for kind, channels in _STATEFUL.items():
            plant = Plant(channels=channels)
            package = ModelPackage.load(train_model(plant, folder / kind, window=None, kind=kind))
            for devices in _DEVICES:
                found[f"{kind}, {devices}"] = _compared(package, devices, seconds)
            some = _compared(package, _SOME, seconds, fleet=_FLEET)
            found[f"{kind}, {_SOME} of {_FLEET}"] = some
    return found


def _compared(
    package: ModelPackage, windows: int, seconds: float, fleet: int = 0
) -> dict[str, float]:
    """Medians, and the quartiles of the ratio; windows are those of a fleet's first devices or, if
    it is larger, of any.
    """
    manifest = package.manifest
    rng = np.random.default_rng(1)
    shape = (windows, manifest.framing.window, len(manifest.channels))
    bare, ours = _Bare(package), _Ours(package, windows, max(fleet, windows))
    rounds = -(-_WINDOWS_TIMED // windows)
    spent: list[tuple[float, float]] = []
    deadline = time.perf_counter() + seconds
    while len(spent) < _FEWEST or time.perf_counter() < deadline:
        values = [rng.normal(size=shape).astype(np.float32) for _ in range(rounds)]
        pair = [_cpu_s(each.score, values) for each in (bare, ours)]
        spent.append((pair[0], pair[1]))
    costs = 1e6 * np.array(spent[1:]) / (rounds * windows)
    ratio = costs[:, 1] / costs[:, 0]
    return {
        "batch": min(windows, _MOST),
        "bare_us": float(np.median(costs[:, 0])),
        "headgate_us": float(np.median(costs[:, 1])),
        "ratio": float(np.median(ratio)),
        "ratio_least": float(np.quantile(ratio, 0.25)),
        "ratio_most": float(np.quantile(ratio, 0.75)),
    }


def _cpu_s(
    score: Callable[[NDArray[np.float32]], object], values: list[NDArray[np.float32]]
) -> float:
    start = time.process_time()
    for each in values:
        score(each)
    return time.process_time() - start


class _Bare:
    """onnxruntime and nothing else: what the model remembers is its last output."""

    def __init__(self, package: ModelPackage) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            package.graph, options, providers=["CPUExecutionProvider"]
        )
        self._initial = package.golden.initial_state
        self._state: dict[int, NDArray[np.float32]] = {}

    def score(self, values: NDArray[np.float32]) -> None:
        for first in range(0, len(values), _MOST):
            inputs = {"window": values[first : first + _MOST]}
            if len(self._initial):
                if first not in self._state:
                    self._state[first] = np.tile(self._initial, (len(inputs["window"]), 1))
                inputs["state"] = self._state[first]
            answer = self._session.run(None, inputs)
            if len(self._initial):
                self._state[first] = answer[2]


class _Ours:
    """The gateway's stage, as its pipeline calls it: a window of each device, or of some."""

    def __init__(self, package: ModelPackage, windows: int, fleet: int) -> None:
        table = ChannelTable()
        for device in range(fleet):
            table.row(Channel("plant", f"d{device}", "plant", "c00"))
        runtime = Runtime(package, threads=1, max_batch=_MOST)
        self._inferer = Inferer({"m0": runtime}, table)
        shape = (fleet, package.manifest.framing.window, len(package.manifest.channels))
        # Each has been heard of.
        self._device, self._end_ns = np.arange(fleet, dtype=np.int32), np.arange(fleet)
        self.score(np.zeros(shape, np.float32))
        self._device = np.sort(np.random.default_rng(2).permutation(self._device)[:windows])
        self._end_ns = np.arange(windows)

    def score(self, values: NDArray[np.float32]) -> None:
        self._inferer.process([Frames("m0", self._device, self._end_ns, values)])
