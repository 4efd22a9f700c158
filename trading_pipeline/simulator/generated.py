"""The generated market: a function of seed and absolute date, so tomorrow's extends today's.

Every random stream is keyed by the seed and by what it drives, and is read in
session order from the first session on; a later end reads further and changes
nothing before it. Returns are simple daily returns as fractions.

The model: a Markov chain of regimes (rising, sideways, falling) sets drift and the
level to which volatility reverts; log volatility is mean reverting and moves against
equity; volatility funds hold futures on it and pay their roll; everything else is
exposure x factor + own motion. Leveraged funds multiply the day's *relative*
open, high, low and close of their index, so each of their bars is consistent too.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline.simulator.universe import ANCHOR, FIRST_SESSION, INDICES, MEMBERS, Index, Member

Floats = NDArray[np.float64]

SESSIONS_A_YEAR = 252
SIGNIFICANT_DIGITS = 6


@dataclass(frozen=True)
class Regime:
    """Daily drift and the volatility index level to which volatility reverts; ``stay`` is a daily probability."""

    drift: float
    volatility_level: float
    stay: float


RISING = Regime(0.0011, 13.0, 0.990)
SIDEWAYS = Regime(0.0001, 17.0, 0.980)
FALLING = Regime(-0.0020, 27.0, 0.972)
REGIMES = (RISING, SIDEWAYS, FALLING)


@dataclass(frozen=True)
class Factor:
    """Daily returns of something that moves many symbols, and their volatility that day."""

    returns: Floats
    volatility: Floats


@dataclass(frozen=True)
class RelativeBars:
    """One row a session: open, high, low and close relative to the previous close, minus one."""

    moves: Floats
    activity: Floats


@dataclass(frozen=True)
class SymbolBars:
    """Daily bars of one symbol, oldest first: sessions as datetime64[D], prices in dollars, volume in shares."""

    sessions: NDArray[np.datetime64]
    prices: Floats
    volume: Floats

    def __len__(self) -> int:
        """Return how many bars there are."""
        return len(self.sessions)

    def rows(self, chosen: slice | NDArray[np.bool_]) -> "SymbolBars":
        """Return the chosen bars."""
        return SymbolBars(self.sessions[chosen], self.prices[chosen], self.volume[chosen])


def generated_history(seed: int, through: date) -> Mapping[str, SymbolBars]:
    """Return raw bars of every member from its listing to ``through``, both included.

    No splits or halts are in it: prices are as if shares had always been those of the anchor session.
    """
    sessions = sessions_between(FIRST_SESSION, max(through, ANCHOR))
    stamps = np.array(sessions, dtype="datetime64[D]")
    visible = int(np.searchsorted(stamps, np.datetime64(through), side="right"))
    factors = _factors(seed, len(sessions))
    relative = {name: _relative_bars(seed, name, index, factors) for name, index in INDICES.items()}
    return {
        symbol: _listed(_member_bars(seed, symbol, member, relative[member.index], stamps), member, visible)
        for symbol, member in MEMBERS.items()
    }


def _stream(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _normals(seed: int, name: str, count: int, columns: int) -> Floats:
    return _stream(seed, name).standard_normal((count, columns))


def _factors(seed: int, count: int) -> Mapping[str, Factor]:
    market, volatility = _market_and_volatility(seed, count)
    # Bonds shelter more, the wilder equity is.
    shelter = np.clip(-14.0 * market.volatility, -0.4, 0.0)
    return {
        "market": market,
        "volatility": volatility,
        "growth": _plain_factor(seed, "growth", count, 0.0055, 0.00008),
        "rates": _leaning(_plain_factor(seed, "rates", count, 0.0075, 0.00015), market, shelter),
        "dollar": _plain_factor(seed, "dollar", count, 0.0038, 0.00003),
        "gold": _plain_factor(seed, "gold", count, 0.0085, 0.0004),
        "oil": _plain_factor(seed, "oil", count, 0.017, 0.0002),
        "trend": _plain_factor(seed, "trend", count, 0.006, 0.0001),
        "nuclear": _plain_factor(seed, "nuclear", count, 0.012, 0.0004),
    }


def _plain_factor(seed: int, name: str, count: int, volatility: float, drift: float) -> Factor:
    shocks = _normals(seed, name, count, 1)[:, 0]
    return Factor(drift + volatility * shocks, np.full(count, volatility))


def _leaning(factor: Factor, market: Factor, weight: Floats) -> Factor:
    return Factor(factor.returns + weight * market.returns, factor.volatility)


def _market_and_volatility(seed: int, count: int) -> tuple[Factor, Factor]:
    """Walk regimes and log volatility forward; the day's volatility is known before the day's return."""
    draws = _stream(seed, "regime").random(count)
    shocks = _normals(seed, "market", count, 2)
    returns, daily, log_level, place = np.empty(count), np.empty(count), np.empty(count + 1), 0
    log_level[0] = np.log(SIDEWAYS.volatility_level)
    for day in range(count):
        place = _next_regime(place, float(draws[day]))
        regime = REGIMES[place]
        daily[day] = np.exp(log_level[day]) / 100 / np.sqrt(SESSIONS_A_YEAR) * 0.85
        returns[day] = regime.drift + daily[day] * shocks[day, 0]
        pull = 0.07 * (np.log(regime.volatility_level) - log_level[day])
        log_level[day + 1] = log_level[day] + pull - 0.052 * shocks[day, 0] + 0.035 * shocks[day, 1]
    # Futures move about half as much as the index; they cost roll while it is low and pay less while it is high.
    roll = -0.0022 + 0.004 * np.clip(log_level[:-1] - np.log(20.0), -0.5, 0.5)
    futures = 0.55 * np.diff(log_level) + roll
    return Factor(returns, daily), Factor(futures, np.full(count, 0.035))


def _next_regime(place: int, draw: float) -> int:
    """Return the regime after this one: the rest of the chance is shared evenly between the other two."""
    stay = REGIMES[place].stay
    if draw < stay:
        return place
    return (place + (1 if draw < (1 + stay) / 2 else 2)) % len(REGIMES)


def _relative_bars(seed: int, name: str, index: Index, factors: Mapping[str, Factor]) -> RelativeBars:
    count = len(factors["market"].returns)
    noise = _normals(seed, name, count, 5)
    close = index.drift + index.own_volatility * noise[:, 0]
    variance = np.full(count, index.own_volatility**2)
    for factor, exposure in index.exposures.items():
        close = close + exposure * factors[factor].returns
        variance = variance + (exposure * factors[factor].volatility) ** 2
    spread = np.sqrt(variance)
    opening = 0.45 * close + 0.3 * spread * noise[:, 1]
    high = np.maximum(opening, close) + 0.35 * spread * np.abs(noise[:, 2])
    low = np.minimum(opening, close) - 0.35 * spread * np.abs(noise[:, 3])
    # No threefold or inverse fund of an index can lose all its value in a day that is cut off here.
    moves = np.clip(np.column_stack([opening, high, low, close]), -0.3, 0.3)
    surprise = np.abs(close) / np.where(spread > 0, spread, 1.0)
    return RelativeBars(moves, 0.25 * noise[:, 4] + 0.3 * surprise)


def _member_bars(
    seed: int, symbol: str, member: Member, index: RelativeBars, stamps: NDArray[np.datetime64]
) -> SymbolBars:
    multiple = float(catalogue()[symbol].leverage)
    moves = 1 + multiple * index.moves - _daily_fee(multiple)
    if multiple < 0:
        moves = moves[:, [0, 2, 1, 3]]
    level = np.cumprod(moves[:, 3])
    anchor = int(np.searchsorted(stamps, np.datetime64(ANCHOR)))
    before = np.concatenate([[1.0], level[:-1]])[:, np.newaxis]
    prices = _significant(moves * before * (member.price / level[anchor]))
    own = _normals(seed, f"{symbol} volume", len(stamps), 1)[:, 0]
    volume = np.maximum(np.round(member.shares * np.exp(index.activity + 0.1 * own)), 100)
    return SymbolBars(stamps, prices, volume)


def _daily_fee(multiple: float) -> float:
    return (0.0095 if multiple != 1 else 0.0009) / SESSIONS_A_YEAR


def _significant(values: Floats) -> Floats:
    scale = 10.0 ** (SIGNIFICANT_DIGITS - 1 - np.floor(np.log10(values)))
    return np.round(values * scale) / scale


def _listed(bars: SymbolBars, member: Member, visible: int) -> SymbolBars:
    first = int(np.searchsorted(bars.sessions, np.datetime64(member.listed)))
    return bars.rows(slice(first, max(visible, first)))
