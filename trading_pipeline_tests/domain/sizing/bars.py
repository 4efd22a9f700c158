"""Bars that the tests of sizing share: drawn from a seed of the symbol's name, of no market."""

import zlib
from datetime import date

import numpy as np
import pandas as pd

from trading_pipeline.domain import sessions
from trading_pipeline.domain.bars import COLUMNS

DAYS = sessions.sessions_between(date(2026, 1, 2), date(2026, 6, 30))


def bars_of(symbol, days=DAYS, deviation=0.02):
    """Return a Bars frame of one symbol, with opens, ranges and volumes; ``deviation`` is that of daily returns."""
    chance = np.random.default_rng(zlib.crc32(symbol.encode()))
    close = 100 * np.exp(np.cumsum(chance.normal(0, deviation, len(days))))
    up, down = 1 + chance.uniform(0, deviation, (2, len(days)))
    frame = pd.DataFrame(
        {
            "symbol": pd.Series([symbol] * len(days), dtype="str"),
            "session": pd.Series(list(days), dtype=object),
            "open": close,
            "high": close * up,
            "low": close / down,
            "close": close,
            "volume": chance.integers(1_000_000, 2_000_000, len(days)).astype(float),
        }
    )
    return frame[list(COLUMNS)]


def bars_of_all(*symbols, days=DAYS):
    return pd.concat([bars_of(symbol, days) for symbol in symbols], ignore_index=True)
