"""What a trade costs beside the price that was seen, and the difference in weight that is not worth it."""

import math

from trading_pipeline.domain.errors import InvalidInput

BASIS_POINTS = 10_000


def slippage_bps(
    quantity: float, average_volume: float, deviation: float, *, half_spread_bps: float, impact: float
) -> float:
    """Return the expected cost of trading ``quantity``, in basis points of its value.

    Half the spread and the square-root law, impact * deviation *
    sqrt(quantity / average volume) (Almgren, Thum, Hauptmann and Li, Direct
    Estimation of Equity Market Impact, Risk, July 2005, with an exponent near 0.6;
    Tóth et al., Physical Review X 1, 021006, 2011, with one half and a factor near 1).
    It depends on no price: quantity and average volume of a session are both in
    shares, or both in dollars. ``deviation`` is that of daily returns, as a
    fraction. A figure that is NaN makes the cost NaN.

    >>> round(slippage_bps(10_000, 1_000_000, 0.02, half_spread_bps=2, impact=0.7), 9)
    16.0

    Raises:
        InvalidInput: a figure is negative, or the average volume is not above 0.
    """
    figures = {"quantity": quantity, "deviation": deviation, "half spread": half_spread_bps, "impact": impact}
    wrong = [f"{name} {figure}" for name, figure in figures.items() if figure < 0]
    wrong += [f"average volume {average_volume}"] if average_volume <= 0 else []
    if wrong:
        raise InvalidInput(f"slippage needs figures of 0 or more and some average volume, found {', '.join(wrong)}")
    return half_spread_bps + impact * deviation * BASIS_POINTS * math.sqrt(quantity / average_volume)


def no_trade_band(cost_bps: float, least: float) -> float:
    """Return the difference in weight up to which nothing trades: the root of the cost, ``least`` at least.

    The cost is taken as a fraction of the value traded: 4 basis points give 2 %
    of equity. NaN where the cost is.

    >>> no_trade_band(4.0, 0.005), no_trade_band(0.0, 0.005)
    (0.02, 0.005)
    """
    band = math.sqrt(cost_bps / BASIS_POINTS)
    return band if math.isnan(band) else max(least, band)
