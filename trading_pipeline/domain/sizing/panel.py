"""What sizes are made from: returns, deviations, ranges and volumes of symbols over sessions, and of one session."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from trading_pipeline.domain.bars import close_panel
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import FloatArray, average_true_range, daily_returns, return_deviation
from trading_pipeline.domain.instruments import QUANTITY_STEP
from trading_pipeline.domain.sizing.options import SizingOptions

if TYPE_CHECKING:
    import pandas as pd

PERCENT = 100


@dataclass(frozen=True, eq=False)
class SizingInputs:
    """What the sizes of one session are made from; figures are NaN where they are not known.

    Attributes:
        symbols: The symbols, in the order of all columns below.
        returns: Simple daily returns, the last ``volatility_sessions`` of them by symbols, oldest first.
        deviations: Sample deviations of those returns, as fractions a day.
        closes: Dollars a share.
        ranges: Wilder's average true ranges, in dollars.
        volumes: Average volumes of a session, in shares.
        equity: The account's, in dollars.
        held: Weights held now, as fractions of equity; what is not named is not held.
        quantity_step: The smallest part of a share that is traded.

    Raises:
        InvalidInput: the equity is not a positive number, or columns and symbols differ in number.
    """

    symbols: tuple[str, ...]
    returns: FloatArray
    deviations: FloatArray
    closes: FloatArray
    ranges: FloatArray
    volumes: FloatArray
    equity: Decimal
    held: Mapping[str, float]
    quantity_step: Decimal = QUANTITY_STEP

    def __post_init__(self) -> None:
        """Refuse what no size can be made from."""
        if not self.equity.is_finite() or self.equity <= 0:
            raise InvalidInput(f"weights are sized by a positive equity, was {self.equity}; size nothing without one")
        columns = {len(each) for each in (self.deviations, self.closes, self.ranges, self.volumes, self.returns.T)}
        if columns != {len(self.symbols)}:
            raise InvalidInput(f"every figure needs one value for each of {len(self.symbols)} symbols, found {columns}")

    def place(self, symbol: str) -> int | None:
        """Return the column of ``symbol``, None if it has none."""
        return self.symbols.index(symbol) if symbol in self.symbols else None


@dataclass(frozen=True, eq=False)
class SizingPanel:
    """The figures of :class:`SizingInputs` over sessions; tables are sessions by symbols and not writable."""

    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    volatility_sessions: int
    closes: FloatArray
    returns: FloatArray
    deviations: FloatArray
    ranges: FloatArray
    volumes: FloatArray

    def __post_init__(self) -> None:
        """Close the tables to changes."""
        for table in (self.closes, self.returns, self.deviations, self.ranges, self.volumes):
            table.setflags(write=False)

    def inputs(
        self, row: int, equity: Decimal, held: Mapping[str, float], quantity_step: Decimal = QUANTITY_STEP
    ) -> SizingInputs:
        """Return what the session of that row is sized from; nothing after it is looked at.

        Raises:
            InvalidInput: the panel has no such row, or the equity is not a positive number.
        """
        if not 0 <= row < len(self.sessions):
            raise InvalidInput(f"a panel of {len(self.sessions)} sessions has no row {row}")
        return SizingInputs(
            symbols=self.symbols,
            returns=self.returns[max(row + 1 - self.volatility_sessions, 0) : row + 1],
            deviations=self.deviations[row],
            closes=self.closes[row],
            ranges=self.ranges[row],
            volumes=self.volumes[row],
            equity=equity,
            held=held,
            quantity_step=quantity_step,
        )


def sizing_panel(
    bars: "pd.DataFrame", symbols: Sequence[str], sessions: Sequence[date], options: SizingOptions
) -> SizingPanel:
    """Return the figures of ``symbols`` over ``sessions``, all of them computed at once.

    Row t depends on bars up to t alone. A figure is NaN until its window is
    full and wherever the window holds a bar that lacks what it is made from:
    nothing is filled.

    Args:
        bars: a Bars frame; other symbols and sessions in it are left out.
        symbols: the columns of the panel; a symbol named twice has one.
        sessions: the rows of the panel, oldest first.
        options: the windows.
    """
    names = tuple(dict.fromkeys(symbols))
    high, low, close, volume = (_laid(bars, field, names, sessions) for field in ("high", "low", "close", "volume"))
    return SizingPanel(
        sessions=tuple(sessions),
        symbols=names,
        volatility_sessions=options.volatility_sessions,
        closes=close,
        returns=_by_symbol(daily_returns, close),
        deviations=_by_symbol(functools.partial(return_deviation, window=options.volatility_sessions), close) / PERCENT,
        ranges=_by_symbol(functools.partial(average_true_range, window=options.atr_sessions), high, low, close),
        volumes=_means(volume, options.volume_sessions),
    )


def _laid(bars: "pd.DataFrame", field: str, symbols: Sequence[str], sessions: Sequence[date]) -> FloatArray:
    return close_panel(bars.assign(close=bars[field]), symbols, sessions).values  # noqa: PD011 an array of ours


def _by_symbol(figure: Callable[..., FloatArray], *tables: FloatArray) -> FloatArray:
    answers = np.full_like(tables[0], np.nan)
    for place in range(answers.shape[1]):
        answers[:, place] = figure(*(table[:, place] for table in tables))
    return answers


def _means(values: FloatArray, window: int) -> FloatArray:
    means = np.full_like(values, np.nan)
    if len(values) >= window:
        means[window - 1 :] = np.lib.stride_tricks.sliding_window_view(values, window, axis=0).mean(axis=-1)
    return means
