from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest

from trading_pipeline.adapters.alpaca.account_figures import AlpacaAccountFigures
from trading_pipeline.domain.errors import DependencyUnavailable

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
ACCOUNT = {"account_number": "SIM1", "cash": "10.50", "status": "ACTIVE", "equity": "210.50", "last_equity": "200"}
POSITION = {"symbol": "SPY", "qty": "2", "side": "long", "current_price": "100", "lastday_price": "95"}


def figures(**changes):
    answers = {"/account": ACCOUNT | changes, "/positions": [POSITION]}
    return AlpacaAccountFigures(SimpleNamespace(get=answers.get), SimpleNamespace(now=lambda: NOON)).read()


def test_equity_and_the_close_before_are_told_beside_cash_and_positions():
    found = figures()

    assert (found.equity, found.previous_close) == (Decimal("210.50"), Decimal(200))
    assert (found.portfolio.equity, found.portfolio.as_of) == (Decimal("210.50"), NOON)


@pytest.mark.parametrize("value", [None, "", "NaN", "much"])
def test_an_equity_that_is_no_number_is_not_known(value):
    assert figures(equity=value).equity is None
    assert figures(last_equity=value).previous_close is None


def test_an_account_that_says_nothing_of_equity_is_read_all_the_same():
    rows = {key: value for key, value in ACCOUNT.items() if "equity" not in key}
    api = SimpleNamespace(get={"/account": rows, "/positions": []}.get)

    found = AlpacaAccountFigures(api, SimpleNamespace(now=lambda: NOON)).read()

    assert (found.equity, found.previous_close) == (None, None)


def test_an_account_without_cash_is_no_usable_answer():
    with pytest.raises(DependencyUnavailable):
        figures(cash=None)


def test_positions_are_marked_at_the_latest_prices_and_at_the_brokers_where_there_is_none():
    assert figures().mark({"SPY": Decimal(90), "QQQ": Decimal(5)}) == Decimal("190.50")
    assert figures().mark({}) == Decimal("210.50")
