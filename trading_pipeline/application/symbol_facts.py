"""What the tables say of symbols: their closes, what may be done with them, and what they are."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pandas as pd

from trading_pipeline.domain.instruments import Instrument
from trading_pipeline.ports import Asset


def closes(bars: pd.DataFrame) -> dict[str, Decimal]:
    """Return the close of each symbol, in dollars a share, of rows of one session; one without a close is absent."""
    known = bars.dropna(subset=["close"])
    return {symbol: Decimal(repr(float(close))) for symbol, close in zip(known["symbol"], known["close"], strict=True)}


def tradability_of(catalog: pd.DataFrame) -> dict[str, Asset]:
    """Return the broker's word on each symbol."""
    return {
        row["symbol"]: Asset(row["symbol"], row["name"], row["exchange"], row["tradable"], row["fractionable"])
        for row in catalog.to_dict("records")
    }


def instruments_of(assets: Mapping[str, Asset], known: Mapping[str, Instrument]) -> dict[str, Instrument]:
    """Return what each symbol is, with the broker's word on fractions applied to what is ``known``."""
    return {
        symbol: replace(known[symbol], fractionable=asset.fractionable)
        for symbol, asset in assets.items()
        if symbol in known
    }
