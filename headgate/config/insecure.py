"""Settings that work and let others read, or change, what they should not.

None of them keeps a gateway from running: ``headgate check`` warns, and fails only when it is asked
to. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from headgate.config.certificates import is_handed_over
from headgate.config.hosts import is_loopback
from headgate.config.named import named, tables_of
from headgate.config.problems import shown_key
from headgate.config.schema import Config
from headgate.config.table import Table
from headgate.config.values import Role


def insecure(config: Config, path: Path) -> Iterator[str]:
    """What is insecure about a configuration, a line each.

    Args:
        config: The checked configuration.
        path: The file that it came from.
    """
    yield from _log(config)
    yield from _components(config)
    yield from _console(config)
    yield from _readable(config)
    if _open_to_others(path, stat.S_IWOTH):
        yield f"file: others on this machine can change {path}; chmod o-w {path}"


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


def _components(config: Config) -> Iterator[str]:
    """What tables say of themselves."""
    for key, table in tables_of(config):
        if isinstance(table, Table):
            for line in table.insecure():
                yield f"{shown_key(key)}.{line}"


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
    found = list(named(config))
    for each in found:
        file = Path(each.value)
        # A key that is our own is refused anyway.
        if each.names.role not in (Role.SECRET_FILE, Role.PRIVATE_KEY) or is_handed_over(file):
            continue
        if _open_to_others(file, stat.S_IROTH | stat.S_IWOTH):
            key = shown_key(each.key)
            yield f"{key}: others on this machine can read or change {file}; chmod 600 {file}"
    folder = config.gateway.data_dir
    if _open_to_others(folder, stat.S_IRWXO):
        yield (
            f"gateway.data_dir: others on this machine can look into {folder}, where readings and "
            f"results are kept; chmod 700 {folder}"
        )
    stores = {"log.url": config.log_path} if config.log.is_embedded else {}
    for each in found:
        if each.names.role is Role.DATA_FILE:
            stores[shown_key(each.key)] = config.data_path(Path(each.value))
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
