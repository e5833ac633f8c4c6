"""Settings that work and let others read, or change, what they should not.

None of them keeps a gateway from running: ``headgate check`` warns, and fails only when it is asked
to. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from headgate.config.certificates import is_handed_over
from headgate.config.hosts import host_of, is_loopback
from headgate.config.schema import Config


def insecure(config: Config, path: Path) -> Iterator[str]:
    """What is insecure about a configuration, a line each.

    Args:
        config: The checked configuration.
        path: The file that it came from.
    """
    yield from _mqtt(config)
    yield from _log(config)
    yield from _influxdb(config)
    yield from _console(config)
    yield from _readable(config)
    if _open_to_others(path, stat.S_IWOTH):
        yield f"file: others on this machine can change {path}; chmod o-w {path}"


def _mqtt(config: Config) -> Iterator[str]:
    mqtt = config.mqtt
    if mqtt.username is not None and mqtt.tls is None and not is_loopback(mqtt.host):
        key = "username"
        if mqtt.password_env is not None or mqtt.password_file is not None:
            key = "password_env" if mqtt.password_file is None else "password_file"
        yield (
            f"mqtt.{key}: name and password go to {mqtt.host} as they are, for all in between to "
            "read; give [mqtt.tls]"
        )


def _log(config: Config) -> Iterator[str]:
    log = config.log
    if log.is_embedded or log.username is None or log.tls_ca_file is not None:
        return
    servers = log.url.removeprefix("kafka://").split(",")
    away = [server for server in servers if not is_loopback(server.partition(":")[0])]
    if not away:
        return
    if log.sasl_mechanism == "PLAIN":
        yield (
            f"log.sasl_mechanism: PLAIN sends the password to {away[0]} as it is, and there is no "
            "TLS; give log.tls_ca_file"
        )
    else:
        yield (
            f"log.url: readings go to {away[0]} without TLS, and all in between can read them and "
            "take over the connection after the password is proven; give log.tls_ca_file"
        )


def _influxdb(config: Config) -> Iterator[str]:
    if config.influxdb is None:
        return
    url = config.influxdb.url
    if url.startswith("http://") and not is_loopback(host_of(url)):
        yield (
            f"influxdb.url: http:// sends the token to {host_of(url)} as it is, for all in between "
            "to read; use https://"
        )
    if url.startswith("https://") and not config.influxdb.verify_tls:
        yield (
            "influxdb.verify_tls: false takes any certificate, so whoever is in between can read "
            "the token; leave it out, and give influxdb.ca_file for a certificate of your own"
        )


def _console(config: Config) -> Iterator[str]:
    console = config.console
    if is_loopback(console.host):
        return
    if console.token_env is None and console.token_file is None:
        yield (
            f"console.host: {console.host} can be reached from other machines, and without a token "
            "only /healthz is answered; give console.token_file, or listen on 127.0.0.1"
        )
    else:
        yield (
            f"console.host: {console.host} can be reached from other machines, and token and pages "
            "go there as they are; listen on 127.0.0.1, behind a proxy with TLS"
        )


def _readable(config: Config) -> Iterator[str]:
    """Files that other users of this machine can read."""
    files = {
        "mqtt.password_file": config.mqtt.password_file,
        "log.password_file": config.log.password_file,
        "influxdb.token_file": None if config.influxdb is None else config.influxdb.token_file,
        "console.token_file": config.console.token_file,
        # One that is our own is refused anyway.
        "mqtt.tls.key_file": None if config.mqtt.tls is None else config.mqtt.tls.key_file,
    }
    for key, file in files.items():
        if file is None or is_handed_over(file):
            continue
        if _open_to_others(file, stat.S_IROTH | stat.S_IWOTH):
            yield f"{key}: others on this machine can read or change {file}; chmod 600 {file}"
    folder = config.gateway.data_dir
    if _open_to_others(folder, stat.S_IRWXO):
        yield (
            f"gateway.data_dir: others on this machine can look into {folder}, where readings and "
            f"results are kept; chmod 700 {folder}"
        )
    stores = {"log.url": config.log_path} if config.log.is_embedded else {}
    if config.local_store is not None:
        stores["local_store.path"] = config.data_path(config.local_store.path)
    for key, file in stores.items():
        is_inside = file.absolute().is_relative_to(folder.absolute())
        if not is_inside and _open_to_others(file, stat.S_IROTH | stat.S_IWOTH):
            yield f"{key}: others on this machine can read or change {file}; chmod 600 {file}"


def _open_to_others(path: Path, rights: int) -> bool:
    """Whether users who own nothing of it have one of these rights, and can get there at all."""
    try:
        whole = path.resolve()
        return bool(whole.stat().st_mode & rights) and all(
            folder.stat().st_mode & stat.S_IXOTH for folder in whole.parents
        )
    except OSError:
        return False  # it is not there yet
