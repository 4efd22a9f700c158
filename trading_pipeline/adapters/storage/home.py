"""Where everything of one market and account lies on this machine.

Figures of different markets never mix: each has a folder of its own below the
home, named for the mode and, in the simulation, for the market.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.settings import Mode, Settings

DEFAULT_HOME = Path(".trading_pipeline")
HOME_VARIABLE = "TRADING_PIPELINE_HOME"

_HOW_CHOSEN = (
    "TRADING_MODE chooses a mode, TRADING_PIPELINE__SIMULATOR__BARS the file of bars that a folder is named after"
)

# Queued runs go one at a time: SQLite has one writer. Nothing is reported to anyone.
DAGSTER_YAML = """\
# Written by trading-pipeline, and again where it differs; delete this line to keep your own changes.
event_log_storage:
  module: trading_pipeline.defs.event_log
  class: PooledSqliteEventLogStorage
  config:
    base_dir: {folder}
schedule_storage:
  module: trading_pipeline.defs.neutral_records
  class: NeutralScheduleStorage
  config:
    base_dir: {schedules}
python_logs:
  managed_python_loggers:
    - trading_pipeline
telemetry:
  enabled: false
nux:
  enabled: false
freshness:
  enabled: true
concurrency:
  runs:
    max_concurrent_runs: 1
"""


@dataclass(frozen=True)
class Home:
    """The folder of one market and account."""

    folder: Path

    @property
    def tables(self) -> Path:
        """Delta Lake tables."""
        return self.folder / "tables"

    @property
    def objects(self) -> Path:
        """Plans and the trading state."""
        return self.folder / "objects"

    @property
    def journal(self) -> Path:
        """The journal of order attempts (SQLite)."""
        return self.folder / "journal.sqlite"

    @property
    def metrics(self) -> Path:
        """Counters and latencies, one line a datum."""
        return self.folder / "metrics.jsonl"

    @property
    def alerts(self) -> Path:
        """The alerts that were given (SQLite)."""
        return self.folder / "alerts.sqlite"

    @property
    def dagster(self) -> Path:
        """Dagster's own instance: runs, events, schedules."""
        return self.folder / "dagster"

    @property
    def simulator(self) -> Path:
        """The simulated broker's account, and the file that names its address."""
        return self.folder / "simulator"

    @property
    def lease(self) -> Path:
        """Held by whoever places orders."""
        return self.folder / "orders.lock"

    @property
    def lock(self) -> Path:
        """Held by whoever runs the pipeline on this folder."""
        return self.folder / "run.lock"

    @property
    def absence(self) -> str:
        """Why nothing can be told of this folder, with what lies beside it; empty where it is there."""
        # One that may not be looked into is none, and no error: trading is stopped all the same.
        if os.path.isdir(self.folder):
            return ""
        told = f"there is no folder {self.folder}: nothing ran here; check --home and the mode"
        return f"{told}. {self.neighbours}" if self.neighbours else told

    @property
    def neighbours(self) -> str:
        """In which folders of other markets and accounts something ran, and how to choose them; empty without any."""
        try:
            locks = sorted(self.folder.parent.glob(f"*/{self.lock.name}"))
        except OSError:
            return ""
        names = ", ".join(lock.parent.name for lock in locks if lock.parent != self.folder)
        return f"Beside it something ran in {names}: {_HOW_CHOSEN}" if names else ""

    def prepared(self) -> "Home":
        """Create the folders and Dagster's configuration where they are missing.

        Raises:
            InvalidInput: the folder cannot be written.
        """
        try:
            for folder in (self.tables, self.objects, self.dagster, self.simulator):
                folder.mkdir(parents=True, exist_ok=True)
            configuration = self.dagster / "dagster.yaml"
            wanted = DAGSTER_YAML.format(
                folder=json.dumps(str(self.dagster / "history" / "runs")),
                schedules=json.dumps(str(self.dagster / "schedules")),
            )
            if _is_ours(configuration, wanted):
                configuration.write_text(wanted, encoding="utf-8")
            self.lock.touch()
        except OSError as error:
            raise InvalidInput(
                f"{self.folder} cannot be written ({error.strerror}); choose another folder with --home or "
                f"{HOME_VARIABLE}, or make it writable"
            ) from None
        return self


def _is_ours(configuration: Path, wanted: str) -> bool:
    """Tell whether the file is missing, or ours and out of date (the folder was moved, say)."""
    if not configuration.exists():
        return True
    found = configuration.read_text(encoding="utf-8")
    return found != wanted and found.startswith(wanted.splitlines()[0])


def home_of(settings: Settings, root: Path) -> Home:
    """Return the folder below ``root`` for the market and account that ``settings`` choose."""
    return Home((root / _market(settings)).absolute())


def _market(settings: Settings) -> str:
    if settings.mode is not Mode.SIMULATED:
        return settings.mode.value
    if settings.simulator.bars is None:
        return f"simulated-generated-{settings.simulator.seed}"
    # However the file is spelled, it is one market.
    path = settings.simulator.bars.resolve()
    return f"simulated-{path.stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
