"""Telling people that trading is halted, once for each halt, and that it goes on."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from trading_pipeline.adapters.trading_state_sources import BrokerFlags
from trading_pipeline.application.effective_state import STORE
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import PipelineError, TradingHalted
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, TradingMode
from trading_pipeline.ports import RECOVERED, Alert, Severity

PREFIX = "halt:"
RUNBOOK = "trading-is-halted"
_LONGEST_NAME = 40


def tell_of_halts(world: TradingWorld) -> int:
    """Tell of everything that halts trading, and of what no longer does; return how many alerts were new.

    A stored state that cannot be read halts too. A source that does not answer
    halts nothing by that: what its silence leads to is in `kill status`.

    Raises:
        PipelineError: the outbox cannot be read.
    """
    halts = [latch for latch in _latches(world) if latch.mode is TradingMode.HALTED]
    kept = {alert.key: alert for alert in world.notifier.of_kind(PREFIX)}
    lasting = {key: alert for key, alert in kept.items() if key + RECOVERED not in kept and not key.endswith(RECOVERED)}
    begun = {_key(latch, lasting, world): latch for latch in halts}
    told = [_halted(key, latch, halts, world) for key, latch in begun.items() if key not in lasting]
    told += [_over(alert, world) for key, alert in lasting.items() if key not in begun]
    return sum(world.notifier.notify(alert) for alert in told)


def _latches(world: TradingWorld) -> Iterator[Latch]:
    try:
        yield from world.stored_state.read().latches
    except TradingHalted as error:
        yield Latch(STORE, TradingMode.HALTED, str(error))
    for source in (*(asked.source for asked in world.local_sources), BrokerFlags(lambda: world.broker)):
        try:
            yield from source.read().latches
        except PipelineError:
            continue


def _key(latch: Latch, lasting: Collection[str], world: TradingWorld) -> str:
    # Letters alone, so that neutral mode finds nothing to hide in it, and the key stays the same.
    name = PREFIX + re.sub(r"[^a-z]+", " ", latch.name.lower()).strip()[-_LONGEST_NAME:]
    if latch.set_at is not None:
        return f"{name}:{latch.set_at.isoformat(timespec='milliseconds')}"
    # Nobody knows since when: it is the one that was told, as long as that lasts.
    known = (key for key in lasting if key.startswith(f"{name}:"))
    return next(known, f"{name}:{world.wall.now().isoformat(timespec='milliseconds')}")


def _halted(key: str, latch: Latch, halts: Sequence[Latch], world: TradingWorld) -> Alert:
    # The page's templates are loaded where there is something to tell only.
    from trading_pipeline.reporting.email import render_halt

    now, chosen = world.wall.now(), world.settings.alerts
    by = f" (set by {latch.set_by})" if latch.set_by and latch.set_by != latch.name else ""
    alert = Alert(
        key=key,
        severity=Severity.CRITICAL,
        title=f"Trading is halted by {latch.name}",
        text=f"{latch.reason or 'no reason given'}{by}. No order is sent; cancellations pass.",
        at=latch.set_at or now,
        runbook=RUNBOOK,
    )
    page = render_halt(ACTIVE.joined(halts), now, alert=alert, runbook=chosen.runbook)
    return replace(alert, html=page.html)


def _over(alert: Alert, world: TradingWorld) -> Alert:
    text = f"Over: {alert.text} What else holds trading is in `trading-pipeline kill status`."
    return Alert(
        alert.key + RECOVERED, Severity.INFO, f"No longer: {alert.title}", text, world.wall.now(), alert.runbook
    )
