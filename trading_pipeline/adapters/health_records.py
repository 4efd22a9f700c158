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
    """Tell whether the instance in that folder keeps its runs in Dagster's own SQLite file there."""
    configuration = instance_folder / "dagster.yaml"
    if not configuration.exists():
        return True
    import yaml

    found = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    return not (isinstance(found, dict) and any(name in found for name in ELSEWHERE))


def daemon_heartbeats(instance_folder: Path) -> Mapping[str, datetime]:
    """Return when each of Dagster's daemons last said that it lives (UTC), by its kind; none where there is no file.

    Dagster's own table is read, since importing Dagster takes longer than everything else together.

    Raises:
        DependencyUnavailable: the file cannot be read.
    """
    path = instance_folder / RUNS_FILE
    if not path.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as connection:
            rows = connection.execute("SELECT daemon_type, timestamp FROM daemon_heartbeats").fetchall()
    except sqlite3.Error as error:
        raise DependencyUnavailable(f"the heartbeats of Dagster's daemons cannot be read: {path}: {error}") from error
    return {str(kind): datetime.fromisoformat(str(at)).replace(tzinfo=UTC) for kind, at in rows}
