"""A part of a report: exposures, and every measure of risk against its limit."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trading_pipeline.reporting import pages
from trading_pipeline.reporting.pages import Cell, Section, Table

if TYPE_CHECKING:
    import pandas as pd

EXPOSURES = (
    *("gross leverage", "net leverage", "effective leverage", "concentration", "cash", "class exposure"),
    *("sector exposure",),
)
MULTIPLES = frozenset({"gross leverage", "net leverage", "effective leverage"})
DOLLARS = frozenset({"order value"})
PLAIN = frozenset({"orders", "losing streak", "effective bets", "falling profit", "concentration"})
MOST_LIMITS = 15
NEAR = 0.8
"""From this share of a limit on it is shown as near."""


def exposure_section(risk: "pd.DataFrame") -> Section:
    """Return exposures, and the measures that have a limit, the nearest to it first."""
    title = "Exposure and risk"
    if risk.empty:
        return Section("risk", title, ("No measures of risk are recorded for this session.",))
    limited = risk[risk["limit"].notna() & risk["share_of_limit"].notna()]
    limited = limited.sort_values("share_of_limit", ascending=False, kind="stable")
    silent = sorted(set(risk.loc[risk["limit"].notna() & risk["value"].isna(), "measure"]))
    words = ["Once the approved orders have filled."]
    if silent:
        words.append(f"Limited and not known: {', '.join(silent)}.")
    return Section("risk", title, tuple(words), (_exposures(risk), _limits(limited)))


def broken_limits(risk: "pd.DataFrame") -> Iterator[str]:
    """Give each measure that is beyond its limit, as a sentence."""
    for row in risk[risk["share_of_limit"] > 1].to_dict("records"):
        measured, limit = (_told(row["measure"], row[name]) for name in ("value", "limit"))
        yield f"Limit broken: {row['measure']} of {row['part']} is {measured}, the limit {limit}"


def _exposures(risk: "pd.DataFrame") -> Table:
    rows = [
        (Cell(row["measure"]), Cell(row["part"]), Cell(_told(row["measure"], row["value"])))
        for name in EXPOSURES
        for row in risk[risk["measure"] == name].to_dict("records")
    ]
    return Table(pages.columns("Exposure", "Of", "#Value"), rows)


def _limits(limited: "pd.DataFrame") -> Table:
    rows = [_limit_row(row) for row in limited.head(MOST_LIMITS).to_dict("records")]
    left = len(limited) - len(rows)
    note = f"and {pages.counted(left, 'measure')} further from their limits" if left > 0 else ""
    return Table(pages.columns("Measure", "Of", "#Value", "#Limit", "#Used"), rows, note)


def _limit_row(row: Mapping[Any, Any]) -> tuple[Cell, ...]:
    share = float(row["share_of_limit"])
    tone = pages.BAD if share > 1 else pages.WARN if share > NEAR else ""
    used = pages.percent(share, places=0) if math.isfinite(share) else "all"
    return (
        Cell(row["measure"]),
        Cell(row["part"]),
        Cell(_told(row["measure"], row["value"])),
        Cell(_told(row["measure"], row["limit"])),
        Cell(used, tone, fill=min(max(share, 0.0), 1.0)),
    )


def _told(measure: str, value: float) -> str:
    if measure in DOLLARS:
        return pages.money(value)
    if measure in PLAIN:
        return pages.figure(value)
    if measure in MULTIPLES and math.isfinite(value):
        return f"{value:.2f}\N{MULTIPLICATION SIGN}"
    return pages.percent(value, places=2)
