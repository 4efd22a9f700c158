"""Telling people that trading is halted, once for each halt, and that it goes on."""

from collections.abc import Sequence

from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.risk.trading_state import Latch, TradingMode, TradingState
from trading_pipeline.ports import RECOVERED, Alert, Severity

PREFIX = "halt:"
RUNBOOK = "trading-is-halted"


def tell_of_halts(world: TradingWorld) -> int:
    """Tell of every latch that halts trading, and of those that no longer do; return how many alerts were new.

    Files, variables and the broker's own flags are known to whoever set them, and are in `kill status`.

    Raises:
        PipelineError: the trading state or the outbox cannot be read.
    """
    state, now = world.stored_state.read(), world.wall.now()
    halts = {_key(latch): latch for latch in state.latches if latch.mode is TradingMode.HALTED}
    begun = [_halted(key, latch, state, world) for key, latch in halts.items() if not world.notifier.knows(key)]
    ended = [
        Alert(alert.key + RECOVERED, Severity.INFO, "Trading is no longer halted", f"Over: {alert.text}", now, RUNBOOK)
        for alert in world.notifier.unanswered(now)
        if alert.key.startswith(PREFIX) and alert.key not in halts
    ]
    return sum(world.notifier.notify(alert) for alert in _all(begun, ended))


def _all(*parts: Sequence[Alert]) -> Sequence[Alert]:
    return [alert for part in parts for alert in part]


def _key(latch: Latch) -> str:
    since = "" if latch.set_at is None else latch.set_at.isoformat(timespec="milliseconds")
    return f"{PREFIX}{latch.name}:{since}"


def _halted(key: str, latch: Latch, state: TradingState, world: TradingWorld) -> Alert:
    # The page's templates are loaded where there is something to tell only.
    from trading_pipeline.reporting.email import render_halt

    now = world.wall.now()
    by = f" (set by {latch.set_by})" if latch.set_by and latch.set_by != latch.name else ""
    return Alert(
        key=key,
        severity=Severity.CRITICAL,
        title=f"Trading is halted by {latch.name}",
        text=f"{latch.reason or 'no reason given'}{by}. No order is sent; cancellations pass.",
        at=latch.set_at or now,
        runbook=RUNBOOK,
        html=render_halt(state, now).html,
    )
