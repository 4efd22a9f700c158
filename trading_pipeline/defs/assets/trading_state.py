"""Group risk: whether trading is allowed, and every change that led there."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pandas as pd

from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.table_asset import OWNERS
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.risk.trading_state import Latch, RecordedState, TradingState

GROUP = "risk"
NAME = "trading_state"
_COLUMNS = {
    "epoch": ("int", "Number of the change, from 1."),
    "written_at": ("timestamp (UTC)", "When it was stored, by the machine that did."),
    "mode": ("str", "active, reducing or halted, after the change."),
    "action": ("str", "latched, reset or written."),
    "names": ("str", "The latches that were set or reset."),
    "reason": ("str", "Why."),
    "set_by": ("str", "Who did it."),
    "overrides_risk": ("bool", "Whether a limit on risk was reset before its session was over."),
    "latches": ("str", "Everything that held trading after the change."),
}


def _column_schema() -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(name, kind, text) for name, (kind, text) in _COLUMNS.items()])


@dg.asset(
    name=NAME,
    group_name=GROUP,
    required_resource_keys={"world"},
    kinds={"json"},
    owners=OWNERS,
    code_version="1",
    metadata={"dagster/column_schema": _column_schema()},
)
def trading_state(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    """Whether trading is allowed, everything that holds it, and the history of the stored state.

    The state lies among the objects of the home folder, each change in a file
    of its own; this shows it, and changes nothing.
    """
    world: TradingWorld = context.resources.world
    in_force, history = world.trading_state.read(), world.stored_state.history()
    frame = history_frame(history)
    return dg.MaterializeResult(
        metadata=metadata.shown(
            {
                "mode": in_force.mode.value,
                "reason": in_force.reason,
                "latches": metadata.table(latches_frame(in_force)),
                "epoch": in_force.epoch,
                # The newest are what people look for, and the first rows are what is shown.
                "history": metadata.table(frame.iloc[::-1]),
                "dagster/row_count": len(frame),
                "market": world.market,
            }
        ),
        data_version=dg.DataVersion(metadata.content_hash(pd.concat([frame, latches_frame(in_force)]))),
    )


def history_frame(history: Sequence[RecordedState]) -> pd.DataFrame:
    """Return one row for each change of the stored state, oldest first."""
    return pd.DataFrame([_row(entry) for entry in history], columns=list(_COLUMNS))


def _row(entry: RecordedState) -> tuple[object, ...]:
    state, change = entry.state, entry.state.change
    held = "; ".join(map(str, state.latches))
    if change is None:
        return (state.epoch, entry.written_at, state.mode.value, "", "", state.reason, state.set_by, False, held)
    told = (change.action.value, ", ".join(change.names), change.reason, change.set_by, change.overrides_risk)
    return (state.epoch, entry.written_at, state.mode.value, *told, held)


def latches_frame(state: TradingState) -> pd.DataFrame:
    """Return one row for each latch that holds, in the order in which they were set."""
    columns = ["name", "mode", "reason", "set_by", "set_at", "session", "is_risk"]
    return pd.DataFrame([_latch_row(held) for held in state.latches], columns=columns)


def _latch_row(held: Latch) -> tuple[object, ...]:
    return (held.name, held.mode.value, held.reason, held.set_by, held.set_at, held.session, held.is_risk)
