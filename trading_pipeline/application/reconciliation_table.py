"""The table ``reconciliation``: what was compared, as rows; and what rows of it and of ``fills`` stand for."""

from datetime import UTC, date
from typing import TYPE_CHECKING

from trading_pipeline.application.books import Kind, Known, Reconciliation
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.instruments import STORED_STEP
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.portfolio import CASH, Portfolio, Position

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = {
    "session": "object",
    "account_number": "str",
    "kind": "str",
    "name": "str",
    "ours": "object",
    "theirs": "object",
    "difference": "object",
    "price": "object",
    "status": "str",
    "explanation": "object",
    "as_of": "datetime64[us, UTC]",
}


def to_frame(found: Reconciliation, session: date) -> "pd.DataFrame":
    """Return the rows of table ``reconciliation``: one for each thing compared.

    ``price`` is missing where there is none, ``explanation`` where none is needed.
    """
    import pandas as pd

    rows = [
        {
            "session": session,
            "account_number": found.account_number,
            "kind": item.kind.value,
            "name": item.name,
            "ours": item.ours,
            "theirs": item.theirs,
            "difference": item.difference,
            "price": None if item.price is None else item.price.quantize(STORED_STEP),
            "status": item.status.value,
            "explanation": item.explanation or None,
            "as_of": found.as_of.astimezone(UTC),
        }
        for item in found.items
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def last_known(frame: "pd.DataFrame", account_number: str) -> Known | None:
    """Return what rows of table ``reconciliation`` say of the newest session compared, None where there is none.

    Rows of other accounts say nothing of this one.
    """
    own = frame[frame["account_number"] == account_number]
    if own.empty:
        return None
    rows = own[own["session"] == own["session"].max()].to_dict("records")
    theirs = {(row["kind"], row["name"]): row for row in rows}
    positions = {
        name: Position(name, row["theirs"], row["price"])
        for (kind, name), row in theirs.items()
        if kind == Kind.POSITION and row["theirs"]
    }
    cash = theirs[Kind.CASH, CASH]
    portfolio = Portfolio(account_number, cash["as_of"].to_pydatetime(), cash["theirs"], positions)
    return Known(portfolio, frozenset(name for kind, name in theirs if kind in {Kind.FILL, Kind.EXTERNAL}))


def fills_from_frame(frame: "pd.DataFrame") -> tuple[Fill, ...]:
    """Return the executions that rows of table ``fills`` stand for."""
    return tuple(
        Fill(
            execution_id=row["execution_id"],
            client_order_id=row["client_order_id"],
            symbol=row["symbol"],
            side=Side(row["side"]),
            quantity=row["quantity"],
            price=row["price"],
            commission=row["commission"],
            filled_at=row["filled_at"].to_pydatetime(),
        )
        for row in frame.to_dict("records")
    )
