"""``[sink.NAME]`` with ``type = "influxdb"``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from headgate.config.hosts import host_of, is_loopback
from headgate.config.table import Table
from headgate.config.values import CertificatesFile, Flag, Int, SecretFile, SecretVariable
from headgate.core.units import DurationNs, parse_duration_ns


class InfluxDbConfig(Table):
    """InfluxDB's v2 write API, or any store that speaks it."""

    url: str
    org: str
    bucket: str
    token_env: SecretVariable | None = None
    token_file: SecretFile | None = None
    max_points: Annotated[Int, Field(ge=1, le=100_000)] = 2000
    max_wait: DurationNs = parse_duration_ns("100ms")
    timeout: DurationNs = parse_duration_ns("10s")
    verify_tls: Flag = True
    ca_file: CertificatesFile | None = None

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", url) is None:
            raise ValueError('expected "http://HOST:PORT" or "https://HOST:PORT"')
        return url

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if (self.token_env is None) == (self.token_file is None):
            raise ValueError("the API token: give either token_env or token_file")
        return self

    def insecure(self) -> Iterator[str]:
        if self.url.startswith("http://") and not is_loopback(host_of(self.url)):
            yield (
                f"url: http:// sends the token to {host_of(self.url)} as it is, for all in between "
                "to read; use https://"
            )
        if self.url.startswith("https://") and not self.verify_tls:
            yield (
                "verify_tls: false takes any certificate, so whoever is in between can read the "
                "token; leave it out, and give ca_file for a certificate of your own"
            )
