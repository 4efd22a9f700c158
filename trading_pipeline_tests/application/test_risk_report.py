from datetime import date

import numpy as np
import pandas as pd
import pytest

from dbt_like_checks.contract import contract
from dbt_like_checks.generic_tests import Context
from dbt_like_checks.verification import evaluate
from trading_pipeline.application.planning import decisions_to_frame
from trading_pipeline.application.risk_report import codes_counted, counted_frame, report_frame
from trading_pipeline.domain.risk.decisions import Approved, Breach, BreachCode, Denied, Reduced
from trading_pipeline.domain.risk.limits import RiskLimits
from trading_pipeline.domain.risk.report import RiskMeasure, account_measures
from trading_pipeline_tests.risk_states import account, order, risk_state

SESSION = date(2026, 7, 31)


def breach(code, measured="why"):
    return Breach(code, measured, "what was wanted")


def decided(*decisions):
    return decisions_to_frame(decisions, SESSION, "2026-07-31.1")


def test_a_row_says_what_the_measure_says():
    measures = [
        RiskMeasure("position weight", "SPY", 0.2, 0.4, BreachCode.POSITION_WEIGHT),
        RiskMeasure("cash", None, 0.8),
        RiskMeasure("value at risk", "student-t", np.nan, 0.16, BreachCode.VALUE_AT_RISK),
    ]

    frame = report_frame(measures, SESSION)

    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert list(rows[0].values()) == [SESSION, "position weight", "SPY", 0.2, 0.4, 0.5, "POSITION_WEIGHT"]
    assert list(rows[1].values()) == [SESSION, "cash", "account", 0.8, None, None, None]
    assert list(rows[2].values()) == [SESSION, "value at risk", "student-t", None, 0.16, None, "VALUE_AT_RISK"]


def test_the_rows_of_an_account_keep_the_contract():
    state = risk_state(account(cash=-1_000, SPY=20, TECL=30, WHAT=1))

    frame = report_frame(account_measures(state, [order(quantity=3)], RiskLimits(), with_garch=True), SESSION)

    broken = [each.name for each in evaluate(frame, contract("risk_report"), Context(SESSION)) if not each.passed]
    assert broken == []
    assert len(frame) > 25


def test_codes_are_counted_by_what_they_did():
    rows = decided(
        Denied(order(), (breach(BreachCode.POSITION_WEIGHT), breach(BreachCode.WASH_TRADE))),
        Denied(order(), (breach(BreachCode.POSITION_WEIGHT),), (breach(BreachCode.WASH_SALE),)),
        Reduced(order(), order().quantity / 2, (breach(BreachCode.POSITION_WEIGHT),)),
        Approved(order(), (breach(BreachCode.WASH_SALE),)),
        Approved(order()),
    )

    assert codes_counted(rows) == {
        "POSITION_WEIGHT": {"denied": 2, "reduced": 1},
        "WASH_SALE": {"warned": 2},
        "WASH_TRADE": {"denied": 1},
    }


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_orders_without_breaches_count_for_nothing(missing):
    rows = decided(Approved(order())).assign(breaches=missing, warnings=missing)

    assert codes_counted(rows) == {}
    assert counted_frame({}).empty


def test_a_reason_in_words_is_no_code():
    told = "the price moved; WASH_TRADE happened, and POSITION_WEIGHT too"

    rows = decided(Denied(order(), (breach(BreachCode.SYMBOL_HALTED, "halted: POSITION_WEIGHT of others"),)))
    assert codes_counted(rows) == {"SYMBOL_HALTED": {"denied": 1}}
    assert codes_counted(rows.assign(breaches=told.replace("; ", ", "))) == {}


def test_people_read_what_a_code_means():
    [row] = counted_frame({"WASH_SALE": {"warned": 2}}).to_dict("records")

    assert row == {
        "code": "WASH_SALE",
        "denied": 0,
        "reduced": 0,
        "warned": 2,
        "meaning": "The loss of a sale could not be deducted from taxes.",
    }
