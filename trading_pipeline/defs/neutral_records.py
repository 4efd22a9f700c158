"""What Dagster keeps of a run, without what may not be said: events, errors, metadata and the ticks of sensors.

Records are redacted in the form in which Dagster writes them, so whatever
holds a text or a metadata value is reached, whoever made it: an asset, a check,
an IO manager, a resource or Dagster itself. Names by which records are found
again (keys, partitions, tags, ids) stay.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from dagster._core.scheduler.instigation import InstigatorTick, TickData
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._serdes import ConfigurableClassData, deserialize_value, serialize_value

from trading_pipeline.adapters.neutral_mode import redactor_in_force
from trading_pipeline.adapters.neutral_streams import redact_streams
from trading_pipeline.domain.redaction import Redactor

TEXT_FIELDS = frozenset({"message", "user_message", "stack", "description", "skip_reason"})
_TEXT_ENTRY = "TextMetadataEntryData"
# The class of a metadata value as Dagster writes it, and the field that holds what it says.
ENTRY_FIELDS: Mapping[str, str] = {
    _TEXT_ENTRY: "text",
    "MarkdownMetadataEntryData": "md_str",
    "UrlMetadataEntryData": "url",
    "PathMetadataEntryData": "path",
    "JsonMetadataEntryData": "data",
    "FloatMetadataEntryData": "value",
    "IntMetadataEntryData": "value",
}
_Record = TypeVar("_Record")


class NeutralScheduleStorage(SqliteScheduleStorage):
    """Dagster's SQLite record of schedules and sensors, in neutral mode without symbols and figures in its ticks."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "NeutralScheduleStorage":
        """Build the storage that ``dagster.yaml`` names; each process of Dagster's is neutral from then on."""
        redact_streams(redactor_in_force())
        return cast("NeutralScheduleStorage", cls.from_local(inst_data=inst_data, **config_value))

    def create_tick(self, tick_data: TickData) -> InstigatorTick:
        """Keep a tick that begins."""
        return super().create_tick(neutral(tick_data))

    def update_tick(self, tick: InstigatorTick) -> InstigatorTick:
        """Keep what became of a tick."""
        super().update_tick(InstigatorTick(tick.tick_id, neutral(tick.tick_data)))
        return tick


def neutral(record: _Record) -> _Record:
    """Return a record of Dagster's as it may be kept: itself, unless neutral mode is on."""
    redactor = redactor_in_force()
    return record if redactor is None else redacted(redactor, record)


def redacted(redactor: Redactor, record: _Record) -> _Record:
    """Return a record of Dagster's (an event, an error, a tick) without symbols and figures."""
    tree = json.loads(serialize_value(cast("Any", record)))
    return cast("_Record", deserialize_value(json.dumps(_walked(redactor, "", tree))))


def _walked(redactor: Redactor, name: str, node: Any) -> Any:  # noqa: ANN401 - JSON holds anything
    if isinstance(node, list):
        return [_walked(redactor, name, part) for part in node]
    if isinstance(node, str):
        return redactor.text(node) if name in TEXT_FIELDS else node
    if not isinstance(node, dict):
        return node
    if node.get("__class__") == "EventMetadataEntry":
        label = redactor.words(node["label"])
        return {**node, "label": label, "entry_data": entry(redactor, node["label"], node["entry_data"])}
    if node.get("__class__") in ENTRY_FIELDS or node.get("__class__") == "TableMetadataEntryData":
        return entry(redactor, name, node)
    return {inner: _walked(redactor, inner, part) for inner, part in node.items()}


def entry(redactor: Redactor, name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a metadata value, as Dagster writes it, as it may be shown under ``name``; hidden numbers become texts."""
    kind = data.get("__class__", "")
    if kind == "TableMetadataEntryData":
        return _table(redactor, data)
    if kind not in ENTRY_FIELDS:
        return dict(data)
    shown = redactor.value(name, data[ENTRY_FIELDS[kind]])
    if kind in {"FloatMetadataEntryData", "IntMetadataEntryData"} and isinstance(shown, str):
        return {"__class__": _TEXT_ENTRY, "text": shown}
    return {**data, ENTRY_FIELDS[kind]: shown}


def _table(redactor: Redactor, data: Mapping[str, Any]) -> dict[str, Any]:
    rows = redactor.table(record["data"] for record in data["records"])
    columns = [{**column, "name": redactor.words(column["name"])} for column in data["schema"]["columns"]]
    records = [{**record, "data": row} for record, row in zip(data["records"], rows, strict=True)]
    return {**data, "records": records, "schema": {**data["schema"], "columns": columns}}
