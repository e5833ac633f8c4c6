"""The place in a configuration where a component is chosen, and its own table checked.

``format = "value"`` and ``[feed.NAME.format]`` with ``type = "value"`` are the same choice; in the
table, keys of that format's own may follow. They are checked by the component's table, with the
errors of every other: the line, what is expected, the nearest key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    InstanceOf,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from headgate.config.keys import keys_of
from headgate.core.components import component
from headgate.core.errors import ConfigError

#: The key that names the component.
TYPE = "type"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A component by its name, and its checked table."""

    name: str
    table: BaseModel


def _written(chosen: Chosen) -> dict[str, Any]:
    """A choice as it stands in a file."""
    return {TYPE: chosen.name, **chosen.table.model_dump()}


#: A field's type.
Choice: TypeAlias = Annotated[InstanceOf[Chosen], PlainSerializer(_written)]


def chosen_from(group: str) -> BeforeValidator:
    """What a key of type ``Choice`` is annotated with, to choose a component of this group."""

    def choose(value: object, info: ValidationInfo) -> object:
        if isinstance(value, Chosen):
            return value
        keys = {TYPE: value} if isinstance(value, str) else value
        if not isinstance(keys, Mapping):
            raise ValueError("expected a name, or a table")  # noqa: TRY004  (pydantic's contract)
        return _chosen(group, keys, info)

    return BeforeValidator(choose)


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
    try:
        return Chosen(name, table.model_validate(own, context=info.context))
    except ValidationError as error:
        raise _wrong(*(_with_keys(table, each) for each in error.errors())) from error


def _with_keys(table: type[BaseModel], error: ErrorDetails) -> InitErrorDetails:
    """One of the table's errors; of a key that it has not, with those that it has."""
    kind: str | PydanticCustomError = error["type"]
    if kind == "extra_forbidden":
        place = tuple(str(part) for part in error["loc"][:-1])
        allowed = [TYPE] * (not place) + keys_of(table, place)
        kind = PydanticCustomError("extra_forbidden", "unknown key", {"allowed": allowed})
    details = InitErrorDetails(type=kind, loc=error["loc"], input=error["input"])
    if isinstance(kind, str):
        details["ctx"] = error.get("ctx", {})
    return details


def _wrong(*errors: InitErrorDetails) -> ValidationError:
    """What pydantic puts to the errors of the tables around it."""
    return ValidationError.from_exception_data("component", list(errors))
