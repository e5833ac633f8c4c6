"""Components: what a gateway is put together from, found by group and name.

A component is one object that brings everything: a line about it, the table of its configuration,
and what makes it. Built-in ones stand in a plain table in their group's folder; any other package
adds one by an entry point of the group (``headgate.formats``, ``headgate.sinks``, …). Both name the
object as ``module:attribute``, so that nothing is loaded that nobody asks for.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

#: What a component of a group makes, and from what, is told by the group's folder.
MakeT = TypeVar("MakeT")

#: Where the built-in components of each group stand: a module with a mapping ``BUILT_IN``.
GROUPS: Mapping[str, str] = {
    "formats": "connectors.formats.components",
    "rules": "streams.stages.clean.rules.components",
    "kinds": "models.training.kinds",
    "sinks": "connectors.sinks.components",
    "sources": "connectors.sources.components",
}

#: Origin of those that come with Headgate.
BUILT_IN = "built in"


@dataclass(frozen=True, slots=True)
class Component(Generic[MakeT]):
    """One component.

    Attributes:
        about: What it is, in a line without a full stop.
        table: Its own keys in the configuration, each with its default and its explanation.
        make: Makes what the group is about; see the group's folder.
        examples: What the docs show and the group's laws are tried with; see there.
        former: Its table where earlier versions had it, if that has other keys.
    """

    about: str
    table: type[BaseModel]
    make: MakeT
    examples: tuple[Any, ...] = ()
    former: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class Installed:
    """Where a component is found.

    Attributes:
        group: One of ``GROUPS``.
        name: What the configuration calls it.
        place: ``module:attribute`` of the ``Component``.
        origin: ``BUILT_IN``, or the distribution that brings it, with its version.
    """

    group: str
    name: str
    place: str
    origin: str

    def load(self) -> Component[Any]:
        """The component itself.

        Raises:
            ConfigError: It can't be had; the line says where it should come from.
        """
        module, _, attribute = self.place.partition(":")
        try:
            found = attrgetter(attribute)(import_module(module))
        except Exception as error:
            # Whatever another package does while it is imported, it is that package's mistake.
            raise self._broken(f"{type(error).__name__}: {error}") from error
        if not isinstance(found, Component):
            raise self._broken(f"expected a Component, got {type(found).__name__}")
        return found

    def _broken(self, what: str) -> ConfigError:
        return ConfigError(
            f"headgate.{self.group}: {self.name} ({self.origin}) can't be loaded from "
            f"{self.place}: {what}"
        )


@cache
def installed(group: str) -> Mapping[str, Installed]:
    """All components of a group that are installed, by name; none is loaded.

    Raises:
        ConfigError: Two of them have one name.
    """
    built_in: Mapping[str, str] = import_module(GROUPS[group]).BUILT_IN
    found = {name: Installed(group, name, place, BUILT_IN) for name, place in built_in.items()}
    for point in entry_points(group=f"headgate.{group}"):
        other = found.get(point.name)
        one = Installed(group, point.name, point.value, _origin(point))
        if other is not None and other != one:
            raise ConfigError(
                f"headgate.{group}: {point.name} is there twice, {other.origin} and from "
                f"{one.origin}; remove one of the two packages"
            )
        found[point.name] = one
    return found


def component(group: str, name: str) -> Component[Any]:
    """The component of this name.

    Raises:
        ConfigError: There is none, or it can't be loaded.
    """
    found = installed(group)
    if name not in found:
        near = difflib.get_close_matches(name, found, 1, 0.6)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise ConfigError(f"expected one of {', '.join(sorted(found))}{hint}")
    return found[name].load()


def sample(found: Installed) -> str:
    """A component's part of ``headgate.toml``: the ``sample.toml`` in its folder.

    Raises:
        ConfigError: It has none.
    """
    folder = found.place.partition(":")[0].rpartition(".")[0]
    try:
        return (files(folder) / "sample.toml").read_text(encoding="utf-8")
    except (OSError, ImportError, ValueError) as error:
        raise ConfigError(
            f"headgate.{found.group}: {found.name} ({found.origin}) has no sample.toml beside "
            f"{found.place.partition(':')[0]}"
        ) from error


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value
