from datetime import date

import numpy as np
import pandas as pd
import pytest

from trading_pipeline.application.signal_history import signal_history, variant_history
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline.domain.strategies import STRATEGIES, Strategy
from trading_pipeline.domain.strategies.tree import bottom, cumret, equal, group, if_, rsi, top

DAYS = sessions_between(date(2024, 1, 2), date(2024, 1, 31))
COLUMNS = ["session", "variant", "symbol", "weight", "sdret2", "status", "reason", "chosen"]
CALM, WILD = group("calm", equal("A", "B")), group("wild", "C")
# Decided from the third session on, and again not when A falls.
PICKY = group("picky", if_(cumret("A", 2) > 0, "C", if_(rsi("D", 2) > 50, "A", "B")))


def named(tree):
    return Strategy("ensemble", "Ensemble", "Some variants.", tree)


def ranked(*variants, count=1):
    return named(top(count, *variants, by=Indicator.RETURN_DEVIATION, window=2))


def bars(**closes):
    """Make bars of closes that repeat; NaN closes have no bar."""
    frames = [
        pd.DataFrame({"symbol": symbol, "session": DAYS, "close": np.resize(values, len(DAYS))})
        for symbol, values in closes.items()
    ]
    return pd.concat(frames).dropna().assign(open=np.nan, high=np.nan, low=np.nan, volume=np.nan)


LIVELY = bars(A=[100.0, 101.0], B=[50.0, 50.5], C=[10.0, 12.0])


def test_each_variant_has_a_row_per_session_and_symbol_in_the_order_listed():
    history = variant_history(ranked(CALM, WILD), LIVELY)

    assert history.columns.tolist() == COLUMNS
    assert list(zip(history["variant"], history["symbol"], strict=True)) == [
        ("calm", "A"),
        ("calm", "B"),
        ("wild", "C"),
    ] * len(DAYS)
    assert history["session"].tolist() == sorted([*DAYS] * 3)
    assert history["weight"].tolist() == [0.5, 0.5, 1.0] * len(DAYS)
    assert set(history["status"]) == {"available"}


def test_the_ranking_value_is_the_reading_of_the_variants_own_series():
    last = variant_history(ranked(CALM, WILD), LIVELY).set_index("variant").groupby("variant").last()

    # Two returns, up and down again: their deviation is their difference over the root of two.
    assert last.loc["wild", "sdret2"] == pytest.approx((20 + 100 / 6) / np.sqrt(2))
    assert last.loc["calm", "sdret2"] == pytest.approx((1 + 100 / 101) / np.sqrt(2))


def test_the_chosen_variant_is_the_one_that_the_strategy_held():
    strategy = ranked(CALM, WILD)
    history, variants = signal_history(strategy, LIVELY), variant_history(strategy, LIVELY)

    chosen = variants[variants["chosen"]].reset_index(drop=True)
    available = history[history["status"] == "available"].reset_index(drop=True)
    pd.testing.assert_frame_equal(chosen[["session", "symbol", "weight"]], available[["session", "symbol", "weight"]])
    assert set(chosen["variant"]) == {"wild"}


def test_a_variant_without_a_ranking_value_keeps_its_holdings_and_says_why_it_was_left_out():
    early = variant_history(ranked(CALM, WILD), LIVELY, last=DAYS[1])

    assert early["sdret2"].isna().all()
    assert early["reason"].tolist() == [f"sdret({name},2) is missing" for name in ("calm", "calm", "wild")] * 2
    assert not early["chosen"].any()


def test_a_variant_that_cannot_be_decided_is_one_row_with_the_reason_while_the_others_go_on():
    history = variant_history(ranked(PICKY, CALM), LIVELY, first=DAYS[5], last=DAYS[5])

    assert history["variant"].tolist() == ["picky", "calm", "calm"]
    assert history["status"].tolist() == ["unavailable", "available", "available"]
    assert history["reason"].tolist()[0] == "rsi(D,2) is missing"
    assert history["reason"].isna().tolist() == [False, True, True]
    assert history[["symbol", "weight", "sdret2"]].isna().all(axis=1).tolist() == [True, False, False]
    assert history["chosen"].tolist() == [False, True, True]


def test_a_variant_that_held_what_had_no_return_names_it():
    listed_late = pd.concat(
        [LIVELY[LIVELY["symbol"] != "C"], LIVELY[LIVELY["session"] >= DAYS[9]].query("symbol == 'C'")]
    )

    history = variant_history(ranked(CALM, WILD), listed_late, first=DAYS[9], last=DAYS[9])

    assert history["reason"].tolist()[-1] == "sdret(wild,2) is missing because price(C) is missing"
    assert history["chosen"].tolist() == [True, True, False]


def test_a_tie_goes_to_the_variant_listed_first():
    twin = group("twin", "C")

    history = variant_history(ranked(CALM, twin, WILD), LIVELY, first=DAYS[-1])

    assert dict(zip(history["variant"], history["chosen"], strict=True)) == {"calm": False, "twin": True, "wild": False}


def test_a_strategy_that_holds_several_variants_chose_them_all():
    history = variant_history(ranked(CALM, WILD, group("idle", "A"), count=2), LIVELY, first=DAYS[-1])

    assert history.groupby("variant")["chosen"].all().to_dict() == {"calm": True, "idle": False, "wild": True}


def test_the_column_is_named_by_what_ranks():
    ranking = bottom(1, CALM, WILD, by=Indicator.MAX_DRAWDOWN, window=5)

    assert "mdd5" in variant_history(named(ranking), LIVELY).columns
    assert "mdd5" in variant_history(named(group("all", equal(ranking))), LIVELY).columns


def test_a_range_equals_that_part_of_all_history():
    strategy = ranked(CALM, WILD)
    whole = variant_history(strategy, LIVELY)

    part = variant_history(strategy, LIVELY, DAYS[6], DAYS[8])

    wanted = whole[whole["session"].between(DAYS[6], DAYS[8])].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, wanted)


@pytest.mark.parametrize(
    "tree",
    [
        STRATEGIES["tecl"].tree,
        equal(CALM, WILD),
        top(1, "A", "B", by=Indicator.RSI, window=5),
        top(1, CALM, "B", by=Indicator.RSI, window=5),
    ],
)
def test_a_strategy_that_ranks_no_groups_has_no_variants(tree):
    with pytest.raises(InvalidInput, match="ensemble has no variants: it is not a filter over groups"):
        variant_history(named(tree), LIVELY)
