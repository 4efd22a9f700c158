import json
import math

import pytest
from hypothesis import example, given, settings

from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies.nuclear import NUCLEAR
from trading_pipeline.domain.strategies.rationale import explain
from trading_pipeline.domain.strategies.rationale_data import to_data
from trading_pipeline.domain.strategies.rationale_text import (
    LineKind,
    closest_call,
    fraction,
    outline,
    shortened,
    sketch,
    to_text,
)
from trading_pipeline.domain.strategies.tree import (
    Asset,
    cumret,
    equal,
    group,
    if_,
    inverse_volatility,
    mdd,
    price,
    rsi,
    sma,
    specified,
    top,
)
from trading_pipeline_tests.domain.strategies.test_reference import TREES, markets
from trading_pipeline_tests.domain.strategies.test_reference import panel_of as panel_of_market


@pytest.fixture
def explained(panel_of):
    def of(node, readings=None):
        return explain(node, panel_of(node, readings or {}))

    return of


@pytest.fixture
def text(explained):
    def of(node, readings=None):
        return to_text(explained(node, readings), "mine")

    return of


LEADERS = {
    "maret(SMR,90)": 1,
    "maret(BWXT,90)": 3,
    "maret(LEU,90)": 2,
    "maret(EXC,90)": 0.5,
    "maret(OKLO,90)": math.nan,
}


def test_the_text_of_a_bull_market_is_what_a_trader_would_say(text):
    assert text(NUCLEAR, LEADERS | {"price(SPY)": 106, "rsi(XLF,10)": 78.9}).splitlines() == [
        "mine, session 2024-01-01: BWXT 1/3, LEU 1/3, SMR 1/3",
        "  rsi(SPY,10) = 50.00 > 79?                     no, by 29.00",
        "  rsi(IOO,10) = 50.00 > 79?                     no, by 29.00",
        "  rsi(TQQQ,10) = 50.00 > 79?                    no, by 29.00",
        "  rsi(VTV,10) = 50.00 > 79?                     no, by 29.00",
        "  rsi(XLF,10) = 78.90 > 79?                     no, by 0.10",
        "  rsi(VOX,10) = 50.00 > 79?                     no, by 29.00",
        "  rsi(TQQQ,10) = 50.00 < 30?                    no, by 20.00",
        "  rsi(SPY,10) = 50.00 < 30?                     no, by 20.00",
        "  price(SPY) = 106.00 > sma(SPY,200) = 100.00?  yes, by 6.00 (5.7%)",
        "  top 3 by maret(90):                           SMR before EXC, by 0.50%",
        "    1.  BWXT                                    3.00%, kept",
        "    2.  LEU                                     2.00%, kept",
        "    3.  SMR                                     1.00%, kept",
        "    4.  EXC                                     0.50%",
        "    5.  NLR                                     0.00%",
        "    -   OKLO                                    left out: maret(OKLO,90) is missing",
        "closest: rsi(XLF,10) = 78.90 against 79, by 0.10",
    ]


def test_a_reading_close_to_its_threshold_is_shown_with_the_decimals_that_tell_them_apart(text):
    assert "rsi(A,10) = 78.99960 > 79?  no, by 0.00040" in text(
        if_(rsi("A", 10) > 79, "X", "Y"), {"rsi(A,10)": 78.9996}
    )


@pytest.mark.parametrize(("reading", "answer"), [(79, "no, equal"), (79 + 1e-12, "no, equal but for rounding")])
def test_equality_is_said(text, reading, answer):
    assert f"rsi(A,10) = 79.00 > 79?  {answer}" in text(if_(rsi("A", 10) > 79, "X", "Y"), {"rsi(A,10)": reading})


def test_an_unavailable_session_says_why_and_where_the_path_ends(text):
    assert text(NUCLEAR, {"rsi(SPY,10)": math.nan}).splitlines() == [
        "mine, session 2024-01-01: unavailable, rsi(SPY,10) is missing",
        "  rsi(SPY,10) = missing > 79?  cannot tell",
    ]


def test_combined_conditions_are_shown_part_by_part(text):
    condition = ((rsi("A", 10) > 60) & ~(cumret("B", 6) < -12)) | (rsi("C", 10) < 30)

    assert text(if_(condition, "X", "Y"), {"rsi(A,10)": 65, "rsi(C,10)": math.nan}).splitlines()[1:] == [
        "  any of:                           yes",
        "    all of:                         yes",
        "      rsi(A,10) = 65.00 > 60?       yes, by 5.00",
        "      not:                          yes",
        "        cumret(B,6) = 0.00% < -12?  no, by 12.00%",
        "    rsi(C,10) = missing < 30?       cannot tell",
        "  hold X",
        "closest: rsi(A,10) = 65.00 against 60, by 5.00",
    ]


def test_parts_are_shown_below_each_other_and_a_block_only_once(text):
    block = if_(rsi("A", 10) > 79, "UVXY", specified((0.75, "BIL"), (0.25, "BTAL")))

    assert text(equal(group("first", block), if_(price("B") > sma("B", 20), "B", block))).splitlines() == [
        "mine, session 2024-01-01: BIL 75%, BTAL 25%",
        "    50% first:",
        "      rsi(A,10) = 50.00 > 79?                  no, by 29.00",
        "        75% BIL",
        "        25% BTAL",
        "    50% to",
        "      price(B) = 100.00 > sma(B,20) = 100.00?  no, equal",
        "      as above: rsi(A,10) > 79?",
        "closest: price(B) = 100.00 against sma(B,20) = 100.00, equal",
    ]


def test_inverse_volatility_says_what_each_child_gets(text):
    said = text(inverse_volatility(14, "A", "B"), {"sdret(A,14)": 1, "sdret(B,14)": 3})

    assert [line.split() for line in said.splitlines()[1:]] == [
        ["inverse", "volatility", "of", "14", "sessions:"],
        ["A", "sdret(A,14)", "=", "1.00%,", "gets", "75%"],
        ["B", "sdret(B,14)", "=", "3.00%,", "gets", "25%"],
    ]


@pytest.mark.parametrize(
    ("weight", "shown"), [(1.0, "100%"), (2 / 3, "2/3"), (1 / 7, "1/7"), (0.05, "5%"), (0.0625, "6.25%"), (0.0, "0%")]
)
def test_fractions_are_written_as_people_write_them(weight, shown):
    assert fraction(weight) == shown


@pytest.mark.parametrize(
    ("node", "shown"),
    [
        (Asset("A"), "A"),
        (group("Bear 1", "A"), "Bear 1"),
        (specified((0.75, "A"), (0.25, equal("B", "C"))), "75% A, 25% of B, C"),
        (inverse_volatility(14, "A", "B"), "inverse volatility of 14 sessions: A, B"),
        (top(1, *"ABCDEFG", by=Indicator.RSI, window=9), "top 1 by rsi(9) of A, B, C, D, 3 more"),
        (if_(price("A") > sma("A", 20), "A", "B"), "price(A) > sma(A,20)? leads to A, B"),
        (if_(~(rsi("A", 10) > 82.5), "A", "B"), "not rsi(A,10) > 82.5? leads to A, B"),
        (if_((rsi("A", 9) > 1) | (rsi("B", 9) > 1), "A", "B"), "rsi(A,9) > 1 or more? leads to A, B"),
        (if_((rsi("A", 9) > 1) & (rsi("B", 9) > 1), "A", "B"), "rsi(A,9) > 1 and more? leads to A, B"),
    ],
)
def test_what_was_not_taken_is_sketched_in_one_line(node, shown):
    assert sketch(node) == shown


def test_the_side_that_was_not_taken_is_said_of_each_test(explained):
    lines = outline(explained(if_(rsi("A", 10) > 79, "UVXY", "BIL")))

    assert [(line.kind, line.not_taken, line.is_closest) for line in lines] == [
        (LineKind.TEST, "yes: UVXY", True),
        (LineKind.HELD, "", False),
    ]


def test_what_steers_a_terminal_is_not_printed(text):
    said = text(group("a\x1b[31m\nname", "A"))

    assert "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}name:" in said
    assert all(line.isprintable() for line in said.splitlines())


def test_a_long_path_can_be_shown_without_its_middle(explained):
    tree = Asset("A")
    for level in range(500):
        tree = if_(rsi("A", 10) > 60 + level / 100, "B", tree)
    rationale = explained(tree)

    lines = outline(rationale)
    assert len(lines) == 501
    assert shortened(lines, None) == lines
    short = shortened(lines, 20)
    assert (len(short), short[10].text) == (21, "... 481 lines more ...")
    assert (short[0], short[-1]) == (lines[0], lines[-1])
    assert len(to_text(rationale, "mine", 20).splitlines()) == 23


def test_nothing_that_was_compared_is_no_closest_call(explained):
    assert closest_call(explained(equal("A", "B"))) == ""


@settings(deadline=None, max_examples=100)
@example(tree=if_(mdd("A", 1) > rsi("A", 2), "A", "A"), market={symbol: [8.0] for symbol in "ABCD"})
@given(tree=TREES, market=markets())
def test_every_path_has_a_text_and_data_that_json_can_hold(tree, market):
    rationale = explain(tree, panel_of_market(market, tree, Smoothing.WILDER))

    said = to_text(rationale, "mine")
    assert all(line == line.rstrip() for line in said.splitlines())
    assert len(outline(rationale)) >= 1
    data = json.loads(json.dumps(to_data(rationale), allow_nan=False))
    assert len(data["steps"]) == len(rationale.steps)
    held = {step["symbol"]: step["share"] for step in data["steps"] if step["kind"] == "asset"}
    if data["status"] == "available":
        assert held == pytest.approx(data["weights"])
        assert data["reason"] is None
    else:
        assert data["weights"] == {}
        assert data["reason"]


def test_the_data_of_a_test_and_of_the_closest_call_have_stable_keys(explained):
    data = to_data(explained(if_(rsi("A", 10) > 79, "UVXY", "BIL")))

    gap = {
        "left": {"name": "rsi(A,10)", "value": 50.0},
        "right": {"name": "79", "value": 79.0},
        "distance": -29.0,
        "closeness": pytest.approx(0.29),
    }
    assert data == {
        "session": "2024-01-01",
        "status": "available",
        "reason": None,
        "weights": {"BIL": 1.0},
        "closest": {"step": 0, **gap},
        "steps": [
            {
                "kind": "if",
                "share": 1.0,
                "test": {"text": "rsi(A,10) > 79", "truth": False, "operator": ">", **gap},
                "taken": "otherwise",
                "not_taken": "UVXY",
                "branches": [{"step": 1, "weight": 1.0}],
            },
            {"kind": "asset", "share": 1.0, "symbol": "BIL", "branches": []},
        ],
    }


def test_the_data_of_rankings_and_weights_have_stable_keys(explained):
    ranking = top(1, "A", "B", by=Indicator.RSI, window=10)
    tree = specified((0.5, group("ranked", ranking)), (0.5, inverse_volatility(14, "A", "C")))

    split, calm, entered, ranked, *_ = to_data(explained(tree, {"rsi(B,10)": math.nan, "sdret(A,14)": 0}))["steps"]

    assert (split["kind"], split["equal"], len(split["branches"])) == ("split", False, 2)
    assert (entered["kind"], entered["name"]) == ("group", "ranked")
    assert calm["children"] == [
        {"child": "A", "deviation": 0.0, "weight": None},
        {"child": "C", "deviation": 1.0, "weight": None},
    ]
    assert (ranked["end"], ranked["count"], ranked["indicator"], ranked["window"]) == ("top", 1, "rsi", 10)
    assert ranked["gap"] is None
    assert ranked["candidates"] == [
        {"candidate": "A", "reading": 50.0, "place": 1, "standing": "kept", "reason": None},
        {
            "candidate": "B",
            "reading": None,
            "place": None,
            "standing": "missing",
            "reason": "rsi(B,10) is missing",
        },
    ]


def test_the_data_of_combined_conditions_nest(explained):
    [step, _] = to_data(explained(if_((rsi("A", 10) > 79) | ~(rsi("B", 10) > 79), "X", "Y")))["steps"]

    test = step["test"]
    assert (test["connective"], test["truth"], [part["truth"] for part in test["parts"]]) == ("or", True, [False, True])
    assert (test["parts"][1]["connective"], test["parts"][1]["parts"][0]["text"]) == ("not", "rsi(B,10) > 79")
