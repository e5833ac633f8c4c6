"""``[sink.NAME]`` with ``type = "apprise"``."""
# ruff: noqa: PLC0415  (a library that nobody asks for is not loaded)

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, field_validator, model_validator

from connectors.sinks.notifications.config import NotificationsConfig, Timeout
from connectors.sinks.notifications.notification import NAMES
from headgate.config.named_text import TextPart, plain_text_parts
from headgate.config.schema import read_secret
from headgate.config.values import SecretFile, SecretVariable
from headgate.core.units import parse_duration_ns

if TYPE_CHECKING:
    from headgate.config.schema import Config

_MAX_URLS = 50


class AppriseConfig(NotificationsConfig):
    """A message for each notification, to all of some addresses."""

    #: Where apprise's URLs stand, one a line: they hold passwords and tokens.
    urls_env: SecretVariable | None = None
    urls_file: SecretFile | None = None
    #: With names in braces.
    title: Annotated[str, Field(max_length=200)] = "{title}"
    text: Annotated[str, Field(min_length=1, max_length=2000)] = "{text}"
    #: Of one message to one address.
    timeout: Timeout = parse_duration_ns("20s")

    @field_validator("title", "text")
    @classmethod
    def _can_be_filled(cls, text: str) -> str:
        plain_text_parts(text, NAMES)
        return text

    @field_validator("title")
    @classmethod
    def _is_one_line(cls, title: str) -> str:
        if not title.isprintable():
            raise ValueError("expected one line: it becomes a subject")
        return title

    @model_validator(mode="after")
    def _has_urls(self) -> Self:
        if (self.urls_env is None) == (self.urls_file is None):
            raise ValueError("the addresses hold secrets: give either urls_env or urls_file")
        return self

    @cached_property
    def title_parts(self) -> tuple[TextPart, ...]:
        """The title."""
        return plain_text_parts(self.title, NAMES)

    @cached_property
    def text_parts(self) -> tuple[TextPart, ...]:
        """The text."""
        return plain_text_parts(self.text, NAMES)

    def read_urls(self) -> list[str]:
        """The addresses; what begins with ``#`` is none.

        Raises:
            ValueError: They can't be read, or there are none, or too many.
        """
        lines = (read_secret(self.urls_env, self.urls_file) or "").splitlines()
        urls = [
            line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")
        ]
        if not 1 <= len(urls) <= _MAX_URLS:
            raise ValueError(f"expected 1 to {_MAX_URLS} addresses, one a line, found {len(urls)}")
        return urls

    def unusable(self, config: Config) -> Iterator[tuple[str, str]]:
        from connectors.sinks.apprise.addresses import not_understood

        yield from super().unusable(config)
        key = "urls_env" if self.urls_env is not None else "urls_file"
        try:
            problems = list(not_understood(self.read_urls()))
        except ValueError as error:
            problems = [str(error)]
        for problem in problems:
            yield key, problem
