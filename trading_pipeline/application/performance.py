"""What the account earned: from snapshots and executions to the rows of table ``performance``.

The account is valued at the close of each session that was decided, as
``portfolio_snapshot`` has it; snapshots of a model portfolio are no account
and are passed over. Lots are first in, first out, and counting begins with the
first snapshot (:mod:`trading_pipeline.domain.profit`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import TYPE_CHECKING

from trading_pipeline.application.reconciliation_table import fills_from_frame
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.instruments import STORED_STEP
from trading_pipeline.domain.portfolio import CASH, Portfolio, Position
from trading_pipeline.domain.profit import (
    EXACT,
    Lots,
    SessionProfit,
    Valuation,
    drawdowns,
    executed,
    profits,
    unit_values,
)

if TYPE_CHECKING:
    import pandas as pd

NAN = float("nan")
BROKER = "broker"


@dataclass(frozen=True)
class PerformanceRow:
    """One session of the account: what :class:`SessionProfit` says, and what has added up since the first.

    Attributes:
        profit: the session's figures.
        realised_total: dollars realised since the first valuation.
        unit_value: what a dollar of the first valuation has become, movements taken out; NaN where undefined.
        drawdown: how far that is below its highest so far, as a fraction; NaN likewise.
    """

    profit: SessionProfit
    realised_total: Decimal
    unit_value: float
    drawdown: float


def account_of(snapshots: "pd.DataFrame") -> str | None:
    """Return the account of the newest snapshot that a broker gave, None where there is none."""
    own = snapshots[snapshots["source"] == BROKER]
    return None if own.empty else str(own.sort_values("session", kind="stable")["account_number"].iloc[-1])


def valuations_of(snapshots: "pd.DataFrame", account_number: str) -> Sequence[Valuation]:
    """Return the valuations of an account in rows of table ``portfolio_snapshot``, oldest first.

    Snapshots of other accounts and of model portfolios are passed over.
    """
    own = snapshots[(snapshots["source"] == BROKER) & (snapshots["account_number"] == account_number)]
    cash: dict[date, tuple[Decimal, datetime]] = {}
    held: dict[date, dict[str, Position]] = {}
    for row in own.to_dict("records"):
        session, symbol = row["session"], row["symbol"]
        if symbol == CASH:
            cash[session] = (row["quantity"], row["as_of"].to_pydatetime())
        else:
            held.setdefault(session, {})[symbol] = Position(symbol, row["quantity"], row["price"])
    return [
        Valuation(session, Portfolio(account_number, as_of, dollars, held.get(session, {})))
        for session, (dollars, as_of) in sorted(cash.items())
    ]


def executions_by_session(fills: "pd.DataFrame") -> Mapping[date, Sequence[Fill]]:
    """Return the executions in rows of table ``fills``, by the session in which they happened."""
    found: dict[date, list[Fill]] = {}
    for session, fill in zip(fills["execution_session"], fills_from_frame(fills), strict=True):
        found.setdefault(session, []).append(fill)
    return found


def joined(*executions: Mapping[date, Sequence[Fill]]) -> Mapping[date, Sequence[Fill]]:
    """Return executions of several origins, each once."""
    days = {day for found in executions for day in found}
    return {
        day: list({fill.execution_id: fill for found in executions for fill in found.get(day, ())}.values())
        for day in sorted(days)
    }


def performance(valuations: Sequence[Valuation], executions: Mapping[date, Sequence[Fill]]) -> Sequence[PerformanceRow]:
    """Return a row for each valuation, oldest first."""
    found = profits(valuations, executions)
    values = unit_values(found)
    rows, total = list[PerformanceRow](), Decimal(0)
    for profit, value, fallen in zip(found, values, drawdowns(values), strict=True):
        with localcontext(EXACT):
            total += profit.realised or 0
        rows.append(PerformanceRow(profit, total, _number(value), _number(fallen)))
    return rows


def gaps_with_moved_shares(rows: Sequence[PerformanceRow]) -> Sequence[tuple[date, date]]:
    """Return the valuations before and at each session in which shares came or went that no execution explains."""
    return [(before.profit.session, row.profit.session) for before, row in pairwise(rows) if row.profit.share_movements]


def realised_by(lots: Lots, fills: Iterable[Fill]) -> Decimal:
    """Return the dollars that ``fills`` realised on ``lots``, commissions taken off."""
    return executed(lots, fills)[1]


_COLUMNS = {
    "session": "object",
    "account_number": "str",
    "as_of": "datetime64[us, UTC]",
    "equity": "object",
    "cash": "object",
    "profit": "object",
    "realised": "object",
    "unrealised_change": "object",
    "unrealised": "object",
    "commissions": "object",
    "cash_movements": "object",
    "share_movements": "object",
    "realised_total": "object",
    "unit_value": "float64",
    "drawdown": "float64",
}


def to_frame(rows: Sequence[PerformanceRow], valuations: Sequence[Valuation]) -> "pd.DataFrame":
    """Return rows of table ``performance``; figures of a change are missing in that of the first valuation."""
    import pandas as pd

    accounts = {valuation.session: valuation.portfolio for valuation in valuations}
    frame = pd.DataFrame([_stored_row(row, accounts[row.profit.session]) for row in rows], columns=list(_COLUMNS))
    return frame.astype(dict(_COLUMNS))


def _stored_row(row: PerformanceRow, portfolio: Portfolio) -> Mapping[str, object]:
    profit = row.profit
    return {
        "session": profit.session,
        "account_number": portfolio.account_number,
        "as_of": portfolio.as_of,
        "equity": _stored(profit.equity),
        "cash": _stored(profit.cash),
        "profit": _stored(profit.profit),
        "realised": _stored(profit.realised),
        "unrealised_change": _stored(profit.unrealised_change),
        "unrealised": _stored(profit.unrealised),
        "commissions": _stored(profit.commissions),
        "cash_movements": _stored(profit.cash_movements),
        "share_movements": _stored(profit.share_movements),
        "realised_total": _stored(row.realised_total),
        "unit_value": row.unit_value,
        "drawdown": row.drawdown,
    }


def weights_over_time(snapshots: "pd.DataFrame", account_number: str) -> "pd.DataFrame":
    """Return the share of equity of each symbol, cash among them: a row a session, 0 where nothing is held."""
    own = snapshots[(snapshots["source"] == BROKER) & (snapshots["account_number"] == account_number)]
    return own.pivot_table(index="session", columns="symbol", values="weight", aggfunc="sum", fill_value=0.0)


def _stored(amount: Decimal | None) -> Decimal | None:
    if amount is None:
        return None
    with localcontext(EXACT):
        return amount.quantize(STORED_STEP)


def _number(value: Decimal | None) -> float:
    return NAN if value is None else float(value)
