"""Too many orders refused in one session: something is wrong that the next order will meet as well."""

from collections.abc import Mapping
from datetime import datetime

from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.risk.trading_state import Action, TradingMode, TradingState
from trading_pipeline.ports import Alert, IntentState, Severity

SET_BY = "refused orders"
REFUSED = frozenset({IntentState.REJECTED, IntentState.ABANDONED})


def reduce_after_refusals(world: TradingWorld, plan_id: str, account_number: str, symbols: Mapping[str, str]) -> None:
    """Stop opening positions, and say so once, where more orders of an account's plan were refused than are allowed.

    Rejected by the venue and abandoned by us count alike, whoever journalled
    it. After a reset of the latch those that were refused until then count no
    more. ``symbols`` names the symbol of each intent that is known.
    """
    refused = [entry for entry in world.journal.entries(plan_id, account_number) if entry.state in REFUSED]
    if len(refused) < world.settings.monitoring.rejected_orders_before_reducing:
        return
    reset_at = _last_reset(world)
    refused = [entry for entry in refused if reset_at is None or entry.written_at > reset_at]
    if len(refused) < world.settings.monitoring.rejected_orders_before_reducing:
        return
    told = "; ".join(f"{symbols.get(e.client_order_id, e.client_order_id)}: {e.detail}" for e in refused)
    reason, now = f"{len(refused)} orders of plan {plan_id} were rejected or abandoned", world.wall.now()
    title = f"{reason}: trading only reduces from now on"
    try:
        world.trading_state.change(lambda state: state.tightened(TradingMode.REDUCING, reason, SET_BY, now))
    finally:
        key = f"refused:{plan_id}" if reset_at is None else f"refused:{plan_id}:{reset_at.isoformat()}"
        world.notifier.notify(Alert(key, Severity.CRITICAL, title, told, now, runbook="orders-were-refused"))


def _last_reset(world: TradingWorld) -> datetime | None:
    """Return when somebody last lifted our latch, by this machine's clock; None where that never was."""
    try:
        changes = [recorded for _, recorded in world.stored_state.changes_after(0, mend=False) if recorded is not None]
    except PipelineError:
        # Where it is not known, every refusal counts.
        return None
    return next((recorded.written_at for recorded in reversed(changes) if _lifts(recorded.state)), None)


def _lifts(state: TradingState) -> bool:
    change = state.change
    is_lifted = change is not None and (change.action is Action.WRITTEN or SET_BY in change.names)
    return is_lifted and state.latch(SET_BY) is None
