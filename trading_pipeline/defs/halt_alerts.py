"""Telling people that trading is halted, once for each halt, and that it goes on."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from trading_pipeline.adapters.trading_state_sources import BrokerFlags
from trading_pipeline.application.effective_state import STORE
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, TradingMode, TradingState
from trading_pipeline.ports import RECOVERED, Alert, Severity

PREFIX = "halt:"
RUNBOOK = "trading-is-halted"
_LONGEST_NAME = 40
_STORED, _UNREADABLE = "stored", "unreadable"


def tell_of_halts(world: TradingWorld) -> int:
    """Tell of everything that halts trading, and of what no longer does; return how many alerts were new.

    A stored state that cannot be read halts too. A source that does not answer
    halts nothing by that: what its silence leads to is in `kill status`. Nor
    does it end a halt: what it said before is over when it says so.

    Raises:
        PipelineError: the outbox cannot be read.
    """
    answers = _answers(world)
    halts = [(source, latch) for source, latch in _latches(answers) if latch.mode is TradingMode.HALTED]
    kept = {alert.key: alert for alert in world.notifier.of_kind(PREFIX)}
    lasting = {key: alert for key, alert in kept.items() if key + RECOVERED not in kept and not key.endswith(RECOVERED)}
    begun = {_key(source, latch, lasting, world): latch for source, latch in halts}
    silent = tuple(f"{PREFIX}{source}:" for source, said in answers.items() if isinstance(said, PipelineError))
    told = [_halted(key, latch, list(begun.values()), world) for key, latch in begun.items() if key not in lasting]
    told += [_over(alert, world) for key, alert in lasting.items() if key not in begun and not key.startswith(silent)]
    return sum(world.notifier.notify(alert) for alert in told)


def _answers(world: TradingWorld) -> Mapping[str, TradingState | PipelineError]:
    """Return by source what it holds trading to, or why it could not be read."""
    sources: dict[str, Callable[[], TradingState]] = {_STORED: world.stored_state.read}
    for source in (*(asked.source for asked in world.local_sources), BrokerFlags(lambda: world.broker)):
        sources[_letters(source.name)] = source.read
    return {name: _answer(read) for name, read in sources.items()}


def _answer(read: Callable[[], TradingState]) -> TradingState | PipelineError:
    try:
        return read()
    except PipelineError as error:
        return error


def _latches(answers: Mapping[str, TradingState | PipelineError]) -> Iterator[tuple[str, Latch]]:
    for source, said in answers.items():
        if isinstance(said, TradingState):
            yield from ((source, latch) for latch in said.latches)
        elif source == _STORED:
            # Under another name than what is stored: it is over once that can be read.
            yield _UNREADABLE, Latch(STORE, TradingMode.HALTED, str(said))


def _letters(name: str) -> str:
    """Return a name in letters alone, so that neutral mode finds nothing to hide in a key, and it stays the same."""
    return re.sub(r"[^a-z]+", " ", name.lower()).strip()[-_LONGEST_NAME:]


def _key(source: str, latch: Latch, lasting: Collection[str], world: TradingWorld) -> str:
    name = f"{PREFIX}{source}:{_letters(latch.name)}"
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
