"""Too many orders refused in one session: something is wrong that the next order will meet as well."""

from collections.abc import Mapping

from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.ports import Alert, IntentState, Severity

SET_BY = "refused orders"
REFUSED = frozenset({IntentState.REJECTED, IntentState.ABANDONED})


def reduce_after_refusals(world: TradingWorld, plan_id: str, symbols: Mapping[str, str]) -> None:
    """Stop opening positions, and say so once, where more orders of a plan were refused than the settings allow.

    Rejected by the venue and abandoned by us count alike, whoever journalled
    it. ``symbols`` names the symbol of each intent that is known.
    """
    refused = [entry for entry in world.journal.entries(plan_id) if entry.state in REFUSED]
    if len(refused) < world.settings.monitoring.rejected_orders_before_reducing:
        return
    told = "; ".join(f"{symbols.get(e.client_order_id, e.client_order_id)}: {e.detail}" for e in refused)
    reason, now = f"{len(refused)} orders of plan {plan_id} were rejected or abandoned", world.wall.now()
    title = f"{reason}: trading only reduces from now on"
    try:
        world.trading_state.change(lambda state: state.tightened(TradingMode.REDUCING, reason, SET_BY, now))
    finally:
        key = f"refused:{plan_id}"
        world.notifier.notify(Alert(key, Severity.CRITICAL, title, told, now, runbook="orders-were-refused"))
