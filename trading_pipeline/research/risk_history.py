"""How often each rule of the risk engine would have acted on what the strategies wanted over history.

A model account holds after each close what was wanted the session before, and
plans the orders to what is wanted now; the engine itself decides on them, by
the limits of each family. Every session is judged on its own, as if all orders
before had filled, so that one denial does not lead to others. The account has
no past of its own, no open orders, and a market that trades: rules that ask
for those never act here.

Beside the rules, the drawdown guard and the profit trend look at the worth of
the same holdings (see ``guard_history``).
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from trading_pipeline.application.planning import plan_orders, valued_at
from trading_pipeline.application.plans import MODEL_ACCOUNT, model_portfolio
from trading_pipeline.application.risk_inputs import (
    HISTORY_SESSIONS,
    MINIMUM_RETURNS,
    VOLUME_SESSIONS,
    strategy_weights,
)
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation
from trading_pipeline.domain.classification import classified
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.instruments import CASH, Instrument
from trading_pipeline.domain.orders import OrderIntent
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.decisions import BreachCode, Denied, RiskDecision
from trading_pipeline.domain.risk.drawdown_limits import DrawdownLimits
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.limit_of_code import figure_of
from trading_pipeline.domain.risk.limits import RiskLimits
from trading_pipeline.domain.risk.market_status import MarketStatus
from trading_pipeline.domain.risk.profit_trend import TrendLevels
from trading_pipeline.domain.risk.report import account_measures
from trading_pipeline.domain.risk.scenarios import scenarios_of
from trading_pipeline.domain.risk.state import RiskState
from trading_pipeline.domain.risk.trading_state import ACTIVE
from trading_pipeline.research.guard_history import drawdown_rules, trend_rules
from trading_pipeline.research.rule_history import Action, RuleHistory, RuleKind, Worths, largest

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PlanRules:
    """How orders are planned, as the settings say: see ``plan_orders``. ``equity`` is in dollars."""

    equity: Decimal
    collar: Decimal | None
    band: Decimal = Decimal("0.01")
    minimum_notional: Decimal = Decimal(1)
    whole_shares: bool = False


@dataclass(frozen=True, eq=False)
class AccountHistory:
    """What one strategy wanted: the sessions that were judged, those with orders, and the measures of each session.

    ``figures`` are by code: the measure that the limit is held against, after
    all orders have filled, a figure per session; NaN where it is not known.
    """

    strategy: str
    sessions: tuple[date, ...]
    sessions_with_orders: int
    orders: int
    figures: Mapping[BreachCode, FloatArray]
    rules: tuple[RuleHistory, ...]


@dataclass(frozen=True, eq=False)
class RiskHistory:
    """Every rule on every strategy, by the limits of every family."""

    accounts: tuple[AccountHistory, ...]

    @property
    def sessions(self) -> tuple[date, ...]:
        """The sessions that were judged, oldest first."""
        return self.accounts[0].sessions

    def to_frame(self) -> "pd.DataFrame":
        """Return a row per strategy, family, kind and rule, those that never acted among them."""
        import pandas as pd

        frame = pd.DataFrame([_row(account, rule) for account in self.accounts for rule in account.rules])
        return frame.astype(dict.fromkeys(("strategy", "family", "kind", "rule"), "str"))


def _row(account: AccountHistory, rule: RuleHistory) -> dict[str, Any]:
    return {
        "session": account.sessions[-1],
        "first": account.sessions[0],
        "strategy": account.strategy,
        "family": rule.family,
        "kind": rule.kind,
        "rule": rule.rule,
        "sessions": len(account.sessions),
        "sessions_with_orders": account.sessions_with_orders,
        "orders": account.orders,
        "denied": sum(action.denied for action in rule.actions),
        "reduced": sum(action.reduced for action in rule.actions),
        "warned": sum(action.warned for action in rule.actions),
        "sessions_acted": len(rule.actions),
        "last_acted": rule.actions[-1].session if rule.actions else None,
        "highest": rule.highest,
        "limit": math.nan if rule.limit is None else rule.limit,
    }


def risk_history(
    accounts: Mapping[str, Sequence[Allocation]],
    bars: "pd.DataFrame",
    instruments: Mapping[str, Instrument],
    families: Mapping[str, RiskLimits],
    rules: PlanRules,
    drawdown: DrawdownLimits | None = None,
    trend: TrendLevels | None = None,
) -> RiskHistory:
    """Return how often each rule would have acted on each of ``accounts``.

    Args:
        accounts: targets of consecutive sessions by the name of the strategy; the first is what is held to begin with.
        bars: rows of table ``bars`` of all symbols named, over these sessions and ``HISTORY_SESSIONS`` before them;
            a symbol with fewer has no returns for as long, and orders of it are denied.
        instruments: what each symbol is.
        families: limits by the name of the family.
        rules: how orders are planned.
        drawdown: the ladders of the drawdown guard; the defaults without it.
        trend: from when on a trend is told of; the defaults without it.

    Raises:
        InvalidInput: there is no account, or one of fewer than two sessions, or they differ in their sessions.
    """
    _check(accounts)
    days = [target.session for target in next(iter(accounts.values()))]
    market = _Market(bars, days, instruments, rules)
    return RiskHistory(
        tuple(
            _account(name, targets, market, families, drawdown or DrawdownLimits(), trend or TrendLevels())
            for name, targets in accounts.items()
        )
    )


def _check(accounts: Mapping[str, Sequence[Allocation]]) -> None:
    days = {tuple(target.session for target in targets) for targets in accounts.values()}
    if len(days) != 1 or len(next(iter(days))) <= 1:
        raise InvalidInput(
            f"a history needs the allocations of one or more strategies over the same two or more sessions; was given "
            f"{', '.join(f'{name}: {len(targets)}' for name, targets in accounts.items()) or 'none'}"
        )


def _account(
    name: str,
    targets: Sequence[Allocation],
    market: "_Market",
    families: Mapping[str, RiskLimits],
    drawdown: DrawdownLimits,
    trend: TrendLevels,
) -> AccountHistory:
    days = tuple(target.session for target in targets[1:])
    judged = [market.judged(before, after, families) for before, after in itertools.pairwise(targets)]
    figures = _figures([each.figures for each in judged])
    worths = market.worths(targets)
    return AccountHistory(
        name,
        days,
        sum(bool(each.orders) for each in judged),
        sum(len(each.orders) for each in judged),
        figures,
        (
            *_order_rules(name, days, judged, figures, families),
            *drawdown_rules(name, days, worths, drawdown),
            *trend_rules(name, days, worths.closes, trend),
        ),
    )


@dataclass(frozen=True)
class _Judged:
    """One session: the orders, the highest figure of each code once all have filled, and the families' decisions."""

    orders: tuple[OrderIntent, ...]
    figures: Mapping[BreachCode, float]
    decisions: Mapping[str, tuple[RiskDecision, ...]]


@dataclass(frozen=True)
class _Asset:
    fractionable: bool
    tradable: bool = True


class _Market:
    """Bars, laid out so that those up to a session are found at once: rows are sessions, columns are symbols."""

    def __init__(
        self, bars: "pd.DataFrame", judged: Sequence[date], instruments: Mapping[str, Instrument], rules: PlanRules
    ) -> None:
        days = list(sessions.sessions_between(min(judged[0], bars["session"].min()), judged[-1]))
        closes, highs, lows, volumes = (
            bars.pivot(index="session", columns="symbol", values=name).reindex(days)  # noqa: PD010 - nothing is summed up
            for name in ("close", "high", "low", "volume")
        )
        self._place = {day: place for place, day in enumerate(days)}
        self._column = {str(symbol): place for place, symbol in enumerate(closes.columns)}
        self._closes, self._volumes = closes, _dollar_volumes(closes * volumes)
        # A bar of a close alone has no range, and counts as if it had not moved in between.
        self._prices = np.stack([closes, highs.fillna(closes), lows.fillna(closes)])
        self._instruments, self._rules = instruments, rules
        self._assets = {symbol: _Asset(each.fractionable) for symbol, each in instruments.items()}

    def judged(self, before: Allocation, after: Allocation, families: Mapping[str, RiskLimits]) -> _Judged:
        """Return what the engine decides on the orders from ``before`` to ``after`` by each family's limits."""
        session, rules = after.session, self._rules
        prices = self._prices_of({*before.weights, *after.weights}, session)
        held = model_portfolio(before, prices, self._instruments, rules.equity, sessions.close_of(session))
        held = valued_at(held, prices)
        orders = plan_orders(
            after,
            held,
            prices,
            self._instruments,
            account=MODEL_ACCOUNT,
            plan_id=str(session),
            collar=rules.collar,
            band=rules.band,
            minimum_notional=rules.minimum_notional,
            whole_shares=rules.whole_shares,
        ).intents
        state = self.state(held, orders, after)
        decisions = {name: decide(orders, state, limits) for name, limits in families.items()} if orders else {}
        return _Judged(orders, _highest(state, orders), decisions)

    def state(self, held: Portfolio, orders: Sequence[OrderIntent], wanted: Allocation) -> RiskState:
        """Return what ``risk_inputs.modelled_state`` makes of the bars up to the session of ``wanted``."""
        session, row = sessions.next_session(wanted.session), self._place[wanted.session]
        symbols = tuple(sorted({*held.positions, *(order.symbol for order in orders)}))
        seen = self._closes.iloc[max(row - HISTORY_SESSIONS + 1, 0) : row + 1]
        return RiskState(
            portfolio=held,
            trading_state=ACTIVE,
            at=held.as_of,
            session=session,
            assets=self._assets,
            classes={symbol: classified(symbol, session, self._instruments) for symbol in symbols},
            strategy_weights=strategy_weights(wanted),
            average_dollar_volumes={
                symbol: Decimal(repr(volume))
                for symbol in symbols
                if math.isfinite(volume := float(self._volumes[row, self._column[symbol]]))
            },
            scenarios=scenarios_of(seen.loc[:, list(symbols)], minimum=MINIMUM_RETURNS),
            open_orders=(),
            sent=(),
            fills=(),
            market=MarketStatus(session, held.as_of, frozenset(symbols)),
            locks=(),
        )

    def worths(self, targets: Sequence[Allocation]) -> Worths:
        """Return what each session made of what was held before it; NaN where a price is missing."""
        found = [self._worth(before, after.session) for before, after in itertools.pairwise(targets)]
        closes, highs, lows = np.array(found, dtype=np.float64).T
        return Worths(closes, highs, lows)

    def _worth(self, held: Allocation, session: date) -> FloatArray:
        worth, before, now = np.ones(3), self._place[held.session], self._place[session]
        for symbol, weight in held.weights.items():
            if symbol != CASH and weight:
                column = self._column.get(symbol)
                moves = np.nan if column is None else self._prices[:, now, column] / self._prices[0, before, column]
                worth += weight * (moves - 1)
        return worth

    def _prices_of(self, symbols: Iterable[str], session: date) -> Mapping[str, Decimal]:
        row = self._closes.iloc[self._place[session]]
        known = {symbol: float(row.iloc[self._column[symbol]]) for symbol in symbols if symbol in self._column}
        return {symbol: Decimal(repr(close)) for symbol, close in known.items() if math.isfinite(close)}


def _dollar_volumes(dollars: "pd.DataFrame") -> FloatArray:
    """Return the mean over the last known sessions of each symbol, as ``risk_inputs.average_dollar_volumes``."""
    means = dollars.apply(
        lambda of: of.dropna().rolling(VOLUME_SESSIONS, min_periods=1).mean().reindex(of.index).ffill()
    )
    averages: FloatArray = means.to_numpy(dtype=np.float64)
    return averages


def _highest(state: RiskState, orders: Sequence[OrderIntent]) -> Mapping[BreachCode, float]:
    """Return by code the highest measure of the account once all of ``orders`` have filled, approved or not."""
    found: dict[BreachCode, float] = {}
    for measure in account_measures(state, orders, RiskLimits()):
        if measure.code is not None and not measure.is_floor:
            found[measure.code] = max(measure.value, found.get(measure.code, measure.value), key=_nan_first)
    return found


def _nan_first(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _figures(judged: Sequence[Mapping[BreachCode, float]]) -> Mapping[BreachCode, FloatArray]:
    codes = [code for code in BreachCode if any(code in each for each in judged)]
    return {code: np.array([each.get(code, math.nan) for each in judged], dtype=np.float64) for code in codes}


def _order_rules(
    name: str,
    days: Sequence[date],
    judged: Sequence[_Judged],
    figures: Mapping[BreachCode, FloatArray],
    families: Mapping[str, RiskLimits],
) -> Iterator[RuleHistory]:
    for family, limits in families.items():
        acted = [_acted(each.decisions.get(family, ())) for each in judged]
        for code in BreachCode:
            actions = tuple(
                Action(day, *(counts[code, kind] for kind in ("denied", "reduced", "warned")))
                for day, counts in zip(days, acted, strict=True)
                if any(each == code for each, _ in counts)
            )
            highest = largest(figures.get(code, np.empty(0)))
            yield RuleHistory(name, family, RuleKind.ORDER, code.value, actions, highest, figure_of(code, limits))


def _acted(decisions: Sequence[RiskDecision]) -> Counter[tuple[BreachCode, str]]:
    counts: Counter[tuple[BreachCode, str]] = Counter()
    for decision in decisions:
        kind = "denied" if isinstance(decision, Denied) else "reduced"
        counts.update((breach.code, kind) for breach in decision.breaches)
        counts.update((warning.code, "warned") for warning in decision.warnings)
    return counts
