"""Reports as files: one page for each execution session, replaced whole."""

import os
import re
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from trading_pipeline.domain.errors import InvalidInput

FOLDER = "reports"
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})\.html")
READABLE = 0o644


def report_path(home: Path, execution_session: date) -> Path:
    """Return where the report of a session lies below the folder of one market and account.

    >>> report_path(Path("home"), date(2026, 7, 31)).as_posix()
    'home/reports/2026-07-31.html'
    """
    return home / FOLDER / f"{execution_session}.html"


def write_page(path: Path, page: str) -> Path:
    """Write a page, durably and in the place of an earlier one: a reader sees the old or the new, never a part.

    Raises:
        InvalidInput: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
        written = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(page.encode())
                file.flush()
                os.fsync(file.fileno())
            written.chmod(READABLE)
            written.replace(path)
        finally:
            written.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be written ({error.strerror or error}); name a file in a folder that this user may write, "
            f"on a disk with space"
        ) from error
    return path


def sessions_reported(home: Path) -> Sequence[date]:
    """Return the execution sessions that have a report, newest first."""
    folder = home / FOLDER
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    found = [match[1] for name in names if (match := _NAME.fullmatch(name))]
    return sorted((day for text in found if (day := _day(text)) is not None), reverse=True)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
