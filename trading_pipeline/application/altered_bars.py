"""Bars that are not what was recorded, one by one: somebody altered them by hand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from trading_pipeline.domain.bars import FIGURES, KEY

if TYPE_CHECKING:
    import pandas as pd

WHOLE_BAR = "bar"


@dataclass(frozen=True)
class Alteration:
    """One figure of one bar: ``recorded`` is what it was written as, ``found`` what it is now; NaN where missing.

    ``column`` is that of the figure, or ``bar`` where there is no bar at all on one side; the figures are
    then its closes. ``version`` is that of the table in which it was found.
    """

    symbol: str
    session: date
    column: str
    recorded: float
    found: float
    version: int | None = None

    def __str__(self) -> str:
        """Name the bar and both figures.

        >>> print(Alteration("SPY", date(2026, 7, 30), "close", 612.5, 618.625, 12))
        SPY 2026-07-30 close: recorded 612.5, found 618.625 in version 12
        >>> print(Alteration("SPY", date(2026, 7, 30), "bar", 612.5, float("nan")))
        SPY 2026-07-30: the bar is gone, its close was 612.5
        """
        place = "" if self.version is None else f" in version {self.version}"
        if self.column == WHOLE_BAR and math.isnan(self.found):
            return f"{self.symbol} {self.session}: the bar is gone{place}, its close was {_plain(self.recorded)}"
        if self.column == WHOLE_BAR:
            return (
                f"{self.symbol} {self.session}: a bar that was never written{place}, its close is {_plain(self.found)}"
            )
        figures = f"recorded {_plain(self.recorded)}, found {_plain(self.found)}{place}"
        return f"{self.symbol} {self.session} {self.column}: {figures}"


def _plain(value: float) -> str:
    return "nothing" if math.isnan(value) else f"{value:.10g}"


def alterations(recorded: "pd.DataFrame", found: "pd.DataFrame", version: int | None = None) -> tuple[Alteration, ...]:
    """Return every figure in which two Bars frames differ, by session and symbol; NaN equals NaN.

    Figures are compared exactly: what was written is what must be read.

    Args:
        recorded: what was written, one row for each symbol and session.
        found: what is there now; rows may be missing, or too many.
        version: the version of the table that ``found`` was read from.
    """
    if recorded.equals(found):
        return ()
    both = recorded.merge(found, on=KEY, how="outer", suffixes=("_recorded", "_found"), indicator="side")
    apart = both["side"] != "both"
    rows = [
        Alteration(row["symbol"], row["session"], WHOLE_BAR, row["close_recorded"], row["close_found"], version)
        for row in both[apart].to_dict("records")
    ]
    for column in FIGURES:
        then, now = both[f"{column}_recorded"], both[f"{column}_found"]
        changed = both[~apart & ~((then == now) | (then.isna() & now.isna()))]
        rows += [
            Alteration(
                row["symbol"], row["session"], column, row[f"{column}_recorded"], row[f"{column}_found"], version
            )
            for row in changed.to_dict("records")
        ]
    return tuple(
        sorted(
            rows,
            key=lambda each: (each.session, each.symbol, FIGURES.index(each.column) if each.column in FIGURES else -1),
        )
    )


def without(found: Sequence[Alteration], known: Sequence[Alteration]) -> tuple[Alteration, ...]:
    """Return those of ``found`` whose bar and column are not among ``known``."""
    seen = {(each.symbol, each.session, each.column) for each in known}
    return tuple(each for each in found if (each.symbol, each.session, each.column) not in seen)
