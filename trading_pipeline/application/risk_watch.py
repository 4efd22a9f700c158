"""Risk while a session goes on: drawdown rungs and the market-wide breaker, told, latched, and remembered.

What trips is told first, then latched, then remembered. Whoever dies in
between does it once more at the next look, which changes nothing: an alert is
told once, and a latch that is there stays as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Protocol, TypeVar

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError, PermanentError, TransientError
from trading_pipeline.domain.risk.drawdown import INCONSISTENT, DrawdownState, Observation, Reading, Trip, observed
from trading_pipeline.domain.risk.drawdown_limits import DrawdownLimits, Measure, Rung
from trading_pipeline.domain.risk.trading_pauses import MarketBreaker, Trade, market_breaker
from trading_pipeline.domain.risk.trading_state import Latch, TradingMode
from trading_pipeline.domain.risk.unit_value import CashFlow
from trading_pipeline.domain.risk.watch_state import AccountFigures, WatchState
from trading_pipeline.ports import (
    RECOVERED,
    Alert,
    CashLedger,
    MarketData,
    MarketEvents,
    Metrics,
    Notifier,
    Quote,
    Severity,
    TradingStateStore,
)

T = TypeVar("T")

NAME = "risk_watch"
MARKET_BREAKER = "market-wide breaker"
FORGOTTEN = "risk watch"
RUNBOOKS = {MARKET_BREAKER: "market-wide-breaker", FORGOTTEN: "what-was-remembered-of-drawdowns-is-lost"}
BLIND_RUNBOOK = "drawdown-is-not-watched"

EXTERNAL_KINDS = frozenset({"CSD", "CSW", "TRANS", "JNL", "JNLC", "ACATC"})
"""Alpaca's kinds of cash from or to outside; dividends, interest and fees are gains and losses of the account."""

FLOWS_SINCE = timedelta(days=7)
"""How far back movements of cash are listed: one that is booked late is still found."""


class Stored(Protocol):
    """What was stored: its meaning, and why it has none any more, or nothing."""

    @property
    def state(self) -> WatchState:
        """The state; an empty one where it cannot be read."""
        ...

    @property
    def fault(self) -> str:
        """Why it cannot be read; empty where it can."""
        ...


S = TypeVar("S", bound=Stored)


class WatchStore(Protocol[S]):
    """Where the state of the watch is kept."""

    def read(self) -> S:
        """Return what is stored."""
        ...

    def replace(self, earlier: S, state: WatchState) -> bool:
        """Store ``state`` if what is there is still ``earlier``; tell whether it was."""
        ...


@dataclass(frozen=True)
class RiskSources:
    """Where the figures are read; ``account`` makes sure that it is the account that is meant."""

    account: Callable[[], AccountFigures]
    ledger: CashLedger
    market_data: MarketData
    events: MarketEvents


@dataclass(frozen=True)
class RiskWatchRules:
    """How risk is watched.

    Attributes:
        limits: how far the account may fall.
        market_symbol: the fund that stands for the market.
        price_age: how old a trade may be to price a position; older ones leave it at the broker's price.
        patience: for how long the account's figures may be missing before a person is told.
    """

    limits: DrawdownLimits = field(default_factory=DrawdownLimits)
    market_symbol: str = "SPY"
    price_age: timedelta = timedelta(minutes=15)
    patience: timedelta = timedelta(minutes=5)


@dataclass(frozen=True)
class Look:
    """What one look found: what is remembered, what is told and latched, falls as fractions, and what was missing."""

    state: WatchState
    alerts: tuple[Alert, ...] = ()
    latches: tuple[Latch, ...] = ()
    falls: Mapping[Measure, Decimal | None] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Show it in one line."""
        known = [f"{measure} {fall:.2%}" for measure, fall in self.falls.items() if fall is not None]
        parts = [", ".join(known) or "no drawdown is known"]
        parts += [f"latched: {'; '.join(map(str, self.latches))}"] if self.latches else []
        parts += [f"missing: {', '.join(self.missing)}"] if self.missing else []
        return "; ".join(parts)


def watch(
    store: WatchStore[S],
    trading_state: TradingStateStore,
    notifier: Notifier,
    metrics: Metrics,
    sources: RiskSources,
    rules: RiskWatchRules,
    now: datetime,
) -> str:
    """Look once at the risk of the open session, do what is due, and return what was found in a line for people.

    Of two that look at once one is remembered, and the other looks again at its next turn.

    Raises:
        TransientError: what is stored could not be read or written.
        PermanentError: the folder cannot be used.
        HaltedError: another account than the meant one was met, the trading state cannot be read, or the process was
            asked to end.
    """
    session = sessions.session_at(now)
    if session is None:
        return f"the exchange is closed at {now.isoformat()}"
    stored = store.read()
    found = look(stored.state, session, sources, rules, now)
    lost = _lost(stored.fault, session, now) if stored.fault else None
    alerts, latches = found.alerts, found.latches
    if lost is not None:
        alerts, latches = (*alerts, _told(lost, now)), (*latches, lost)
    told = sum(notifier.notify(alert) for alert in alerts)
    for latch in latches:
        _hold(trading_state, latch)
    for measure, fall in found.falls.items():
        if fall is not None:
            metrics.gauge("drawdown", float(fall), measure=measure.value)
    is_kept = store.replace(stored, found.state)
    return f"{replace(found, latches=latches)}; {told} told" + ("" if is_kept else "; another look came in between")


def _hold(trading_state: TradingStateStore, latch: Latch) -> None:
    trading_state.change(lambda state: state.latched(latch))


def look(state: WatchState, session: date, sources: RiskSources, rules: RiskWatchRules, now: datetime) -> Look:
    """Return what a look at the UTC instant ``now``, inside ``session``, finds; nothing is told or kept yet.

    Raises:
        HaltedError: another account than the meant one was met, or the process was asked to end.
    """
    seen = _Sight(sources, rules, now)
    before = _of_session(state, session)
    figures = seen.read("account", sources.account)
    account = figures.portfolio.account_number if figures else before.account_number
    if before.account_number != account:
        # Nothing of another account's drawdown is this one's.
        before = replace(before, account_number=account, drawdown=DrawdownState())
    trades = seen.trades(figures)
    observation = observed(before.drawdown, seen.reading(figures, session, trades), rules.limits)
    after = seen.with_breaker(replace(before, drawdown=observation.state), session, trades)
    return seen.found(before, after, observation, session)


def _of_session(state: WatchState, session: date) -> WatchState:
    if state.session == session:
        return state
    # Whoever was told that nothing is seen is told of the end in whichever session that comes.
    since = state.unread_since if state.unread_told else None
    fresh = WatchState(state.account_number, session, state.drawdown)
    return replace(fresh, unread_since=since, unread_told=state.unread_told)


@dataclass(frozen=True)
class _Sight:
    """One look: reads one source after the other, and notes those that gave no usable answer."""

    sources: RiskSources
    rules: RiskWatchRules
    now: datetime
    unread: dict[str, str] = field(default_factory=dict)

    def read(self, name: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except (TransientError, PermanentError, DataError) as error:
            self.unread[name] = str(error)
            return None

    def trades(self, figures: AccountFigures | None) -> Mapping[str, Trade]:
        held = figures.portfolio.positions if figures else {}
        symbols = sorted({*held, self.rules.market_symbol})
        return self.read("latest trades", lambda: self.sources.events.latest_trades(symbols)) or {}

    def reading(self, figures: AccountFigures | None, session: date, trades: Mapping[str, Trade]) -> Reading:
        if figures is None:
            return Reading(self.now, session, None, None)
        prices = {
            symbol: trade.price
            for symbol, trade in trades.items()
            if trade.price > 0 and trade.at >= self.now - self.rules.price_age
        }
        mark = figures.mark(prices) if "latest trades" not in self.unread else None
        return Reading(self.now, session, figures.equity, self._flows(), figures.previous_close, mark)

    def _flows(self) -> tuple[CashFlow, ...] | None:
        movements = self.read("cash movements", lambda: self.sources.ledger.cash_movements(self.now - FLOWS_SINCE))
        if movements is None:
            return None
        return tuple(CashFlow(each.id, each.amount, each.day) for each in movements if each.kind in EXTERNAL_KINDS)

    def with_breaker(self, state: WatchState, session: date, trades: Mapping[str, Trade]) -> WatchState:
        close = state.market_close or self._market_close(session)
        price = self._market_price(trades)
        known = replace(state, market_close=close)
        if close is None or price is None:
            return known
        return _confirmed(known, market_breaker(price, close, self.now, state.breaker), self.rules.limits.confirmation)

    def _market_close(self, session: date) -> Decimal | None:
        market, before = self.rules.market_symbol, sessions.previous_session(session)
        ask = self.sources.events.unadjusted_closes
        close = (self.read("close of the market", lambda: ask([market], before)) or {}).get(market)
        if close is not None and close.is_finite() and close > 0:
            return close
        self.unread.setdefault("close of the market", f"there is none of {market} on {before}")
        return None

    def _market_price(self, trades: Mapping[str, Trade]) -> Decimal | None:
        """Return the higher of trade and quote: one bad print must not stop the market."""
        market = self.rules.market_symbol
        trade = trades.get(market)
        quotes: Mapping[str, Quote] = self.read("quotes", lambda: self.sources.market_data.quotes([market])) or {}
        quote = quotes.get(market)
        if trade is None or trade.price <= 0:
            self.unread.setdefault("price of the market", f"there is no trade of {market}")
            return None
        return max(trade.price, quote.mid) if quote is not None and quote.bid > 0 and quote.ask > 0 else trade.price

    def found(self, before: WatchState, after: WatchState, observation: Observation, session: date) -> Look:
        is_blind = not observation.falls
        since = (before.unread_since or self.now) if is_blind else None
        missing = {**dict.fromkeys(observation.missing, "it was not told, or is no usable figure"), **self.unread}
        latches = [trip.latch for trip in observation.trips if trip.latch is not None]
        alerts = [_alert(trip) for trip in observation.trips]
        if after.breaker.ends_the_session and not before.breaker.ends_the_session:
            halt = _market_latch(after.breaker, session, self.now)
            latches.append(halt)
            alerts.append(_told(halt, self.now))
        is_told = since is not None and (before.unread_told or self.now - since >= self.rules.patience)
        if since is not None and is_told:
            alerts.append(_blind(since, missing, self.now))
        elif before.unread_since is not None and before.unread_told:
            alerts.append(_sees_again(before.unread_since, self.now))
        state = replace(after, unread_since=since, unread_told=is_told)
        return Look(state, tuple(alerts), tuple(latches), observation.falls, missing)


def _confirmed(state: WatchState, found: MarketBreaker, apart: timedelta) -> WatchState:
    """Return the state after a breaker was found: what one reading found is suspected until another agrees."""
    if found.level <= state.breaker.level or found.tripped_at is None:
        return replace(state, suspected=None)
    suspected = state.suspected
    if suspected is None or suspected.tripped_at is None:
        return replace(state, suspected=found)
    agreed = MarketBreaker(min(found.level, suspected.level), suspected.tripped_at)
    if found.tripped_at - suspected.tripped_at < apart:
        return replace(state, suspected=agreed)
    return replace(state, breaker=agreed, suspected=found if found.level > agreed.level else None)


def _market_latch(breaker: MarketBreaker, session: date, now: datetime) -> Latch:
    return Latch(MARKET_BREAKER, TradingMode.HALTED, str(breaker), NAME, now, session=session, is_risk=True)


def _lost(fault: str, session: date, now: datetime) -> Latch:
    reason = f"what was remembered of highs and tripped rungs is lost: {fault}; it begins anew"
    return Latch(FORGOTTEN, TradingMode.REDUCING, reason, NAME, now, session=session, is_risk=True)


def _alert(trip: Trip) -> Alert:
    advice = (
        "Compare the broker's account with its positions and with current prices."
        if trip.name == INCONSISTENT
        else "Look at what is held; `trading-pipeline kill status` shows what is latched."
    )
    return Alert(
        key=f"{NAME}:{trip.name}:{trip.rung}:{trip.session}",
        severity=Severity.WARNING if trip.rung is Rung.WARN else Severity.CRITICAL,
        title=f"{trip.name.capitalize()}: {trip.rung}",
        text=f"At {trip.at.isoformat()} {trip.reason}. {advice}",
        at=trip.at,
        runbook="a-limit-on-drawdown-tripped",
    )


def _told(latch: Latch, now: datetime) -> Alert:
    key = f"{NAME}:{latch.name}:{latch.session}"
    title, runbook = f"{latch.name.capitalize()}: {latch.mode}", RUNBOOKS[latch.name]
    return Alert(key, Severity.CRITICAL, title, latch.reason, now, runbook=runbook)


def _blind(since: datetime, missing: Mapping[str, str], now: datetime) -> Alert:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
    text = f"Since {since.isoformat()} no drawdown could be measured, so that none would be noticed. Missing: {reasons}"
    return Alert(_blind_key(since), Severity.CRITICAL, "Drawdown is not watched", text, now, runbook=BLIND_RUNBOOK)


def _sees_again(since: datetime, now: datetime) -> Alert:
    text = f"The account's figures, missing since {since.isoformat()}, can be read again."
    key = _blind_key(since) + RECOVERED
    return Alert(key, Severity.INFO, "Drawdown is watched again", text, now, runbook=BLIND_RUNBOOK)


def _blind_key(since: datetime) -> str:
    return f"{NAME}:blind:{since.isoformat()}"
