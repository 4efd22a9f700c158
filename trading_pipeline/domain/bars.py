"""Daily bars: what they must be, how closes are laid side by side, and what changed in them.

A *Bars frame* has the columns ``symbol`` (str), ``session`` (``datetime.date``
objects), ``open``, ``high``, ``low``, ``close`` (dollars a share, adjusted for
splits and dividends) and ``volume`` (shares), the figures as float64, sorted by
symbol and session. A *close-only* bar has a close and no open, high or low: NaN,
never a number made up from the close.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trading_pipeline.domain.errors import InvalidBars
from trading_pipeline.domain.sessions import NEW_YORK, is_session

COLUMNS = ("symbol", "session", "open", "high", "low", "close", "volume")
KEY = ["symbol", "session"]
RANGE = ["open", "high", "low"]
PRICES = [*RANGE, "close"]
FIGURES = [*PRICES, "volume"]

ROUNDING = 1e-4
"""How far, relatively, an open or close may leave its day's range: files round to six digits."""

SHOWN = 5
"""How many offenders a message names, so that it fits on a screen."""

_SYMBOL = re.compile(r"[A-Z]{1,5}([.\-/][A-Z]{1,3})?")
_Mask = npt.NDArray[np.bool_]


def is_symbol(text: object) -> bool:
    """Tell whether ``text`` is written as a US symbol: up to five capitals, and a class of up to three.

    >>> is_symbol("SPY"), is_symbol("BRK.B"), is_symbol("spy"), is_symbol(None)
    (True, True, False, False)
    """
    return isinstance(text, str) and _SYMBOL.fullmatch(text) is not None


def canonical_bars(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of a Bars frame with their types, rows as they stand.

    Sessions may arrive as dates, naive midnights, midnights of New York, or ISO
    text; figures as anything that is a number.

    Raises:
        InvalidBars: a column is missing, a figure is text, or a session cannot be read as a date.
    """
    absent = [name for name in COLUMNS if name not in frame.columns]
    if absent:
        raise InvalidBars(
            f"bars lack {_listed(absent)}: found {_listed(frame.columns)}, wanted {_listed(COLUMNS)}. "
            "Add what is missing"
        )
    symbols = frame["symbol"].astype("str")
    columns = {"symbol": symbols, "session": _dates(frame["session"], symbols)}
    columns |= {name: _numbers(frame, name) for name in FIGURES}
    return pd.DataFrame(columns).reset_index(drop=True)


def checked_bars(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` as a Bars frame, or refuse all of it.

    Raises:
        InvalidBars: a column is missing or unreadable, or a row has one of the faults of ``quarantine``.
    """
    bars = canonical_bars(frame)
    faults = _faults(bars)
    if faults.any():
        raise InvalidBars(_refusal(bars, faults))
    return _sorted(bars)


def quarantine(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split ``frame`` into a Bars frame of sound rows, and the faulty rows with the first ``reason`` against each.

    All rows of a symbol and session that appears more than once are faulty:
    which of them is right cannot be told.

    Raises:
        InvalidBars: a column is missing or unreadable.
    """
    bars = canonical_bars(frame)
    faults = _faults(bars)
    bad = bars[faults > 0].reset_index(drop=True)
    reasons = [_REASONS[fault - 1] for fault in faults[faults > 0]]
    return _sorted(bars[faults == 0]), bad.assign(reason=pd.Series(reasons, dtype="str"))


def as_close_only(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` with open, high, low and volume NaN wherever all prices are equal and the volume is zero.

    That is how a bar of which only the close is known travels through the
    endpoints of a market-data service.

    >>> bar = {"open": [5.0], "high": [5.0], "low": [5.0], "close": [5.0], "volume": [0.0]}
    >>> as_close_only(pd.DataFrame(bar)).to_dict("list")
    {'open': [nan], 'high': [nan], 'low': [nan], 'close': [5.0], 'volume': [nan]}
    """
    flat = frame[RANGE].eq(frame["close"], axis=0).all(axis=1) & (frame["volume"] == 0)
    hidden = [*RANGE, "volume"]
    return frame.assign(**{name: frame[name].mask(flat) for name in hidden})


@dataclass(frozen=True, eq=False)
class ClosePanel:
    """Closes of several symbols side by side: ``values`` is sessions by symbols, NaN where missing."""

    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    values: npt.NDArray[np.float64]

    def column(self, symbol: str) -> npt.NDArray[np.float64]:
        """Return the closes of ``symbol``, oldest first; all NaN if the panel does not hold it."""
        if symbol not in self.symbols:
            return np.full(len(self.sessions), np.nan)
        return self.values[:, self.symbols.index(symbol)]


def close_panel(bars: pd.DataFrame, symbols: Sequence[str], sessions: Sequence[date]) -> ClosePanel:
    """Lay the closes of ``symbols`` over ``sessions`` side by side, NaN where ``bars`` has none.

    Args:
        bars: a Bars frame; other symbols and sessions in it are left out.
        symbols: the columns of the panel; a symbol named twice has one.
        sessions: the rows of the panel, oldest first.
    """
    columns = tuple(dict.fromkeys(symbols))
    wanted = bars[bars["symbol"].isin(columns)]
    row, column = _places(wanted["session"], sessions), _places(wanted["symbol"], columns)
    inside = row >= 0
    # A column is what is read, so a column is what lies together in memory.
    values = np.full((len(sessions), len(columns)), np.nan, order="F")
    values[row[inside], column[inside]] = wanted["close"].to_numpy()[inside]
    values.setflags(write=False)
    return ClosePanel(tuple(sessions), columns, values)


def missing_sessions(
    bars: pd.DataFrame, symbols: Sequence[str], sessions: Sequence[date]
) -> Mapping[str, tuple[date, ...]]:
    """Return, for each of ``symbols`` that lacks closes, the ``sessions`` on which it does."""
    panel = close_panel(bars, symbols, sessions)
    absent = {
        symbol: tuple(panel.sessions[place] for place in np.flatnonzero(np.isnan(panel.column(symbol))))
        for symbol in panel.symbols
    }
    return {symbol: days for symbol, days in absent.items() if days}


def restated_symbols(stored: pd.DataFrame, fetched: pd.DataFrame, tolerance: float = 1e-6) -> tuple[str, ...]:
    """Return, sorted, the symbols of which an adjusted close known before differs from the one fetched now.

    Args:
        stored: a Bars frame of what was known.
        fetched: a Bars frame of what the source says now; only sessions in both are compared.
        tolerance: the largest relative difference that is not a restatement.
    """
    before, now = (frame[[*KEY, "close"]] for frame in (stored, fetched))
    both = before.merge(now, on=KEY, suffixes=("_before", "_now"))
    moved = (both["close_now"] / both["close_before"] - 1).abs() > tolerance
    return tuple(sorted(set(both["symbol"][moved])))


def out_of_order(bars: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``bars`` that stand below a later session of the same symbol's."""
    symbols, _ = pd.factorize(bars["symbol"])
    days, _ = pd.factorize(bars["session"], sort=True)
    together = np.argsort(symbols, kind="stable")
    earlier = (np.diff(days[together]) < 0) & (np.diff(symbols[together]) == 0)
    misplaced: pd.DataFrame = bars.iloc[together[1:][earlier]]
    return misplaced


def described(bars: pd.DataFrame) -> str:
    """Name the first few rows of ``bars`` by symbol, session and figures."""
    rows = (
        f"{row.symbol} {row.session} ({', '.join(f'{name} {getattr(row, name):g}' for name in FIGURES)})"
        for row in bars.head(SHOWN).itertuples()
    )
    return "; ".join(rows)


def _listed(names: Collection[Any]) -> str:
    return ", ".join(map(str, names)) or "nothing"


def _sorted(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.sort_values(KEY, ignore_index=True)


def _places(column: "pd.Series[Any]", wanted: Sequence[Any]) -> npt.NDArray[np.intp]:
    """Return where each value of ``column`` stands in ``wanted``, -1 if nowhere; each distinct value is sought once."""
    codes, distinct = pd.factorize(column)
    sought = pd.Index(list(wanted), dtype=object).get_indexer(pd.Index(list(distinct), dtype=object))
    places: npt.NDArray[np.intp] = sought[codes]
    return places


def _numbers(frame: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    column = frame[name]
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = np.isnan(numbers) & column.notna().to_numpy()
    if text.any():
        first = int(np.flatnonzero(text)[0])
        raise InvalidBars(
            f"{int(text.sum())} values of {name} are not numbers, the first: {column.iloc[first]!r} for "
            f"{frame['symbol'].iloc[first]} on {frame['session'].iloc[first]}. "
            "Write a number, or leave the value empty where it is not known"
        )
    return numbers


def _dates(column: "pd.Series[Any]", symbols: "pd.Series[str]") -> npt.NDArray[np.object_]:
    codes, distinct = pd.factorize(column)
    if (codes < 0).any():
        raise InvalidBars(
            f"{_share(codes < 0)} have no session, the first one of {symbols.iloc[codes.argmin()]}. Add it"
        )
    dates = np.empty(len(distinct), dtype=object)
    for place, value in enumerate(distinct):
        fault, dates[place] = _date(value)
        if fault:
            symbol = symbols.iloc[int(np.flatnonzero(codes == place)[0])]
            raise InvalidBars(f"the session of a bar of {symbol} was {value}: {fault}. Write a date such as 2026-07-31")
    return dates[codes]


def _date(value: object) -> tuple[str, date | None]:
    """Return what is wrong with ``value`` as a session, empty if nothing, and the date."""
    if isinstance(value, str):
        value = _from_text(value)
    if not isinstance(value, date):
        return "this is not a date", None
    if not isinstance(value, datetime):
        return "", value
    if value.tzinfo is not None and value.astimezone(NEW_YORK).time() != time():
        return "a stamp with a time zone must be midnight in New York", None
    local = value if value.tzinfo is None else value.astimezone(NEW_YORK)
    return ("", local.date()) if local.time() == time() else ("a session has no time of day", None)


def _from_text(text: str) -> date | None:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def _share(mask: _Mask) -> str:
    return f"{int(mask.sum())} of {mask.size} bars"


def _malformed_symbol(bars: pd.DataFrame) -> _Mask:
    return _by_value(bars["symbol"], lambda symbol: not is_symbol(symbol))


def _shut(bars: pd.DataFrame) -> _Mask:
    return _by_value(bars["session"], lambda day: not is_session(day))


def _by_value(column: "pd.Series[Any]", test: Callable[[Any], bool]) -> _Mask:
    codes, distinct = pd.factorize(column, use_na_sentinel=False)
    return np.array([test(value) for value in distinct], dtype=bool)[codes]


def _repeated(bars: pd.DataFrame) -> _Mask:
    return bars.duplicated(KEY, keep=False).to_numpy()


def _without_close(bars: pd.DataFrame) -> _Mask:
    return bars["close"].isna().to_numpy()


def _half_known(bars: pd.DataFrame) -> _Mask:
    absent = bars[RANGE].isna()
    return (absent.any(axis=1) & ~absent.all(axis=1)).to_numpy()


def _impossible_price(bars: pd.DataFrame) -> _Mask:
    prices = bars[PRICES]
    return (prices.le(0) | prices.eq(np.inf)).any(axis=1).to_numpy()


def _upside_down(bars: pd.DataFrame) -> _Mask:
    return (bars["high"] < bars["low"]).to_numpy()


def _outside_range(bars: pd.DataFrame) -> _Mask:
    ends = bars[["open", "close"]]
    above = ends.gt(bars["high"] * (1 + ROUNDING), axis=0)
    below = ends.lt(bars["low"] * (1 - ROUNDING), axis=0)
    return (above | below).any(axis=1).to_numpy()


def _impossible_volume(bars: pd.DataFrame) -> _Mask:
    volume = bars["volume"]
    return (volume.lt(0) | volume.eq(np.inf)).to_numpy()


_FAULTS: Mapping[str, Callable[[pd.DataFrame], _Mask]] = {
    "the symbol is not written as SPY or BRK.B": _malformed_symbol,
    "the day is not a session of the New York Stock Exchange": _shut,
    "symbol and session appear more than once": _repeated,
    "the close is missing": _without_close,
    "open, high and low must be all known or all missing": _half_known,
    "a price is not a positive number": _impossible_price,
    "the high is below the low": _upside_down,
    "open or close lies outside low to high": _outside_range,
    "the volume is not zero or more": _impossible_volume,
}
_REASONS = tuple(_FAULTS)


def _faults(bars: pd.DataFrame) -> npt.NDArray[np.int8]:
    """Return, for each row, the number of the first fault against it, counted from 1, or 0."""
    faults = np.zeros(len(bars), dtype=np.int8)
    for number, test in enumerate(_FAULTS.values(), start=1):
        faults[(faults == 0) & test(bars)] = number
    return faults


def _refusal(bars: pd.DataFrame, faults: npt.NDArray[np.int8]) -> str:
    counts = (
        f"{_REASONS[number - 1]} ({int((faults == number).sum())}): {described(bars[faults == number])}"
        for number in np.unique(faults[faults > 0])
    )
    return f"{_share(faults > 0)} are refused. " + ". ".join(counts) + ". Correct or remove these rows"
