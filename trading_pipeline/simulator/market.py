"""Daily bars of a market: generated, or replayed from a file.

``python -m trading_pipeline.simulator.market --seed 7 --through 2026-07-31 --out FILE.parquet``
writes the generated market as a file that can be brought back with ``--bars``.

A market knows every bar it has; what may be *seen* at an instant is decided in
:mod:`trading_pipeline.simulator.exchange`.
"""

import argparse
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.simulator.generated import SymbolBars, generated_history
from trading_pipeline.simulator.universe import EVENTS, FIRST_SESSION, MEMBERS, Split

if TYPE_CHECKING:
    import pandas as pd

GENERATED = "generated"
OPEN, HIGH, LOW, CLOSE = range(4)


@dataclass(frozen=True)
class Bar:
    """One session of one symbol as its shares were then: prices in dollars, volume in shares."""

    open: float
    high: float
    low: float
    close: float
    volume: float


class Market:
    """Every bar of every symbol; ``ends`` is the last session it knows, None when it goes on for ever."""

    def __init__(self, name: str, history: Mapping[str, SymbolBars], splits: Sequence[Split] = ()) -> None:
        self.name = name
        self._history = dict(history)
        self._splits = tuple(splits)
        self._added: tuple[Split, ...] = ()
        self.ends: date | None = max((_last(bars) for bars in history.values()), default=None)

    def symbols(self) -> Sequence[str]:
        """Return every symbol, in order."""
        return sorted(self._history)

    def lifetime(self, symbol: str) -> tuple[date, date | None] | None:
        """Return the first and last session of ``symbol`` (None: still trading), or None if it is unknown."""
        bars = self._history.get(symbol)
        if not bars:
            return None
        last = _last(bars)
        return bars.sessions[0].item(), None if last == self.ends else last

    def bars(self, symbol: str, first: date, last: date, adjusted_as_of: date | None = None) -> SymbolBars:
        """Return the bars of ``symbol`` from ``first`` to ``last``, both included; none for an unknown symbol.

        ``adjusted_as_of`` puts all of them on the basis of that session's shares; None leaves them raw.
        """
        bars = self._history.get(symbol, _NO_BARS)
        begin = int(np.searchsorted(bars.sessions, np.datetime64(first), side="left"))
        end = int(np.searchsorted(bars.sessions, np.datetime64(last), side="right"))
        chosen = bars.rows(slice(begin, end))
        if adjusted_as_of is None:
            return chosen
        for split in self._splits:
            if split.symbol == symbol and split.session <= adjusted_as_of:
                chosen = _rescaled(chosen, split.session, 1 / float(split.ratio))
        return chosen

    def bar(self, symbol: str, session: date) -> Bar | None:
        """Return the raw bar of ``symbol`` in ``session``, or None where it did not trade."""
        found = self.bars(symbol, session, session)
        if not found:
            return None
        opening, high, low, close = found.prices[0].tolist()
        return Bar(opening, high, low, close, found.volume[0].item())

    def splits(self, session: date) -> Sequence[Split]:
        """Return the splits that take effect at the start of ``session``."""
        return [split for split in self._splits if split.session == session]

    def splits_between(self, first: date, last: date) -> Sequence[Split]:
        """Return the splits that take effect from ``first`` to ``last``, oldest first, then by symbol."""
        inside = (split for split in self._splits if first <= split.session <= last)
        return sorted(inside, key=lambda split: (split.session, split.symbol))

    def split(self, split: Split) -> None:
        """Add a split to what befalls the market: prices from its session on are of the new shares."""
        self._splits += (split,)
        self._added += (split,)
        self._take(split)

    def reach(self, session: date) -> None:
        """Make sure that the bars of ``session`` are there, if this market can have them."""

    def _take(self, split: Split) -> None:
        bars = self._history[split.symbol]
        whole = _rescaled(bars, date.max, 1 / float(split.ratio))
        self._history[split.symbol] = _rescaled(whole, split.session, float(split.ratio))


class GeneratedMarket(Market):
    """The generated market; it grows when a later session is asked for."""

    def __init__(self, seed: int, through: date) -> None:
        super().__init__(GENERATED, {}, EVENTS.splits)
        self._seed = seed
        self._through = date.min
        self.reach(through)

    def reach(self, session: date) -> None:
        """Generate on to the end of the year of ``session``, unless that is there already."""
        if session > self._through:
            self._through = date(session.year, 12, 31)
            self._history = dict(_raw_history(self._seed, self._through))
            for split in self._added:
                self._take(split)

    def lifetime(self, symbol: str) -> tuple[date, date | None] | None:
        """Return the first session of ``symbol``; none of the generated symbols is ever delisted."""
        return (MEMBERS[symbol].listed, None) if symbol in MEMBERS else None


_NO_BARS = SymbolBars(np.empty(0, "datetime64[D]"), np.empty((0, 4)), np.empty(0))


def market_from(bars: str, seed: int, through: date) -> Market:
    """Return the generated market, or the one in the file that ``bars`` names.

    Raises:
        InvalidInput: the file cannot be read or its figures cannot be used.
    """
    if bars == GENERATED:
        return GeneratedMarket(seed, through)
    from trading_pipeline.simulator.bars_file import read_history

    path = Path(bars)
    if not path.is_file():
        raise InvalidInput(f"the bars file {path} does not exist; give a Parquet or CSV file, or '{GENERATED}'")
    return Market(str(path.resolve()), read_history(path))


def generated_bars(seed: int, through: date, *, adjusted: bool = True) -> "pd.DataFrame":
    """Return the generated market from its first session to ``through``, both included.

    Columns: symbol, session (``datetime.date``), open, high, low, close in
    dollars, volume in shares; sorted by symbol and session; no missing values:
    a session without trade has no row.

    Args:
        seed: Which of the generated markets.
        through: Last day; it need not be a session.
        adjusted: On the basis of the shares of ``through``; raw prices otherwise.
            A later ``through`` never changes raw figures.
    """
    import pandas as pd

    market = Market(GENERATED, _raw_history(seed, through), EVENTS.splits)
    as_of = through if adjusted else None
    parts = [_frame(symbol, market.bars(symbol, FIRST_SESSION, through, as_of)) for symbol in market.symbols()]
    return pd.concat(parts, ignore_index=True)


def _frame(symbol: str, bars: SymbolBars) -> "pd.DataFrame":
    import pandas as pd

    prices = {name: bars.prices[:, place] for place, name in enumerate(("open", "high", "low", "close"))}
    sessions = pd.Series(bars.sessions.tolist(), dtype=object)
    return pd.DataFrame({"symbol": symbol, "session": sessions, **prices, "volume": bars.volume})


@functools.lru_cache(maxsize=4)
def _raw_history(seed: int, through: date) -> Mapping[str, SymbolBars]:
    history = dict(generated_history(seed, through))
    for split in EVENTS.splits:
        history[split.symbol] = _rescaled(history[split.symbol], split.session, float(split.ratio))
    for symbol, session in EVENTS.halts:
        history[symbol] = _without(history[symbol], session)
    return history


def _rescaled(bars: SymbolBars, before: date, by: float) -> SymbolBars:
    factor = np.where(bars.sessions < np.datetime64(before), by, 1.0)
    return replace(bars, prices=bars.prices * factor[:, np.newaxis], volume=bars.volume / factor)


def _without(bars: SymbolBars, session: date) -> SymbolBars:
    return bars.rows(bars.sessions != np.datetime64(session))


def _last(bars: SymbolBars) -> date:
    last: date = bars.sessions[-1].item() if bars else date.min
    return last


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the generated market to a Parquet file; exit code 2 when it cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m trading_pipeline.simulator.market", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--through", type=date.fromisoformat, required=True, metavar="DATE")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    chosen = parser.parse_args(arguments)
    frame = generated_bars(chosen.seed, chosen.through)
    try:
        frame.to_parquet(chosen.out, index=False)
    except OSError as failure:
        parser.error(f"cannot write {chosen.out}: {failure.strerror or failure}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
