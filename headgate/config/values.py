"""The kinds of value that may stand in the file, each with its own check and message."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AllowInfNan, BeforeValidator, Field, Strict, ValidationInfo

from headgate.config.topics import checked_filter


class Role(Enum):
    """What a value names, outside of the file."""

    SECRET_VARIABLE = auto()
    SECRET_FILE = auto()
    TRUSTED_CERTIFICATES = auto()
    OWN_CERTIFICATE = auto()
    PRIVATE_KEY = auto()
    DATA_FILE = auto()
    WRITTEN_TOPICS = auto()
    SOURCE = auto()


@dataclass(frozen=True, slots=True)
class Names:
    """In the annotation of a key: what its value names; ``headgate.config.named`` finds it.

    Attributes:
        role: What it is.
        least: Characters that a secret must have at least.
    """

    role: Role
    least: int = 0


#: Characters of a token that we ask for ourselves; others' have their own rules.
_MIN_TOKEN = 16

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253})")
_NO_ADDRESS = re.compile(r"[\s/@?,*\[\]\x00-\x1f]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ValueError(
            "expected 1 to 64 letters, digits, '_', '.' or '-', beginning with a letter or digit"
        )
    return text


def _host(text: str) -> str:
    if _HOST.fullmatch(text) is None:
        raise ValueError('expected the name of a host without a port, such as "gateway.example"')
    return text


def _address(text: str) -> str:
    # One colon begins a port, and several stand in an address of IPv6.
    if not text or text.count(":") == 1 or _NO_ADDRESS.search(text):
        # What stands before or behind these may be a secret, and is not repeated.
        got = ", got more than that" if "@" in text or "?" in text else ""
        raise ValueError(
            'expected a name or an address, such as "broker.example" or "192.0.2.7", without '
            f"scheme, user, port or path, each of which has a key of its own{got}"
        )
    return text


def _variable(text: str) -> str:
    if _VARIABLE.fullmatch(text) is None:
        # The text is not repeated: it may be the secret itself.
        raise ValueError("expected the name of an environment variable, such as HEADGATE_TOKEN")
    return text


def _range(bounds: object) -> object:
    if (
        not isinstance(bounds, list | tuple)
        or len(bounds) != 2
        or not all(isinstance(bound, int | float) for bound in bounds)
        or any(isinstance(bound, bool) for bound in bounds)
        or not bounds[0] < bounds[1]
    ):
        raise ValueError("expected [low, high]: two numbers, low below high")
    return bounds


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return path if folder is None else Path(folder) / path


#: A path in the file; a relative one is meant from the folder that the file stands in.
FilePath = Annotated[Path, AfterValidator(_beside_the_file)]
Name = Annotated[str, AfterValidator(_name)]
#: An MQTT topic filter: ``+`` for one level, ``#`` for all that are left.
TopicFilter = Annotated[str, AfterValidator(checked_filter)]
#: Name of a host, as a request gives it.
Host = Annotated[str, AfterValidator(_host)]
#: Name or address of a machine, of this one or another.
Address = Annotated[str, AfterValidator(_address)]
#: A whole number, a number, a truth value: none is taken for another.
Int = Annotated[int, Strict()]
Number = Annotated[float, Strict(), AllowInfNan(False)]  # noqa: FBT003  (pydantic's signature)
Flag = Annotated[bool, Strict()]
Port = Annotated[Int, Field(ge=1, le=65535)]
#: Name of an environment variable that holds a secret, and a file that does. What stands under such
#: a key is never shown. It is looked whether the secret can be read, and the file by nobody else.
SecretVariable = Annotated[str, AfterValidator(_variable), Names(Role.SECRET_VARIABLE)]
SecretFile = Annotated[FilePath, Names(Role.SECRET_FILE)]
#: The same for a secret that is asked of others, so that nobody may guess it.
TokenVariable = Annotated[str, AfterValidator(_variable), Names(Role.SECRET_VARIABLE, _MIN_TOKEN)]
TokenFile = Annotated[FilePath, Names(Role.SECRET_FILE, _MIN_TOKEN)]
#: Certificates (PEM) of authorities that are trusted, one's own, and the key to that. They must be
#: there; the key must be readable by nobody else, and it is warned before a certificate expires.
CertificatesFile = Annotated[FilePath, Names(Role.TRUSTED_CERTIFICATES)]
OwnCertificateFile = Annotated[FilePath, Names(Role.OWN_CERTIFICATE)]
PrivateKeyFile = Annotated[FilePath, Names(Role.PRIVATE_KEY)]
#: A file that is written by the gateway; a relative one is meant below ``gateway.data_dir``. No two
#: keys may name one file, and it is warned when others can read it.
WritableFile = Annotated[Path, Names(Role.DATA_FILE)]
#: What topics that are published to begin with; no two keys may say the same.
WrittenTopics = Annotated[str, Names(Role.WRITTEN_TOPICS)]
#: Name of a source that there is in the file.
SourceName = Annotated[Name, Names(Role.SOURCE)]
#: Two numbers, low below high; infinite where there is no such bound.
Range = Annotated[tuple[float, float], BeforeValidator(_range)]


def entries_of(value: object) -> list[object]:
    """One value, or a list of some, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]
