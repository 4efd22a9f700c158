"""From the weights that strategies want to those that are held: one function, its parts switched by options.

Each part takes the weights that the one before left. Caps come before the
volatility target, which only lowers weights, so that both hold in the end. The
sum of weights never grows. A symbol that no size can be made for is named with
the reason and not sized by guess: nothing of it is bought, and what is held is
lowered to what is wanted at most. Its weight is not given to others.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from trading_pipeline.domain.allocation import SUM_TOLERANCE
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.sizing.caps import atr_shares, redistributed
from trading_pipeline.domain.sizing.covariance import covariance, portfolio_volatility
from trading_pipeline.domain.sizing.options import SizingOptions, SizingPart
from trading_pipeline.domain.sizing.panel import SizingInputs
from trading_pipeline.domain.sizing.slippage import no_trade_band, slippage_bps
from trading_pipeline.domain.strategies.comparing import EQUAL_WITHIN, inverse_shares

Weights: TypeAlias = Mapping[str, float]


@dataclass(frozen=True)
class SizedWeights:
    """Weights of one session after sizing, and what became of the others.

    Attributes:
        weights: Targets by symbol, fractions of equity without cash; their sum is at most that of the strategies'.
        missing: Symbols that could not be sized, and why.
        kept: Weights of those symbols, the lesser of what is held and what is wanted; part of ``weights``.
        left_alone: Symbols that should have no order, and why: missing ones, and those within their bands.
        dropped: Symbols that the strategies want and inverse volatility does not hold, and why; their target is 0.
        used_fallback: Whether the safe asset stands in, for want of any known volatility.
        caps: Largest weight of each symbol, where there are caps.
        volatility: Expected volatility a year of what could be sized, before the volatility target, as a fraction;
            NaN where that is off.
        scale: What the volatility target left of the weights, from 0 to 1.
        bands: Difference in weight up to which a symbol is left alone, where there is such a band.
    """

    weights: Weights
    missing: Mapping[str, str] = field(default_factory=dict)
    kept: Weights = field(default_factory=dict)
    left_alone: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    used_fallback: bool = False
    caps: Weights = field(default_factory=dict)
    volatility: float = math.nan
    scale: float = 1.0
    bands: Weights = field(default_factory=dict)


def sized_weights(weights: Weights, inputs: SizingInputs, options: SizingOptions) -> SizedWeights:
    """Return what is held of the ``weights`` (fractions of equity by symbol, without cash) that strategies want.

    With nothing on, the weights are those of the strategies, bit for bit. A
    symbol that is held and no longer wanted is in no weight and not left
    alone: it is sold, whatever the band.

    Raises:
        InvalidInput: a weight is negative or not finite, or their sum is above 1 (1e-9).
    """
    _check(weights)
    if not options.parts:
        return SizedWeights(dict(weights))
    sized = SizedWeights({symbol: weight for symbol, weight in weights.items() if weight > 0})
    for parts, stage in _STAGES:
        if parts & options.parts:
            sized = stage(sized, inputs, options)
    return _with_what_is_kept(sized, inputs)


def inverse_volatility(weights: Weights, deviations: Weights, safe_asset: str) -> SizedWeights:
    """Return weights proportional to 1 / deviation, with the sum of ``weights``.

    A symbol whose deviation is missing (NaN, or not given) or zero is dropped
    and named, and the others share its weight; the safe asset holds everything
    where none is left. Only the sum of ``weights`` counts beside their symbols.

    >>> inverse_volatility({"TQQQ": 0.5, "TLT": 0.5}, {"TQQQ": 0.03, "TLT": 0.01}, "BIL").weights
    {'TQQQ': 0.25, 'TLT': 0.75}
    """
    found = np.array([deviations.get(symbol, math.nan) for symbol in weights])
    usable = (found > EQUAL_WITHIN) & (found < math.inf)
    dropped = {
        symbol: "its volatility is zero" if deviation <= EQUAL_WITHIN else "its volatility is not known"
        for symbol, deviation, kept in zip(weights, found, usable, strict=True)
        if not kept
    }
    total = math.fsum(weights.values())
    if not usable.any():
        return SizedWeights({safe_asset: total} if weights else {}, dropped=dropped, used_fallback=bool(weights))
    shares = inverse_shares(np.where(usable, found, math.inf)) * total
    kept = {symbol: float(share) for symbol, share in zip(weights, shares, strict=True) if symbol not in dropped}
    return SizedWeights(kept, dropped=dropped)


def volatility_scale(weights: FloatArray, daily: FloatArray, target: float, largest: float) -> tuple[float, float]:
    """Return min(largest, target / volatility) and the volatility a year of ``weights`` under the covariance ``daily``.

    What never moves is not scaled below ``largest``.

    >>> volatility_scale(np.array([1.0]), np.array([[0.16 / 252]]), target=0.2, largest=1.0)
    (0.5, 0.4)
    """
    volatility = portfolio_volatility(weights, daily)
    return (largest if volatility * largest <= target else target / volatility), volatility


def _by_inverse_volatility(sized: SizedWeights, inputs: SizingInputs, options: SizingOptions) -> SizedWeights:
    known = dict(zip(inputs.symbols, inputs.deviations.tolist(), strict=True))
    return inverse_volatility(sized.weights, known, options.safe_asset)


def _under_caps(sized: SizedWeights, inputs: SizingInputs, options: SizingOptions) -> SizedWeights:
    caps = dict.fromkeys(sized.weights, options.max_weight if SizingPart.WEIGHT_CAPS in options.parts else 1.0)
    if SizingPart.ATR_CAPS in options.parts:
        by_range = {symbol: _atr_cap(symbol, inputs, options) for symbol in caps}
        sized = _without(sized, {symbol: cap for symbol, cap in by_range.items() if isinstance(cap, str)}, inputs)
        caps = {symbol: min(caps[symbol], cap) for symbol, cap in by_range.items() if not isinstance(cap, str)}
    return replace(sized, weights=redistributed(sized.weights, caps), caps=caps)


def _atr_cap(symbol: str, inputs: SizingInputs, options: SizingOptions) -> float | str:
    """Return the largest weight of ``symbol``, or why it is not known."""
    place = inputs.place(symbol)
    if place is None:
        return "it has no bars"
    close, atr = float(inputs.closes[place]), float(inputs.ranges[place])
    if not (0 < close < math.inf and 0 < atr < math.inf):
        return f"its close is {close:g} and its average true range {atr:g}; both are needed, and high and low for them"
    shares = atr_shares(inputs.equity, atr, options.atr_risk, options.atr_multiple, inputs.quantity_step)
    return float(shares) * close / float(inputs.equity)


def _to_volatility_target(sized: SizedWeights, inputs: SizingInputs, options: SizingOptions) -> SizedWeights:
    places = {symbol: inputs.place(symbol) for symbol in sized.weights}
    enough = len(inputs.returns) >= options.volatility_sessions
    known = {
        symbol: place
        for symbol, place in places.items()
        if enough and place is not None and np.isfinite(inputs.returns[:, place]).all()
    }
    reason = f"it lacks some of the last {options.volatility_sessions} daily returns"
    sized = _without(sized, {symbol: reason for symbol in places if symbol not in known}, inputs)
    if not sized.weights:
        return sized
    wanted = np.array(list(sized.weights.values()))
    daily = covariance(inputs.returns[:, list(known.values())], options.covariance)
    scale, volatility = volatility_scale(wanted, daily, options.target_volatility, options.largest_scale)
    scaled = {symbol: weight * scale for symbol, weight in sized.weights.items()}
    return replace(sized, weights=scaled, volatility=volatility, scale=scale)


def _beyond_band(sized: SizedWeights, inputs: SizingInputs, options: SizingOptions) -> SizedWeights:
    bands = {symbol: _band(symbol, weight, inputs, options) for symbol, weight in sized.weights.items()}
    unknown = {symbol: band for symbol, band in bands.items() if isinstance(band, str)}
    known = {symbol: band for symbol, band in bands.items() if not isinstance(band, str)}
    within = {
        symbol: f"it is within {band:.2%} of equity of its target"
        for symbol, band in known.items()
        if abs(sized.weights[symbol] - inputs.held.get(symbol, 0.0)) <= band
    }
    return replace(_without(sized, unknown, inputs), bands=known, left_alone=within)


def _band(symbol: str, weight: float, inputs: SizingInputs, options: SizingOptions) -> float | str:
    """Return the band of ``symbol`` for what would have to be traded, or why it is not known."""
    place = inputs.place(symbol)
    if place is None:
        return "it has no bars"
    close, volume, deviation = (float(each[place]) for each in (inputs.closes, inputs.volumes, inputs.deviations))
    if not (close > 0 and volume > 0 and deviation >= 0):
        return (
            f"the cost of trading it is not known: close {close:g}, average volume {volume:g}, "
            f"daily deviation {deviation:g}"
        )
    quantity = abs(weight - inputs.held.get(symbol, 0.0)) * float(inputs.equity) / close
    cost = slippage_bps(quantity, volume, deviation, half_spread_bps=options.half_spread_bps, impact=options.impact)
    return no_trade_band(cost, options.least_band)


def _without(sized: SizedWeights, missing: Mapping[str, str], inputs: SizingInputs) -> SizedWeights:
    """Set aside the symbols that are ``missing``: what follows neither sizes them nor gives their weight to others."""
    held = {symbol: max(inputs.held.get(symbol, 0.0), 0.0) for symbol in missing}
    kept = {symbol: min(sized.weights[symbol], held[symbol]) for symbol in missing if held[symbol]}
    rest = {symbol: weight for symbol, weight in sized.weights.items() if symbol not in missing}
    return replace(sized, weights=rest, missing={**sized.missing, **missing}, kept={**sized.kept, **kept})


def _with_what_is_kept(sized: SizedWeights, inputs: SizingInputs) -> SizedWeights:
    stays = {
        symbol: reason
        for symbol, reason in sized.missing.items()
        if sized.kept.get(symbol, 0.0) == inputs.held.get(symbol, 0.0)
    }
    alone = dict(sorted({**sized.left_alone, **stays}.items()))
    return replace(sized, weights=dict(sorted({**sized.weights, **sized.kept}.items())), left_alone=alone)


def _check(weights: Weights) -> None:
    wrong = [f"{symbol} {weight}" for symbol, weight in weights.items() if not 0 <= weight < math.inf]
    if wrong:
        raise InvalidInput(f"weights to be sized must be 0 or more, found {', '.join(wrong)}")
    total = math.fsum(weights.values())
    if total > 1 + SUM_TOLERANCE:
        raise InvalidInput(f"weights to be sized must not sum to more than 1, these sum to {total!r}")


_Stage: TypeAlias = Callable[[SizedWeights, SizingInputs, SizingOptions], SizedWeights]

_STAGES: tuple[tuple[frozenset[SizingPart], _Stage], ...] = (
    (frozenset({SizingPart.INVERSE_VOLATILITY}), _by_inverse_volatility),
    (frozenset({SizingPart.ATR_CAPS, SizingPart.WEIGHT_CAPS}), _under_caps),
    (frozenset({SizingPart.VOLATILITY_TARGET}), _to_volatility_target),
    (frozenset({SizingPart.NO_TRADE_BAND}), _beyond_band),
)
"""In the order in which they act."""
