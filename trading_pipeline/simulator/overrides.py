"""What was set by hand for single symbols: halts, flags, quotes, faulty bars, splits. It survives a restart."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from pydantic import TypeAdapter

from trading_pipeline.simulator.store import Store
from trading_pipeline.simulator.universe import Split

Figure = Literal["open", "high", "low", "close", "all"]


@dataclass(frozen=True)
class BarChange:
    """A figure of the bar of ``session``, or all of its prices, shown ``factor`` times as large as it is."""

    session: date
    factor: Decimal
    figure: Figure = "all"


@dataclass(frozen=True)
class Override:
    """What was set for a symbol; None and the defaults leave everything as it is.

    ``quote_factor`` multiplies the mid of its quotes, at which orders fill too;
    ``quote_age`` (seconds) makes them older than they are. An ``illiquid`` symbol
    takes orders and never fills them. A ``missing`` symbol is unknown to market
    data, though it trades. ``gaps`` (first and last day) and ``changes`` are of
    the bars that are shown, not of what happened.
    """

    tradable: bool | None = None
    fractionable: bool | None = None
    halted_since: datetime | None = None
    illiquid: bool = False
    quote_factor: Decimal = Decimal(1)
    quote_age: float = 0.0
    missing: bool = False
    gaps: tuple[tuple[date, date], ...] = ()
    changes: tuple[BarChange, ...] = ()


@dataclass(frozen=True)
class _Kept:
    symbols: dict[str, Override] = field(default_factory=dict)
    halts: frozenset[tuple[str, date]] = frozenset()
    splits: tuple[tuple[str, date, Decimal], ...] = ()


NOTHING = Override()
_KEPT = TypeAdapter(_Kept)
_SETTING = "overrides"


class Overrides:
    """What was set by hand, in the settings of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._text: str | None = None
        self._kept = _Kept()

    @property
    def version(self) -> str | None:
        """Something that is another after every change."""
        return self._store.setting(_SETTING)

    def of(self, symbol: str) -> Override:
        """Return what was set for ``symbol``."""
        return self._now().symbols.get(symbol, NOTHING)

    def symbols(self) -> Mapping[str, Override]:
        """Return what was set, by symbol."""
        return self._now().symbols

    def keep(self, symbol: str, override: Override) -> None:
        """Set everything for ``symbol`` anew."""
        self._keep(replace(self._now(), symbols={**self._now().symbols, symbol: override}))

    def halts(self) -> Set[tuple[str, date]]:
        """Return the symbols and sessions that were halted whole."""
        return self._now().halts

    def add_halt(self, symbol: str, session: date) -> None:
        """Halt ``symbol`` for the whole of ``session``."""
        self._keep(replace(self._now(), halts=self._now().halts | {(symbol, session)}))

    def splits(self) -> Sequence[Split]:
        """Return the splits that were added to those of the market."""
        return [Split(*split) for split in self._now().splits]

    def add_split(self, split: Split) -> None:
        """Add a split."""
        added = (split.symbol, split.session, Decimal(split.ratio))
        self._keep(replace(self._now(), splits=(*self._now().splits, added)))

    def clear(self) -> None:
        """Forget what was set, but for the splits: the market that they changed stays as it is."""
        self._keep(_Kept(splits=self._now().splits))

    def _now(self) -> _Kept:
        text = self._store.setting(_SETTING)
        if text is not self._text:
            self._kept = _Kept() if text is None else _KEPT.validate_json(text)
            self._text = text
        return self._kept

    def _keep(self, kept: _Kept) -> None:
        self._store.keep_setting(_SETTING, _KEPT.dump_json(kept).decode())
