"""The place in a configuration where a component is chosen, and its own table checked.

``format = "value"`` and ``[feed.NAME.format]`` with ``type = "value"`` are the same choice; in the
table, keys of that format's own may follow. They are checked by the component's table, with the
errors of every other: the line, what is expected, the nearest key.

Where a table may have any number of components of a group, each stands under its own name:
``range = [0, 50]`` in the table of a channel is the cleaning rule ``range``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    InstanceOf,
    PlainSerializer,
    SerializationInfo,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from headgate.config.keys import HIDDEN, holds_secret, keys_of
from headgate.config.lines import KeyPath
from headgate.core.components import component, installed
from headgate.core.errors import ConfigError

#: The key that names the component.
TYPE = "type"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A component by its name, and its checked table.

    Attributes:
        name: What chooses it.
        table: Its own keys.
        key: Where the file has it, if not at the place that it is at now.
    """

    name: str
    table: BaseModel
    key: KeyPath | None = None


@dataclass(frozen=True, slots=True)
class Former:
    """A component that stands where an earlier version had it, without a key that names it.

    Attributes:
        name: The component's.
        key: Where the file has it.
        own: Its own keys, as they were parsed.
        is_taken: Whether there is another one at the place where it is meant to be now.
    """

    name: str
    key: KeyPath
    own: object
    is_taken: bool = False


def _written(chosen: Chosen, info: SerializationInfo) -> dict[str, Any]:
    """As it may stand in a file."""
    dumped = chosen.table.model_dump(mode=info.mode, exclude_unset=info.exclude_unset)
    return {TYPE: chosen.name, **dumped}


@dataclass(frozen=True, slots=True)
class _Named:
    """What stands under a key that is none of a table's own.

    Attributes:
        name: The key.
        own: What stands there, as it was parsed.
        beside: The table's own keys.
    """

    name: str
    own: object
    beside: tuple[str, ...]


def with_names(raw: object, beside: Collection[str]) -> object:
    """A parsed table, in which whatever stands under further keys knows its name.

    Args:
        raw: The table.
        beside: The table's own keys.
    """
    if not isinstance(raw, Mapping):
        return raw
    return {
        key: value if key in beside else _Named(str(key), value, tuple(beside))
        for key, value in raw.items()
    }


def table_named(group: str) -> BeforeValidator:
    """What the values of further keys are annotated with, to be tables of this group's components.

    They have been through ``with_names``.
    """

    def table_of(value: object, info: ValidationInfo) -> object:
        if not isinstance(value, _Named):
            return value
        if value.name not in installed(group):
            allowed = sorted([*value.beside, *installed(group)])
            unknown = PydanticCustomError("extra_forbidden", "unknown key", {"allowed": allowed})
            raise _wrong({"type": unknown, "loc": (), "input": value.own})
        if isinstance(value.own, BaseModel):
            return value.own
        try:
            table = component(group, value.name).table
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return _checked(table, value.own, info, TYPE)

    return BeforeValidator(table_of)


#: A field's type.
Choice: TypeAlias = Annotated[InstanceOf[Chosen], PlainSerializer(_written)]


def chosen_from(group: str) -> BeforeValidator:
    """What a key of type ``Choice`` is annotated with, to choose a component of this group."""

    def choose(value: object, info: ValidationInfo) -> object:
        if isinstance(value, Chosen):
            return value
        if isinstance(value, Former):
            return _former(group, value, info)
        keys = {TYPE: value} if isinstance(value, str) else value
        if not isinstance(keys, Mapping):
            raise ValueError("expected a name, or a table")  # noqa: TRY004  (pydantic's contract)
        return _chosen(group, keys, info)

    return BeforeValidator(choose)


def _former(group: str, former: Former, info: ValidationInfo) -> Chosen:
    if former.is_taken:
        raise ValueError(
            f"expected one of this name, got {'.'.join(former.key)} as well; give this one another "
            "name, or remove one of the two"
        )
    found = component(group, former.name)
    table = found.former or found.table
    return Chosen(former.name, _checked(table, former.own, info, TYPE), former.key)


def _chosen(group: str, keys: Mapping[str, Any], info: ValidationInfo) -> Chosen:
    if TYPE not in keys:
        raise _wrong({"type": "missing", "loc": (TYPE,), "input": keys})
    name, own = keys[TYPE], {key: value for key, value in keys.items() if key != TYPE}
    try:
        if not isinstance(name, str):
            raise ConfigError("expected a text in quotes")
        table = component(group, name).table
    except ConfigError as error:
        wrong = PydanticCustomError("value_error", "{error}", {"error": str(error)})
        raise _wrong({"type": wrong, "loc": (TYPE,), "input": name}) from error
    return Chosen(name, _checked(table, own, info))


def _checked(table: type[BaseModel], own: object, info: ValidationInfo, *no: str) -> BaseModel:
    """The table with these keys; ``no``: keys beside its own that it may not have."""
    try:
        return table.model_validate(own, context=info.context)
    except ValidationError as error:
        raise _wrong(*(_with_keys(table, each, *no) for each in error.errors())) from error


def _with_keys(table: type[BaseModel], error: ErrorDetails, *no: str) -> InitErrorDetails:
    """One of the table's errors; of a key that it has not, with those that it has."""
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        place = tuple(str(part) for part in error["loc"][:-1])
        allowed = [TYPE] * (not place and TYPE not in no) + keys_of(table, place)
        context = {"allowed": allowed}
    # Pydantic takes back not all of its own kinds of error, but each as a custom one.
    kind = PydanticCustomError(error["type"], error["msg"], context)
    value = HIDDEN if holds_secret(table, error["loc"]) else error["input"]
    return InitErrorDetails(type=kind, loc=error["loc"], input=value)


def _wrong(*errors: InitErrorDetails) -> ValidationError:
    """What pydantic puts to the errors of the tables around it."""
    return ValidationError.from_exception_data("component", list(errors))
