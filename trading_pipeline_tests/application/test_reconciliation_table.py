from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pandas as pd
import pytest

from dbt_like_checks.contract import contract
from dbt_like_checks.generic_tests import Context
from dbt_like_checks.verification import verify
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.application import books
from trading_pipeline.application.books import Known
from trading_pipeline.application.reconciliation_table import fills_from_frame, last_known, to_frame
from trading_pipeline.domain.orders import Side
from trading_pipeline_tests.application.two_books import (
    ACCOUNT,
    BOUGHT,
    BROKEN,
    DIVIDEND,
    MANUAL,
    OURS,
    PLACED,
    PLAN_ID,
    SESSION,
    THEIRS,
    TOUCHED,
    WITH_MANUAL,
    account,
    execution,
)

PAID = replace(THEIRS, portfolio=replace(THEIRS.portfolio, cash=Decimal("512.34")), movements=[DIVIDEND])


@pytest.mark.parametrize(
    "found",
    [books.reconcile(OURS, THEIRS), books.reconcile(OURS, PAID), BROKEN, TOUCHED],
    ids=["agrees", "paid", "broken", "touched"],
)
def test_the_rows_keep_their_contract_and_are_stored(found, tmp_path):
    frame = to_frame(found, SESSION)

    verify(frame, contract("reconciliation"), Context(session=SESSION))
    tables = DeltaTables(str(tmp_path))
    tables.replace_session("reconciliation", SESSION, frame)
    stored = tables.read("reconciliation").fillna({"explanation": ""}).set_index(["kind", "name"])
    assert len(stored) == len(found.items)
    for item in found.items:
        row = stored.loc[(item.kind.value, item.name)]
        assert (row["ours"], row["theirs"], row["difference"]) == (item.ours, item.theirs, item.difference)
        assert (row["status"], row["explanation"], row["price"]) == (item.status, item.explanation, item.price)


def test_what_was_compared_last_is_what_is_known(tmp_path):
    tables = DeltaTables(str(tmp_path))
    gone = replace(THEIRS, portfolio=account("2000", PLACED - timedelta(days=1), IEF="3"))
    tables.replace_session(
        "reconciliation", date(2026, 7, 29), to_frame(books.reconcile(OURS, gone), date(2026, 7, 29))
    )
    sold = replace(WITH_MANUAL, portfolio=account("410", PLACED, {"SPY": "101.5"}, SPY="5"))
    tables.replace_session("reconciliation", SESSION, to_frame(books.reconcile(OURS, sold), SESSION))

    known = last_known(tables.read("reconciliation"), ACCOUNT)

    assert known == Known(account("410", PLACED, {"SPY": "101.5"}, SPY="5"), frozenset({"x1", "x2", MANUAL}))


def test_of_an_account_that_was_never_compared_nothing_is_known():
    assert last_known(to_frame(BROKEN, SESSION), "SIM0002") is None
    assert last_known(to_frame(BROKEN, SESSION).iloc[:0], ACCOUNT) is None


def test_fills_come_back_from_their_table():
    sale = execution("x2", "TLT", Side.SELL, "0.000000001", "90.1234", commission="0.5")
    rows = [{**vars(fill), "side": fill.side.value, "session": SESSION, "plan_id": PLAN_ID} for fill in (BOUGHT, sale)]
    frame = pd.DataFrame(rows).astype({"filled_at": "datetime64[us, UTC]"})

    assert fills_from_frame(frame) == (BOUGHT, sale)
    assert fills_from_frame(frame.iloc[:0]) == ()
