import math
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from trading_pipeline.application.planning import valued_at
from trading_pipeline.application.plans import model_portfolio
from trading_pipeline.application.risk_inputs import HISTORY_SESSIONS, KnownFacts, RiskQuestion, modelled_state
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.limits import FAMILIES, RiskLimits
from trading_pipeline.domain.risk.trading_state import ACTIVE
from trading_pipeline.research.risk_history import PlanRules, _Market, risk_history
from trading_pipeline.research.rule_history import RuleKind

LAST = date(2026, 7, 31)
DAYS = sessions.sessions_between(date(2023, 7, 3), LAST)
JUDGED = DAYS[-6:]
SYMBOLS = ("BIL", "SPY", "TECL")
RULES = PlanRules(Decimal(100_000), Decimal("0.1"))
LOOSE = RiskLimits(max_value_at_risk=None, max_expected_shortfall=None)


def bars_of(seed=5, **changed):
    moves = np.random.default_rng(seed).normal(0, 0.01, (len(DAYS), len(SYMBOLS)))
    closes = 100 * np.cumprod(1 + moves, axis=0)
    parts = [
        pd.DataFrame(
            {
                "symbol": symbol,
                "session": list(DAYS),
                "open": closes[:, place],
                "high": closes[:, place] * 1.02,
                "low": closes[:, place] * 0.97,
                "close": closes[:, place],
                "volume": changed.get(symbol, 1e7),
            }
        )
        for place, symbol in enumerate(SYMBOLS)
    ]
    return pd.concat(parts, ignore_index=True)


BARS = bars_of()


def wanted(day, **weights):
    parts = tuple(Contribution(symbol, "one", weight, SleeveStatus.DECIDED, day) for symbol, weight in weights.items())
    return Allocation(day, parts)


def targets(*holdings):
    return [wanted(day, **held) for day, held in zip(JUDGED[-len(holdings) :], holdings, strict=True)]


def history(*holdings, bars=BARS, families=None, rules=RULES):
    found = risk_history({"one": targets(*holdings)}, bars, catalogue(), families or {"loose": LOOSE}, rules)
    return found.accounts[0]


def rules_of(account, family="loose", kind=RuleKind.ORDER):
    return {each.rule: each for each in account.rules if each.family == family and each.kind is kind}


def acted(account, family="loose"):
    return {name: len(each.actions) for name, each in rules_of(account, family).items() if each.actions}


TECL, SPY, BOTH = {"TECL": 1.0}, {"SPY": 1.0}, {"SPY": 0.5, "TECL": 0.5}


def test_a_rotation_from_fund_to_fund_breaks_nothing_of_its_family():
    found = history(SPY, TECL, TECL, BOTH, SPY)

    assert acted(found) == {}
    assert found.sessions == JUDGED[-4:]
    # Out and in; nothing; half out and half in, twice.
    assert (found.sessions_with_orders, found.orders) == (3, 6)


def test_what_breaks_a_limit_is_counted_by_code_and_session():
    found = history(SPY, TECL, SPY, TECL, families={"loose": replace(LOOSE, max_leveraged_weight=Decimal("0.5"))})

    rule = rules_of(found)["LEVERAGED_WEIGHT"]
    assert acted(found) == {"LEVERAGED_WEIGHT": 2}
    assert [(action.session, action.denied, action.reduced) for action in rule.actions] == [
        (JUDGED[-3], 0, 1),
        (JUDGED[-1], 0, 1),
    ]
    assert (rule.highest, rule.limit) == (pytest.approx(1), 0.5)


def test_an_order_that_no_quantity_saves_counts_as_denied():
    found = history(SPY, TECL, families={"loose": replace(LOOSE, max_strategy_share=Decimal("0.5"))})

    [action] = rules_of(found)["STRATEGY_SHARE"].actions
    assert (action.denied, action.reduced, action.warned) == (1, 0, 0)


def test_families_are_judged_on_the_same_orders():
    found = history(SPY, TECL, families={"loose": LOOSE, "ordinary": FAMILIES["ordinary"]})

    assert acted(found) == {}
    assert {"LEVERAGED_WEIGHT", "EFFECTIVE_LEVERAGE", "CONCENTRATION"} <= acted(found, "ordinary").keys()


def test_each_session_is_judged_as_if_all_orders_before_had_filled():
    families = {"loose": replace(LOOSE, max_leveraged_weight=Decimal("0.5"))}

    one = history(SPY, TECL, SPY, families=families)

    # The second session sells the whole fund, of which the first could have bought only half.
    assert acted(one) == {"LEVERAGED_WEIGHT": 1}


def test_a_symbol_without_enough_returns_is_denied_for_as_long():
    short = BARS[(BARS["symbol"] != "TECL") | (BARS["session"] >= DAYS[-100])]

    strict = {"loose": RiskLimits()}
    assert acted(history(SPY, TECL, bars=short, families=strict)) == {"INPUT_MISSING": 1}
    assert acted(history(SPY, TECL, families=strict)) == {}


def test_a_thinly_traded_fund_reduces_the_order_and_what_its_sale_was_to_pay():
    found = history(SPY, TECL, bars=bars_of(SPY=1e4))

    assert {"PARTICIPATION", "BUYING_POWER", "GROSS_LEVERAGE"} <= acted(found).keys()


def test_the_state_is_the_one_of_a_plan_without_an_account():
    market = _Market(BARS, JUDGED, catalogue(), RULES)
    after = wanted(JUDGED[-1], **BOTH)
    closes = {
        row["symbol"]: Decimal(repr(row["close"])) for row in BARS[BARS["session"] == JUDGED[-1]].to_dict("records")
    }
    held = valued_at(
        model_portfolio(wanted(JUDGED[-2], **SPY), closes, catalogue(), RULES.equity, sessions.close_of(JUDGED[-1])),
        closes,
    )
    recent = BARS[BARS["session"] >= DAYS[-HISTORY_SESSIONS]]
    question = RiskQuestion(
        held, frozenset({"SPY", "TECL"}), sessions.next_session(JUDGED[-1]), sessions.close_of(JUDGED[-1])
    )
    orders = [type("Order", (), {"symbol": symbol})() for symbol in ("SPY", "TECL")]

    found = market.state(held, orders, after)

    expected = modelled_state(question, after, ACTIVE, KnownFacts(found.assets, catalogue(), recent))
    assert np.array_equal(found.scenarios.historical, expected.scenarios.historical)
    assert np.array_equal(found.scenarios.filtered, expected.scenarios.filtered)
    assert found.scenarios.sessions == expected.scenarios.sessions
    for symbol in ("SPY", "TECL"):
        assert float(found.average_dollar_volumes[symbol]) == pytest.approx(
            float(expected.average_dollar_volumes[symbol])
        )
    same = {"scenarios": None, "average_dollar_volumes": None}
    assert replace(found, **same) == replace(expected, **same)


def test_the_figures_are_those_of_the_account_that_was_wanted():
    found = history(SPY, TECL, TECL)

    assert found.figures[BreachCode.EFFECTIVE_LEVERAGE] == pytest.approx([3, 3], rel=1e-6)
    assert found.figures[BreachCode.SESSION_TURNOVER] == pytest.approx([2, 0], abs=1e-6)
    assert (found.figures[BreachCode.EXPECTED_SHORTFALL] > 0.01).all()


def test_what_was_held_moves_with_its_bars():
    found = history(SPY, SPY, SPY)

    closes = BARS[BARS["symbol"] == "SPY"]["close"].to_numpy()
    moves = closes[-2:] / closes[-3:-1]
    falls = rules_of(found, "any", RuleKind.EXTREMES)
    # The low of a session is 3 % below its close.
    assert falls["daily loss: warning"].highest == pytest.approx((1 - 0.97 * moves).max())
    assert falls["intraday drawdown: warning"].highest == pytest.approx(1 - 0.97 / 1.02)


def test_what_has_no_price_was_cash_and_its_worth_is_unknown():
    gap = BARS[(BARS["symbol"] != "SPY") | (BARS["session"] != JUDGED[-1])]

    found = history(SPY, TECL, bars=gap)

    assert found.orders == 1
    assert math.isnan(rules_of(found, "any", RuleKind.CLOSES)["daily loss: warning"].highest)


def test_a_row_for_every_rule_tells_of_those_that_never_acted_too():
    frame = risk_history(
        {"one": targets(SPY, TECL), "two": targets(SPY, SPY)}, BARS, catalogue(), dict(FAMILIES), RULES
    ).to_frame()

    key = ["session", "strategy", "family", "kind", "rule"]
    assert not frame.duplicated(key).any()
    assert set(frame[frame["kind"] == "order"]["rule"]) == {code.value for code in BreachCode}
    assert set(frame["session"]) == {JUDGED[-1]}
    idle = frame[(frame["strategy"] == "two") & (frame["kind"] == "order")]
    assert idle["sessions_acted"].sum() == idle["orders"].sum() == 0
    assert frame["last_acted"].isna().any()


@pytest.mark.parametrize(
    "accounts", [{}, {"one": targets(SPY)}, {"one": targets(SPY, SPY), "two": targets(SPY, SPY, SPY)}]
)
def test_accounts_without_sessions_in_common_are_refused(accounts):
    with pytest.raises(InvalidInput, match="over the same two or more sessions"):
        risk_history(accounts, BARS, catalogue(), {"loose": LOOSE}, RULES)
