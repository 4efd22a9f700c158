"""Singular tests of one's own beside the built-in ones, and the verification in the code of the assets."""

from decimal import Decimal

import pytest

from trading_pipeline.defs.checks import (
    blocking_checks,
    contract_checks,
    known_singular,
    own_singular,
    singular_of,
    verified,
)
from trading_pipeline.domain.errors import BrokenContract, InvalidInput
from trading_pipeline_tests.checks.frames import FRIDAY, frames

OWN = """\
-- I hold no bonds.
-- tables: allocation
-- on: allocation

select symbol from allocation where symbol = 'TLT'
"""


@pytest.fixture
def folder(tmp_path):
    own_singular.cache_clear()
    (tmp_path / "no_bonds.sql").write_text(OWN, encoding="utf-8")
    return tmp_path


def rewritten(folder, *changes):
    text = OWN
    for found, instead in changes:
        text = text.replace(found, instead)
    (folder / "no_bonds.sql").write_text(text, encoding="utf-8")
    return folder


def test_a_test_of_ones_own_is_a_blocking_check_of_its_asset(folder):
    specs = {
        (spec.asset_key.path[-1], spec.name): spec
        for checks in contract_checks(("tecl",), folder)
        for spec in checks.check_specs
    }

    assert specs["allocation", "no_bonds"].description == "I hold no bonds."
    assert specs["allocation", "no_bonds"].blocking
    assert "no_bonds" in blocking_checks(("tecl",), folder)["allocation"]
    assert "no_bonds" not in blocking_checks(("tecl",))["allocation"]


def test_a_test_on_signals_is_one_of_every_strategy(folder):
    rewritten(folder, ("allocation", "signals"))

    assert [test.name for test in singular_of("my_own_signal", folder)] == ["no_signal_uses_a_later_bar", "no_bonds"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ([("symbol =", "zymbol =")], r"no_bonds\.sql:5: Binder Error"),
        ([("-- on: allocation", "-- on: bars")], r"no_bonds\.sql:3: on is one of the tables"),
        (
            [
                ("tables: allocation", "tables: allocation, fills"),
                ("from allocation", "from allocation join fills using (symbol)"),
            ],
            r"no_bonds\.sql: on is the last of its tables in the lineage, fills, was allocation",
        ),
        ([("allocation", "tail_backtest"), ("symbol", "zone")], r"tail_backtest is no table of the trading graph"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_its_file(folder, changes, complaint):
    rewritten(folder, *changes)

    with pytest.raises(InvalidInput, match=complaint):
        known_singular(folder)


def test_a_name_that_is_taken_is_refused(folder):
    (folder / "no_bonds.sql").rename(folder / "plan_and_approval_agree.sql")

    with pytest.raises(InvalidInput, match="plan_and_approval_agree, like tests that are built in"):
        known_singular(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"checks\.folder names .*nowhere, which is no folder"):
        known_singular(tmp_path / "nowhere")


def test_what_stands_before_an_order_is_verified_across_tables():
    tables = frames()
    together = {name: tables[name] for name in ("order_plan", "portfolio_snapshot")}

    verified(FRIDAY, **together)
    with pytest.raises(BrokenContract, match="no_order_sells_more_than_is_held"):
        verified(FRIDAY, **together | {"portfolio_snapshot": tables["portfolio_snapshot"].iloc[1:]})


def test_the_gate_counts_singular_tests_up_to_the_approved_orders():
    blocking = blocking_checks(["tecl"])

    assert "no_signal_uses_a_later_bar" in blocking["tecl_signal"]
    assert "contributions_sum_to_the_allocation" in blocking["allocation"]
    assert {"plan_and_approval_agree", "bought_value_within_cash"} <= set(blocking["approved_orders"])
    assert "fills_and_orders_add_up" not in blocking["execution_quality"]


def test_a_table_by_itself_is_verified_by_its_contract():
    tables = frames(approved_orders=(1, {"approved_quantity": Decimal(500)}))

    with pytest.raises(BrokenContract, match="never_more_than_planned"):
        verified(FRIDAY, approved_orders=tables["approved_orders"])


def test_what_was_verified_before_is_referred_to_and_not_verified_again():
    tables = frames()
    names = ("order_plan", "portfolio_snapshot", "asset_catalog", "allocation")
    before = {name: tables[name] for name in names} | {"allocation": tables["allocation"].iloc[:0]}

    with pytest.raises(BrokenContract, match="allocation breaks"):
        verified(FRIDAY, **before)
    verified(FRIDAY, before, approved_orders=tables["approved_orders"])
    with pytest.raises(BrokenContract, match="every_order_is_in_exactly_one_plan"):
        verified(
            FRIDAY, before | {"order_plan": tables["order_plan"].iloc[1:]}, approved_orders=tables["approved_orders"]
        )
