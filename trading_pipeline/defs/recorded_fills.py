"""What the newest materialisation of ``fills`` says of a plan, and whether that is all there is to say."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from dagster import DagsterInstance

from trading_pipeline.defs.lineage import PLAN_ID, metadata_of, newest_materialisation
from trading_pipeline.ports import JournalEntry

FILLS = "fills"
UNRESOLVED = "unresolved"


@dataclass(frozen=True)
class RecordedFills:
    """A plan whose executions were recorded at a UTC instant, when ``unresolved`` of its intents had not ended."""

    plan_id: str
    at: datetime
    unresolved: int

    def covers(self, entries: Sequence[JournalEntry]) -> bool:
        """Tell whether nothing was journalled of the plan's intents since; ``entries`` are their latest."""
        newest = max((entry.written_at for entry in entries), default=self.at)
        return not self.unresolved and newest <= self.at


def recorded_fills(instance: DagsterInstance, session: date) -> RecordedFills | None:
    """Return what was recorded last of the session's plan; None where nothing was."""
    record = newest_materialisation(instance, FILLS, str(session))
    if record is None:
        return None
    said = {name: each.value for name, each in metadata_of(record).items()}
    if PLAN_ID not in said:
        return None
    # In neutral mode figures may be hidden; then the journal's times decide alone.
    unresolved = said.get(UNRESOLVED)
    at = datetime.fromtimestamp(record.timestamp, UTC)
    return RecordedFills(str(said[PLAN_ID]), at, unresolved if isinstance(unresolved, int) else 0)
