"""Dagster's event log on SQLite with connections that stay open.

Dagster 1.13 opens a new engine and connection for every event and every
question: with a hundred checks a session, half the time of a run. Here each
database keeps its connection, so that statements are compiled once, commits
wait for the disk at checkpoints only, and plans of checks are said briefly.
What else is written, where and when it is committed is Dagster's own. Named in the
instance's ``dagster.yaml``; removing it there returns to Dagster's class on
the same files.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.event import listen
from sqlalchemy.pool import QueuePool

from trading_pipeline.defs.neutral_records import neutral
from trading_pipeline.defs.planned_checks import short

# One database for the index and one for each run: the UI may read hundreds, and open files are limited.
MOST_OPEN_DATABASES = 16
SECONDS_TO_WAIT_FOR_WRITERS = 30


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's SQLite event log, its newest few databases kept open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Open nothing yet but what Dagster's class opens."""
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PooledSqliteEventLogStorage":
        """Build the storage that ``dagster.yaml`` names."""
        return cls(inst_data=inst_data, **config_value)

    def store_event(self, event: EventLogEntry) -> None:
        """Keep an event; in neutral mode without symbols and figures."""
        super().store_event(neutral(short(event)))

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        # The lock is Dagster's: one thread of a process uses a connection at a time.
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> Engine:
        engine = self._engines.pop(shard, None) or self._opened(shard)
        self._engines[shard] = engine
        if len(self._engines) > MOST_OPEN_DATABASES:
            _, oldest = self._engines.popitem(last=False)
            oldest.dispose()
        return engine

    def _opened(self, shard: str) -> Engine:
        engine = create_engine(
            self.conn_string_for_shard(shard),
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=1,
            connect_args={"timeout": SECONDS_TO_WAIT_FOR_WRITERS, "check_same_thread": False},
        )
        listen(engine, "connect", _synchronise_at_checkpoints)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        return engine

    def dispose(self) -> None:
        """Close every database."""
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()


def _synchronise_at_checkpoints(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    """Let the disk be waited for at checkpoints only.

    A process that is killed loses nothing; a power cut may lose the newest
    events, and then a check counts as not evaluated and nothing is traded on
    it. What must survive a power cut is in the journal and the plans.
    """
    connection.execute("PRAGMA synchronous = NORMAL")
