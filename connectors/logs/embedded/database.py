"""The file behind the embedded log: how it is opened, what it looks like, what its errors mean.

A record's row number holds its partition and its offset, so reading a partition in order is one
walk along the table and needs no index::

    records.id = partitions.id << 40 | offset
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from headgate.core.errors import Bug, HeadgateError, PermanentError, TransientError
from headgate.core.folders import make_folder, sync_folder

#: Marks the file as ours (``file`` and other tools read it): "HGLG".
_APPLICATION_ID: Final = 0x48474C47
#: Version 1 had no checksums; it is brought up when it is opened.
_VERSION: Final = 2

#: Bits of a row number that hold the offset: 10^12 records a partition, 8 million partitions.
OFFSET_BITS: Final = 40

#: How long a connection waits for another process to finish writing, s. A write that takes
#: longer than this on a tired SD card would make the others report a log that is not ready.
BUSY_TIMEOUT_S: Final = 5.0

#: Between two tries to begin writing, s.
_BUSY_PAUSE_S: Final = 0.0005

#: A commit writes every page that it touches whole, and one of little data touches half a dozen; no
#: file system writes less than this. A log keeps the size that it was made with.
_PAGE_BYTES: Final = 4096

#: Bytes in the write-ahead log after which a commit moves them into the file.
_CHECKPOINT_BYTES: Final = 16 << 20

#: What is left of the write-ahead log on disk after it was emptied, bytes.
_JOURNAL_LIMIT_BYTES: Final = 32 << 20

_TABLES: Final = """
CREATE TABLE topics (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    is_compacted INTEGER NOT NULL,
    retention_ms INTEGER,
    retention_bytes INTEGER
) STRICT;
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY,
    topic_id INTEGER NOT NULL REFERENCES topics,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    evicted INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic_id, partition)
) STRICT;
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    size INTEGER NOT NULL,
    key BLOB,
    headers BLOB,
    value BLOB NOT NULL,
    crc INTEGER
) STRICT;
CREATE TABLE newest (
    partition_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    record_id INTEGER NOT NULL,
    PRIMARY KEY (partition_id, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE committed (
    consumer_group TEXT NOT NULL,
    partition_id INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, partition_id)
) STRICT, WITHOUT ROWID;
"""

#: SQLite's primary result codes that time, space or another process can mend.
_TRANSIENT: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
    }
)
#: Those that say what stands in the file is not, or no longer, a log.
_DAMAGED: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_SCHEMA}
)


def error_of(error: sqlite3.Error, path: Path) -> HeadgateError:
    """What an error of SQLite means for the caller of the log."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _TRANSIENT:
        return TransientError(f"{path}: the log can't be used just now: {error}")
    if code in _DAMAGED:
        return PermanentError(
            f"{path}: expected a log, got a damaged or foreign file ({error}); "
            "restore it, or move it away to begin a new log"
        )
    if code == sqlite3.SQLITE_TOOBIG:
        return PermanentError(f"{path}: a record is larger than SQLite takes: {error}")
    return Bug(f"{path}: {error}")


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """Raise what ``error_of`` says instead of SQLite's own errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise error_of(error, path) from error


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the file for writing; it is created, readable by its owner alone, when missing.

    Raises:
        TransientError: The disk is full, or another process holds the file for too long.
        PermanentError: The file is damaged or foreign, or the path can't be used.
    """
    try:
        if not path.exists():
            _create(path)
        is_usable = path.is_file() and os.access(path, os.R_OK | os.W_OK)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise _unusable(path, error.strerror) from error
    except OSError as error:
        raise TransientError(f"{path}: the log can't be opened: {error.strerror}") from error
    if not is_usable:
        raise _unusable(path, "a folder" if path.is_dir() else "one that may not be written")
    with mapped_errors(path):
        connection = _connect(path, BUSY_TIMEOUT_S)
        try:
            _check(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """Open an existing log for reading; raises like ``open_writer``."""
    with mapped_errors(path):
        connection = _connect(path, busy_timeout_s)
        connection.execute("PRAGMA query_only = ON")
    return connection


def _unusable(path: Path, found: str | None) -> PermanentError:
    return PermanentError(
        f"{path}: expected a file that can be read and written, got {found}; "
        "change log.url, or the owner of the file and its folder"
    )


def _create(path: Path) -> None:
    """Put an empty log there, complete from the first moment, unless another process is faster."""
    make_folder(path.parent)
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        made = Path(folder) / path.name
        # SQLite gives the -wal and -shm files the mode of the main file, so this protects all.
        os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with mapped_errors(path), closing(_connect(made, BUSY_TIMEOUT_S)) as connection:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            # Only possible before the first table: lets deleted records' pages go to the disk.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.executescript(_TABLES)
        with suppress(FileExistsError):
            path.hardlink_to(made)
        # The name too must outlast a power cut, before anything under it is acknowledged.
        sync_folder(path.parent)


def begin_writing(connection: sqlite3.Connection) -> None:
    """Begin a transaction that writes, waiting while another process has one.

    SQLite's own waiting sleeps longer each time, up to a tenth of a second, and an alarm would wait
    with it; here a transaction takes some milliseconds.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        for _ in range(round(BUSY_TIMEOUT_S / _BUSY_PAUSE_S)):
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            else:
                return
            time.sleep(_BUSY_PAUSE_S)
        connection.execute("BEGIN IMMEDIATE")
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_TIMEOUT_S)}")


def _connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    # Each connection is used by one thread at a time, but not always by the one that opened it.
    connection = sqlite3.connect(
        path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
    )
    # A power cut must not take what was acknowledged: FULL syncs the write-ahead log at each
    # commit. Some distributions overwrite what is deleted with zeros, which only costs writes.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = OFF")
    # Pages of a log from before are larger than those of a new one.
    ((page_bytes,),) = connection.execute("PRAGMA page_size")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_BYTES // page_bytes}")
    connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT_BYTES}")
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is no log, or one that another release wrote."""
    (identity,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if identity != _APPLICATION_ID:
        raise PermanentError(
            f"{path}: expected a log, got another program's file; give log.url another path"
        )
    if version == 1:
        _bring_up(connection)
        version = _VERSION
    if version != _VERSION:
        raise PermanentError(
            f"{path}: expected a log of version {_VERSION}, got version {version}; "
            "use the release that wrote it, or move it away to begin a new log"
        )


def _bring_up(connection: sqlite3.Connection) -> None:
    """Give a log of version 1 room for checksums. Its records have none, and are not checked."""
    begin_writing(connection)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 1:
            # Another process may have been faster.
            connection.execute("ALTER TABLE records ADD COLUMN crc INTEGER")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
