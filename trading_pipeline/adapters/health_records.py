"""What is read of the home folder to tell how the pipeline is: its heartbeat, and those of Dagster's daemons."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trading_pipeline.adapters.storage.objects import Objects
from trading_pipeline.domain.errors import DataError, DependencyUnavailable

HEARTBEAT_KEY = "health/heartbeat.json"
BUSY_SECONDS = 2.0
# Where Dagster keeps runs by itself, below the instance's folder.
RUNS_FILE = Path("history", "runs.db")
# Any of these in dagster.yaml means that runs are kept elsewhere.
ELSEWHERE = ("storage", "run_storage")


class StoredHeartbeat:
    """The newest heartbeat as one small JSON object, replaced as a whole."""

    def __init__(self, objects: Objects) -> None:
        """Keep it among ``objects``, at ``health/heartbeat.json``."""
        self._objects = objects

    def write(self, document: Mapping[str, Any]) -> None:
        """Put the newest heartbeat in the place of the one before.

        Raises:
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails.
        """
        self._objects.put(HEARTBEAT_KEY, json.dumps(document, indent=1).encode() + b"\n")

    def read(self) -> Mapping[str, Any] | None:
        """Return the newest heartbeat; None where there never was one. Raises as :meth:`write`.

        Raises:
            DataError: it is no JSON object.
        """
        content = self._objects.get(HEARTBEAT_KEY)
        if content is None:
            return None
        try:
            found = json.loads(content)
        except ValueError as error:
            raise DataError(
                f"{HEARTBEAT_KEY} is no JSON ({error}); it is written anew by the next heartbeat"
            ) from error
        if not isinstance(found, dict):
            raise DataError(f"{HEARTBEAT_KEY} is no JSON object; it is written anew by the next heartbeat")
        return found


def keeps_runs_itself(instance_folder: Path) -> bool:
    """Tell whether the instance in that folder keeps its runs in Dagster's own SQLite file there.

    Raises:
        DataError: its dagster.yaml is not what Dagster could read.
        DependencyUnavailable: its dagster.yaml cannot be read.
    """
    found = _configuration(instance_folder / "dagster.yaml")
    return not any(name in found for name in ELSEWHERE)


def _configuration(path: Path) -> Mapping[str, Any]:
    import yaml

    # Only where it is wrong is told, never what stands there: that may be a password.
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
    except OSError as error:
        raise DependencyUnavailable(f"{path}: {error.strerror or error}; let this user read it") from error
    except UnicodeDecodeError:
        raise DataError(f"{path} is no UTF-8; save it as that") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" in line {mark.line + 1}"
        raise DataError(f"{path} is no YAML: {type(error).__name__}{place}; correct it") from None
    if found is not None and not isinstance(found, dict):
        raise DataError(f"{path} holds a {type(found).__name__}; Dagster wants names with values there")
    return found or {}


def daemon_heartbeats(instance_folder: Path) -> Mapping[str, datetime]:
    """Return when each of Dagster's daemons last said that it lives (UTC), by its kind; none where there is no file.

    Dagster's own table is read, since importing Dagster takes longer than everything else together.

    Raises:
        DependencyUnavailable: the file cannot be read.
        DataError: it holds an instant that is none.
    """
    path = instance_folder / RUNS_FILE
    if not path.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as connection:
            rows = connection.execute("SELECT daemon_type, timestamp FROM daemon_heartbeats").fetchall()
    except sqlite3.Error as error:
        raise DependencyUnavailable(f"the heartbeats of Dagster's daemons cannot be read: {path}: {error}") from error
    try:
        return {str(kind): datetime.fromisoformat(str(at)).replace(tzinfo=UTC) for kind, at in rows}
    except ValueError as error:
        raise DataError(f"the heartbeats of Dagster's daemons cannot be understood: {path}: {error}") from error
