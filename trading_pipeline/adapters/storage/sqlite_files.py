"""Making a SQLite file once, whole, whoever asks for it first."""

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from filelock import FileLock


def create_once(
    path: Path, connected: Callable[[Path], sqlite3.Connection], make: Callable[[sqlite3.Connection], None], wait: float
) -> None:
    """Create the file at ``path``, with its folder, unless it is there; its tables are those that ``make`` makes.

    It is made aside and linked into place: whoever sees it sees all of its
    tables, and one of two makers wins. What a file that was moved away has left
    behind (``-wal``, ``-shm``) would be taken for a part of the new one, and is
    put aside as ``.orphaned``.

    Args:
        path: the file.
        connected: opens a file.
        make: creates the tables of an empty file in WAL mode.
        wait: seconds to wait for another maker; negative: as long as it takes.

    Raises:
        sqlite3.Error: the file cannot be made.
        OSError: the folder cannot be used, or another maker takes too long.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=wait):
        if not path.exists():
            _put_aside_what_was_left(path)
            _create(path, connected, make)


def _put_aside_what_was_left(path: Path) -> None:
    for left in (path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm")):
        if left.exists():
            left.replace(left.with_name(f"{left.name}.orphaned"))


def _create(
    path: Path, connected: Callable[[Path], sqlite3.Connection], make: Callable[[sqlite3.Connection], None]
) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as aside:
        made = Path(aside) / path.name
        with closing(connected(made)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            make(connection)
        with suppress(FileExistsError):
            os.link(made, path)
