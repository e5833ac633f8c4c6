"""A model package: a folder with all that is needed to run a model correctly.

``model.onnx``
    The graph. Input ``window`` float32 [batch, window, channel], normalized; outputs ``score``
    float32 [batch], higher is more abnormal, and ``share`` float32 [batch, channel]. What a model
    remembers of a device goes in as ``state`` float32 [batch, s] and comes out as ``next_state``.
``model.toml``
    Everything else: channels and their normalization, steps and windows, thresholds and how they
    were chosen, what it was trained on, and the SHA-256 of these two files.
``golden.safetensors``
    A few inputs with the outputs they must give. onnxruntime does not notice a flipped bit in a
    graph; these do, and the hash does before them. Also the state that a new device begins with.
``report.html``
    What it was trained on and what it says to it, for people; nothing reads it.

What is loaded is what was hashed: each file is read once, checked, and used from memory.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import tomlkit
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load, save

from headgate.core.errors import ConfigError
from headgate.core.units import DurationNs

#: Version of this layout. One of another is refused, never guessed at; 1 had no state.
FORMAT = 2

_GRAPH = "model.onnx"
_MANIFEST = "model.toml"
_GOLDEN = "golden.safetensors"
_REPORT = "report.html"

_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelChannel(_Table):
    """One input channel: ``(value - offset) / scale`` is what the graph is fed."""

    name: str
    unit: str = ""
    offset: float
    scale: Annotated[float, Field(gt=0)]


class Framing(_Table):
    """How readings become windows; see ``streams.stages.frame.stage.FrameSpec``."""

    period: Annotated[DurationNs, Field(gt=0)]
    window: Annotated[int, Field(ge=1, le=65536)]
    hop: Annotated[int, Field(ge=1)] = 1
    resample: Literal["instant", "mean"] = "instant"
    hold_limit: Annotated[int, Field(ge=0)] = 3


class _Adapt(_Table):
    """How a device's thresholds follow its sound scores; see ``streams.stages.detect.adapt``.

    A score changes both by the part ``step`` at most, and all scores together by no more than
    ``most`` times or to one in ``most``.
    """

    step: Annotated[float, Field(gt=0, le=0.1)]
    most: Annotated[float, Field(ge=1, le=100)] = 4.0


class Conformal(_Adapt):
    """By adaptive conformal inference.

    Of a sound device's scores the part ``rate`` reaches ``limit``, in units in which the thresholds
    are those of ``Alarm``. Where more or fewer do, both thresholds rise or fall.
    """

    by: Literal["conformal"] = "conformal"
    limit: Annotated[float, Field(gt=0)]
    rate: Annotated[float, Field(gt=0, lt=1)]


class Dspot(_Adapt):
    """By peaks over a threshold that drifts.

    The tail of a device's scores is fitted to their peaks, which are more than ``start`` over the
    scores' level. The thresholds rise and fall with what the part ``rate`` of scores would pass.

    Attributes:
        rate: Scores that may pass, a score.
        start: How far over the level peaks begin.
        shape: Of the generalized Pareto distribution of what they have over that.
        level: Mean of the scores in training.
        peak_rate: Part of them that were peaks.
        excess: Mean of what peaks had over ``start``.
    """

    by: Literal["dspot"] = "dspot"
    rate: Annotated[float, Field(gt=0, lt=1)]
    start: Annotated[float, Field(gt=0)]
    shape: Annotated[float, Field(gt=-1, lt=1)]
    level: Annotated[float, Field(ge=0)]
    peak_rate: Annotated[float, Field(gt=0, lt=1)]
    excess: Annotated[float, Field(gt=0)]


Adapt = Annotated[Conformal | Dspot, Field(discriminator="by")]


class Alarm(_Table):
    """When a score becomes an anomaly, and when that ends.

    An anomaly opens after ``open_after`` scores in a row at or over ``threshold`` and closes after
    ``close_after`` in a row below ``threshold_low``, or after fewer that would be as improbable
    as ``close_surprise`` in an event that goes on. One that would open within ``refractory`` steps
    of the end of another is the other, which goes on. Within ``quiet`` steps of the highest score
    of one that has ended only a higher score opens another, so that one trouble is told once.
    """

    threshold: Annotated[float, Field(gt=0)]
    threshold_low: Annotated[float, Field(gt=0)]
    open_after: Annotated[int, Field(ge=1)] = 3
    close_after: Annotated[int, Field(ge=1)] = 5
    close_surprise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    refractory: Annotated[int, Field(ge=0)] = 0
    quiet: Annotated[int, Field(ge=0)] = 0
    adapt: Adapt | None = None
    chosen_by: str = ""

    @field_validator("adapt", mode="before")
    @classmethod
    def _by_conformal(cls, value: object) -> object:
        # Packages from before there was another rule do not name it.
        return {"by": "conformal", **value} if isinstance(value, dict) else value

    @property
    def following(self) -> str:
        """How thresholds follow a device, for people; empty where they do not."""
        if self.adapt is None:
            return ""
        rule = "DSPOT" if isinstance(self.adapt, Dspot) else "adaptive conformal inference"
        return (
            f"thresholds follow each device by {rule}: by {100 * self.adapt.step:g} % a score, to "
            f"{self.adapt.most:g} times or one in {self.adapt.most:g} at most"
        )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.threshold_low > self.threshold:
            raise ValueError("threshold_low: expected at most threshold")
        if self.quiet and self.open_after > 1:
            raise ValueError("quiet: expected open_after = 1 beside it")
        if isinstance(self.adapt, Conformal) and self.adapt.limit >= self.threshold:
            raise ValueError("adapt.limit: expected less than threshold")
        return self


class Training(_Table):
    """What the model was made from, so that it can be made again."""

    kind: str
    chosen_because: str = ""
    fingerprint: _Hash
    rows: int
    span: DurationNs
    seed: int
    metrics: dict[str, float] = {}
    #: What a person should know about the data, a line each.
    notes: tuple[str, ...] = ()


class Manifest(_Table):
    """``model.toml``."""

    format: Literal[1, 2]
    name: str
    version: str = "1"
    feed: str
    normalization: Literal["zscore", "minmax", "robust"]
    channels: Annotated[tuple[ModelChannel, ...], Field(min_length=1)]
    framing: Framing
    state_size: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    alarm: Alarm
    training: Training
    model_sha256: _Hash
    golden_sha256: _Hash

    @field_validator("channels")
    @classmethod
    def _different(cls, channels: tuple[ModelChannel, ...]) -> tuple[ModelChannel, ...]:
        names = [channel.name for channel in channels]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"expected each channel once, got {min(twice)!r} again")
        return channels


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs and the outputs they must give: n windows of a model that keeps s numbers a device.

    Attributes:
        window: float32[n, window, channel].
        score: float32[n].
        share: float32[n, channel].
        state: float32[n, s], before each window.
        next_state: float32[n, s], after it.
        initial_state: float32[s], of a device that was never seen.
    """

    window: NDArray[np.float32]
    score: NDArray[np.float32]
    share: NDArray[np.float32]
    state: NDArray[np.float32]
    next_state: NDArray[np.float32]
    initial_state: NDArray[np.float32]

    @classmethod
    def without_state(
        cls,
        window: NDArray[np.float32],
        score: NDArray[np.float32],
        share: NDArray[np.float32],
    ) -> Golden:
        """Of a model that remembers nothing."""
        none = np.empty((window.shape[0] if window.ndim else 0, 0), np.float32)
        return cls(window, score, share, none, none, np.empty(0, np.float32))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """By name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A package in memory, its files checked against their hashes."""

    path: Path
    manifest: Manifest
    graph: bytes
    golden: Golden

    @classmethod
    def load(cls, path: Path) -> ModelPackage:
        """Read a package from its folder.

        Raises:
            ConfigError: It is incomplete, altered, damaged or of another format; one line each.
        """
        manifest = _read_manifest(path / _MANIFEST)
        graph = _read_checked(path / _GRAPH, manifest.model_sha256)
        golden = _read_golden(path / _GOLDEN, manifest)
        return cls(path, manifest, graph, golden)

    @property
    def report(self) -> Path:
        """The page about it, which ``headgate model train`` draws; others may have none."""
        return self.path / _REPORT

    @property
    def fingerprint(self) -> str:
        """What the state of its stages depends on: the graph, the framing and the alarm."""
        alarm = self.manifest.alarm
        # State that an older version has kept of a package like this one still holds.
        unused = {name for name in ("refractory", "quiet", "adapt") if not getattr(alarm, name)}
        text = self.manifest.model_dump_json(
            include={"channels", "framing", "alarm"}, exclude={"alarm": unused}
        )
        return hashlib.sha256(text.encode() + self.graph).hexdigest()[:16]


def write_package(
    path: Path,
    manifest: dict[str, object],
    graph: bytes,
    golden: Golden,
    report: Callable[[Manifest], str] | None = None,
) -> None:
    """Write a package; the folder appears whole or not at all.

    An existing package of that name is replaced; any other folder is left alone.

    Args:
        path: The package's folder.
        manifest: ``model.toml`` without the format and the hashes.
        graph: The ONNX file's bytes.
        golden: Windows and what the graph answers to them.
        report: Gives a page about it, for people; None leaves it out.

    Raises:
        ConfigError: The manifest is not one, the folder holds something else, or it can't be
            written.
    """
    if path.exists() and not (path / _MANIFEST).is_file() and not _is_empty_folder(path):
        raise ConfigError(
            f"{path}: expected a new folder or an old model package, found something else; "
            "choose another name"
        )
    golden_bytes = save(golden.arrays())
    whole = {
        "format": FORMAT,
        **manifest,
        "model_sha256": hashlib.sha256(graph).hexdigest(),
        "golden_sha256": hashlib.sha256(golden_bytes).hexdigest(),
    }
    checked = _validated(path, whole)
    text = tomlkit.dumps(checked.model_dump(mode="json", exclude_none=True))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            (building / _GRAPH).write_bytes(graph)
            (building / _GOLDEN).write_bytes(golden_bytes)
            (building / _MANIFEST).write_text(text, encoding="utf-8")
            if report is not None:
                (building / _REPORT).write_text(report(checked), encoding="utf-8")
            building.chmod(0o755)
            _put_in_place(building, path)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise ConfigError(f"{path}: expected a folder that can be written: {error}") from error


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _put_in_place(building: Path, path: Path) -> None:
    """Give a finished package its name, and remove the one that had it."""
    if not path.exists():
        building.replace(path)
        return
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    path.rename(old)
    try:
        building.replace(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old)


def _validated(where: Path, raw: dict[str, object]) -> Manifest:
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(
            [
                f"{where}: {'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}"
                for each in error.errors()
            ]
        ) from error


def _read_manifest(path: Path) -> Manifest:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: expected a model package: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML: {error}") from error
    return _validated(path, raw)


def _read_checked(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: expected the file: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ConfigError(
            f"{path}: expected SHA-256 {sha256[:12]}…, got {found[:12]}…; the file was altered or "
            "damaged: install the package again"
        )
    return content


def _read_golden(path: Path, manifest: Manifest) -> Golden:
    content = _read_checked(path, manifest.golden_sha256)
    window, channels = manifest.framing.window, len(manifest.channels)
    size = manifest.state_size
    try:
        arrays = load(content)
        count = len(arrays["window"]) if arrays["window"].ndim else 0
        if manifest.format == 1:
            golden = Golden.without_state(arrays["window"], arrays["score"], arrays["share"])
        else:
            golden = Golden(**{each.name: arrays[each.name] for each in fields(Golden)})
    except (SafetensorError, KeyError) as error:
        raise ConfigError(f"{path}: expected golden inputs and outputs: {error}") from error
    shapes: dict[str, tuple[int, ...]] = {
        "window": (count, window, channels),
        "score": (count,),
        "share": (count, channels),
        "state": (count, size),
        "next_state": (count, size),
        "initial_state": (size,),
    }
    for name, array in golden.arrays().items():
        if array.dtype != np.float32 or array.shape != shapes[name]:
            raise ConfigError(
                f"{path}: {name}: expected float32 {list(shapes[name])}, got {array.dtype} "
                f"{list(array.shape)}"
            )
    return golden
