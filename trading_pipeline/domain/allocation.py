"""The account's target: every strategy's signal at its share of capital, and cash by name.

A strategy that is unavailable never liquidates by silence: its sleeve is
carried for some sessions, then its breaker parks it in the safe asset (see
:mod:`trading_pipeline.domain.strategy_breaker`). One that is rebalanced by
drift only is left as it stands while it is near its target. Weights are float64
fractions of the account's equity.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from trading_pipeline.domain.errors import DataError, InvalidInput
from trading_pipeline.domain.instruments import CASH
from trading_pipeline.domain.signals import Signal, SignalStatus
from trading_pipeline.domain.strategy_breaker import Breaker, BreakerRules, breaker_on

if TYPE_CHECKING:
    import pandas as pd

SUM_TOLERANCE = 1e-9
DRIFT_TOLERANCE = 1e-10
"""How far rounding may carry a drift above its threshold without counting."""

COLUMNS = ("session", "symbol", "strategy", "weight", "status", "decided_on")


class SleeveStatus(StrEnum):
    """Where a sleeve's weights come from.

    DECIDED: set to today's signal. HELD: the signal is known, and the sleeve
    too near to it to be rebalanced. CARRIED from an earlier session, for want
    of a signal; FALLBACK to the safe asset because carrying went on for too
    long; CASH because there was nothing to carry.
    """

    DECIDED = "decided"
    HELD = "held"
    CARRIED = "carried"
    FALLBACK = "fallback"
    CASH = "cash"


DECISIVE = frozenset({SleeveStatus.DECIDED, SleeveStatus.HELD, SleeveStatus.FALLBACK})
PARKED = frozenset({SleeveStatus.FALLBACK, SleeveStatus.CASH})


@dataclass(frozen=True)
class Contribution:
    """What one strategy puts into one symbol.

    ``weight`` is a fraction of the account's equity. ``decided_on`` is the
    session on which the strategy last had a signal that counted, whether the
    sleeve was set to it or held: carrying counts from there, not from the last
    rebalance. For a cash sleeve, which nobody decided, it is the session of the allocation.
    """

    symbol: str
    strategy: str
    weight: float
    status: SleeveStatus
    decided_on: date


@dataclass(frozen=True)
class Allocation:
    """The account's target for one session, attributed to the strategies behind it.

    Raises:
        DataError: a weight is negative or not finite, a strategy names a symbol
            twice, or the weights do not sum to 1 (1e-9).
    """

    session: date
    contributions: tuple[Contribution, ...]

    def __post_init__(self) -> None:
        """Refuse a target that is not one whole account."""
        for contribution in self.contributions:
            if not 0 <= contribution.weight < math.inf:
                raise DataError(f"the weight of {_named(contribution)} must be finite and not negative")
        counts = Counter((contribution.strategy, contribution.symbol) for contribution in self.contributions)
        repeated = [f"{strategy}/{symbol}" for (strategy, symbol), count in counts.items() if count > 1]
        if repeated:
            raise DataError(f"allocation of {self.session} repeats {', '.join(repeated)}; one row each is wanted")
        total = _total(self.contributions)
        if abs(total - 1) > SUM_TOLERANCE:
            raise DataError(f"the weights of {self.session} sum to {total!r}, not to 1; nothing may trade on them")

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight by symbol, summed over the strategies, without cash; symbols in alphabetical order."""
        by_symbol: dict[str, list[float]] = defaultdict(list)
        for contribution in self.contributions:
            by_symbol[contribution.symbol].append(contribution.weight)
        return {symbol: math.fsum(by_symbol[symbol]) for symbol in sorted(by_symbol) if symbol != CASH}

    @property
    def cash(self) -> float:
        """Fraction of equity that is meant to stay cash."""
        return _total([contribution for contribution in self.contributions if contribution.symbol == CASH])

    @property
    def is_undecided(self) -> bool:
        """Tell whether every sleeve is carried or cash, so that nothing trades; to hold or to park is to decide."""
        return all(contribution.status not in DECISIVE for contribution in self.contributions)

    def sleeve(self, strategy: str) -> tuple[Contribution, ...]:
        """Return the contributions of one strategy; empty when it has none."""
        return tuple(contribution for contribution in self.contributions if contribution.strategy == strategy)

    def behind(self, symbol: str) -> tuple[Contribution, ...]:
        """Return the contributions that make up the weight of one symbol."""
        return tuple(contribution for contribution in self.contributions if contribution.symbol == symbol)


@dataclass(frozen=True)
class Drift:
    """How far a sleeve has moved from its strategy's target of today.

    ``sleeve`` is what the previous allocation gave the strategy, moved by the
    closes since: fractions of the sleeve by symbol, summing to 1. ``distance``
    is the largest absolute difference of a weight from the target, from 0 to 1.
    Where a close is missing, ``unpriced`` names the symbols, ``distance`` is
    NaN and ``sleeve`` is empty. ``threshold`` is the largest distance at which
    the sleeve is left alone.
    """

    threshold: float
    sleeve: Mapping[str, float]
    distance: float
    unpriced: tuple[str, ...] = ()

    @property
    def is_tolerated(self) -> bool:
        """Tell whether the sleeve is left alone; what is not known is never tolerated."""
        return self.distance <= self.threshold + DRIFT_TOLERANCE


NO_DRIFTS: Mapping[str, Drift] = MappingProxyType({})
NO_SAFE_ASSETS: Mapping[str, str] = MappingProxyType({})


def drift_of(
    signal: Signal, previous: Allocation | None, growth: Mapping[str, float], threshold: float
) -> Drift | None:
    """Measure how far the sleeve of ``signal.strategy`` has drifted from the signal.

    ``growth`` is, by symbol, the signal's close over the close of the session
    of ``previous`` (adjusted alike); NaN or left out where it is not known.
    Cash does not move. A carried sleeve drifts like any other.

    Returns:
        None where there is nothing to compare: the strategy is unavailable, or
        ``previous`` gave it nothing, cash, or the safe asset.
    """
    last = previous.sleeve(signal.strategy) if previous else ()
    if signal.status is not SignalStatus.AVAILABLE or not last or last[0].status in PARKED:
        return None
    factors = {part.symbol: 1.0 if part.symbol == CASH else growth.get(part.symbol, math.nan) for part in last}
    unpriced = tuple(symbol for symbol, factor in factors.items() if not 0 < factor < math.inf)
    if unpriced:
        return Drift(threshold, {}, math.nan, unpriced)
    grown = {part.symbol: part.weight * factors[part.symbol] for part in last}
    total = math.fsum(grown.values())
    sleeve = {symbol: weight / total for symbol, weight in grown.items()}
    return Drift(threshold, sleeve, _distance(sleeve, signal.weights))


def _distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return max(abs(one.get(symbol, 0.0) - other.get(symbol, 0.0)) for symbol in one.keys() | other.keys())


def allocate(
    session: date,
    signals: Sequence[Signal],
    shares: Mapping[str, float],
    previous: Allocation | None,
    drifts: Mapping[str, Drift] = NO_DRIFTS,
    *,
    safe_asset: str,
    max_carried_sessions: int,
    cool_down_sessions: int = 1,
    safe_assets: Mapping[str, str] = NO_SAFE_ASSETS,
) -> Allocation:
    """Combine the strategies' signals into the account's target for ``session``.

    Each available strategy contributes its weights times its share, unless
    ``drifts`` (by strategy, see :func:`drift_of`; none for one that is
    rebalanced every session) says that its sleeve is near enough to them: then
    the drifted sleeve is held. An unavailable one keeps the sleeve that
    ``previous`` (the allocation of an earlier session) gave it, while at most
    ``max_carried_sessions`` exchange sessions have passed since it had a
    signal; then its breaker opens: its sleeve goes to ``safe_asset``, or to that
    of the strategy in ``safe_assets``, for at least ``cool_down_sessions`` and
    until it has a signal again (see :func:`breaker_of`). With nothing to carry the sleeve is cash. Held and carried
    sleeves are rescaled to today's share, so that changing the shares needs
    neither signal nor drift. ``shares`` are fractions of equity from 0 to 1; a
    strategy with share 0 contributes nothing.

    Raises:
        InvalidInput: shares do not sum to 1 (1e-9); a strategy has a signal and
            no share, a share and no signal, or two signals; a signal is of
            another session; ``previous`` is not older than ``session``.
    """
    _check_shares(shares)
    _check_signals(session, signals, shares)
    if previous is not None and previous.session >= session:
        raise InvalidInput(f"sleeves of {session} can only be carried from before it, not from {previous.session}")
    rules = BreakerRules(max_carried_sessions + 1, cool_down_sessions, safe_asset, safe_assets)
    sleeves = _Sleeves(session, previous, drifts, rules)
    by_strategy = {signal.strategy: signal for signal in signals}
    return Allocation(
        session,
        tuple(
            contribution
            for strategy, share in shares.items()
            if share > 0
            for contribution in sleeves.of(by_strategy[strategy], share)
        ),
    )


def breaker_of(signal: Signal, previous: Allocation | None, rules: BreakerRules) -> Breaker:
    """Return the breaker of a strategy on the session of ``signal``, by what ``previous``, an older target, gave it."""
    last = previous.sleeve(signal.strategy) if previous else ()
    status = last[0].status if last else SleeveStatus.CASH
    return breaker_on(
        signal.session,
        None if status is SleeveStatus.CASH else last[0].decided_on,
        rules,
        has_signal=signal.status is SignalStatus.AVAILABLE,
        was_parked=status is SleeveStatus.FALLBACK,
    )


@dataclass(frozen=True)
class _Sleeves:
    session: date
    previous: Allocation | None
    drifts: Mapping[str, Drift]
    rules: BreakerRules

    def of(self, signal: Signal, share: float) -> tuple[Contribution, ...]:
        last = self.previous.sleeve(signal.strategy) if self.previous else ()
        if breaker_of(signal, self.previous, self.rules).is_parked:
            symbol, decided_on = self.rules.safe_asset_of(signal.strategy), last[0].decided_on
            return (Contribution(symbol, signal.strategy, share, SleeveStatus.FALLBACK, decided_on),)
        if signal.status is SignalStatus.AVAILABLE:
            return self._answered(signal, share)
        if not last or last[0].status is SleeveStatus.CASH:
            return (Contribution(CASH, signal.strategy, share, SleeveStatus.CASH, self.session),)
        return _carried(last, share)

    def _answered(self, signal: Signal, share: float) -> tuple[Contribution, ...]:
        status, weights = SleeveStatus.DECIDED, signal.weights
        drift = self.drifts.get(signal.strategy)
        if drift and drift.is_tolerated:
            status, weights = SleeveStatus.HELD, drift.sleeve
        return tuple(
            Contribution(symbol, signal.strategy, share * weight, status, self.session)
            for symbol, weight in weights.items()
        )


def _carried(last: Sequence[Contribution], share: float) -> tuple[Contribution, ...]:
    scale = share / _total(last)
    return tuple(
        Contribution(old.symbol, old.strategy, old.weight * scale, SleeveStatus.CARRIED, old.decided_on) for old in last
    )


def _check_shares(shares: Mapping[str, float]) -> None:
    wrong = [f"{strategy} {share}" for strategy, share in shares.items() if not 0 <= share <= 1]
    if wrong:
        raise InvalidInput(f"capital shares must lie between 0 and 1, found {', '.join(wrong)}")
    total = math.fsum(shares.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise InvalidInput(f"capital shares must sum to 1, these sum to {total!r}: {dict(shares)}")


def _check_signals(session: date, signals: Sequence[Signal], shares: Mapping[str, float]) -> None:
    counts = Counter(signal.strategy for signal in signals)
    problems = {
        "two signals of": [strategy for strategy, count in counts.items() if count > 1],
        "a signal without a capital share of": counts.keys() - shares.keys(),
        "a capital share without a signal of": shares.keys() - counts.keys(),
        f"a signal that is not of {session} from": [s.strategy for s in signals if s.session != session],
    }
    found = [f"{problem} {', '.join(sorted(strategies))}" for problem, strategies in problems.items() if strategies]
    if found:
        raise InvalidInput(f"{session} has {'; '.join(found)}; wanted is one signal of the session for each share")


def _total(contributions: Sequence[Contribution]) -> float:
    return math.fsum(contribution.weight for contribution in contributions)


def _named(contribution: Contribution) -> str:
    return f"{contribution.symbol} from {contribution.strategy} ({contribution.weight})"


def to_frame(allocation: Allocation) -> "pd.DataFrame":
    """Return the rows of table ``allocation``: one per strategy and symbol, weight as a fraction of equity."""
    import pandas as pd

    rows = [
        (allocation.session, part.symbol, part.strategy, part.weight, part.status.value, part.decided_on)
        for part in allocation.contributions
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def from_frame(frame: "pd.DataFrame") -> Allocation:
    """Return the allocation that the rows of one session in table ``allocation`` stand for.

    Raises:
        DataError: the rows are of no session or of several, or break the promises of an allocation.
    """
    found = frame["session"].unique().tolist()
    if len(found) != 1:
        raise DataError(f"an allocation is read from the rows of one session, these are of {len(found)}: {found}")
    rows = frame[list(COLUMNS[1:])].itertuples(index=False)
    return Allocation(
        found[0],
        tuple(
            Contribution(symbol, strategy, float(weight), SleeveStatus(status), decided_on)
            for symbol, strategy, weight, status, decided_on in rows
        ),
    )
