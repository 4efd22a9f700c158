from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trading_pipeline.application.sharded_history import COLUMNS, coverage, evaluations_of, history_of, shards, size_of
from trading_pipeline.application.signal_history import signal_history
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import STRATEGIES, Strategy, tree
from trading_pipeline.domain.strategies.tree import equal, group, if_, price, rsi, sma, specified
from trading_pipeline_tests.generators import SYMBOLS, trees

DAYS = sessions_between(date(2024, 1, 2), date(2024, 3, 28))
FIRST, LAST = DAYS[0], DAYS[-1]
SIZES = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 1000), max_size=30)


def named(name, node):
    return Strategy(name, name.title(), "Some strategy.", node)


def bars(closes, days=DAYS):
    """Make bars of closes, a column a symbol; NaN closes have no bar."""
    frames = [pd.DataFrame({"symbol": symbol, "session": days, "close": values}) for symbol, values in closes.items()]
    return pd.concat(frames).dropna().assign(open=np.nan, high=np.nan, low=np.nan, volume=np.nan)


def wandering(symbols, days, starts=(), seed=5, gaps=0.0):
    """Make bars that wander; symbols begin at ``starts``, and a share of the closes is missing."""
    generator = np.random.default_rng(seed)
    closes = {}
    for place, symbol in enumerate(symbols):
        values = 100 * np.exp(np.cumsum(generator.normal(0, 0.02, len(days))))
        values[generator.random(len(days)) < gaps] = np.nan
        values[: starts[place] if place < len(starts) else 0] = np.nan
        closes[symbol] = values
    return bars(closes, days)


def history(strategies, market, first=FIRST, last=LAST):
    return history_of(strategies, market, first, last, Smoothing.WILDER)


def of(frame, name):
    return frame[frame["strategy"] == name].drop(columns="strategy").reset_index(drop=True)


@given(SIZES, st.integers(1, 12))
def test_every_name_is_in_exactly_one_shard_and_no_shard_is_empty(sizes, count):
    dealt = shards(sizes, count)

    assert sorted(name for names in dealt for name in names) == sorted(sizes)
    assert all(dealt)
    assert len(dealt) == min(count, len(sizes))


@given(SIZES, st.integers(1, 12), st.randoms(use_true_random=False))
def test_the_order_of_the_names_does_not_decide_who_is_dealt_what(sizes, count, random):
    shuffled = random.sample(list(sizes.items()), len(sizes))

    assert shards(dict(shuffled), count) == shards(sizes, count)


@given(SIZES.filter(bool), st.integers(1, 12))
def test_no_shard_has_more_than_its_part_and_one_strategy(sizes, count):
    loads = [sum(sizes[name] for name in names) for names in shards(sizes, count)]

    # Whoever was dealt the last part of the heaviest shard had least before that.
    assert max(loads) <= sum(sizes.values()) / len(loads) + max(sizes.values()) * (1 - 1 / len(loads)) + 1e-9


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_shard_is_refused(count):
    with pytest.raises(InvalidInput, match=f"cannot be dealt to {count} shards; ask for 1 or more"):
        shards({"nuclear": 1}, count)


def test_the_size_of_a_strategy_counts_what_it_says_twice_once():
    assert size_of(named("two", equal("A", "B"))) == 3
    assert size_of(named("same", equal(group("g", equal("A", "B")), group("h", equal("A", "B"))))) == 6


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_strategy_has_the_rows_that_the_signals_command_gives_it(name):
    days = sessions_between(date(2021, 6, 1), date(2023, 6, 30))
    symbols = sorted({symbol for strategy in STRATEGIES.values() for symbol in tree.symbols(strategy.tree)})
    market = wandering(symbols, days, starts=range(0, 3 * len(symbols), 3))
    first, last = date(2022, 9, 1), date(2023, 5, 31)

    found = history(list(STRATEGIES.values()), market, first, last)

    pd.testing.assert_frame_equal(of(found, name), signal_history(STRATEGIES[name], market, first, last))


@pytest.mark.parametrize("name", ["nuclear", "tecl"])
def test_real_history_is_the_expected_one(shared_folder, name):
    market = pd.read_parquet(shared_folder / "data" / "bars.parquet").rename(columns={"date": "session"})
    market = market.astype({"symbol": "str"})
    golden = pd.read_parquet(shared_folder / "goldens" / f"{name}.parquet")
    golden = golden.assign(session=golden["session"].dt.date).sort_values(["session", "symbol"])

    found = of(history(list(STRATEGIES.values()), market, golden["session"].min(), golden["session"].max()), name)

    held = found[(found["status"] == "available") & found["session"].isin(set(golden["session"]))]
    assert list(zip(held["session"], held["symbol"], strict=True)) == list(
        zip(golden["session"], golden["symbol"], strict=True)
    )
    assert held["weight"].to_numpy() == pytest.approx(golden["weight"].to_numpy(), abs=1e-9)


@given(
    st.lists(trees(max_leaves=6), min_size=1, max_size=4),
    st.integers(1, 5),
    st.lists(st.integers(0, 50), min_size=len(SYMBOLS), max_size=len(SYMBOLS)),
    st.integers(0, 10_000),
)
@example([equal("A"), if_(sma(group("g", equal("A", "B")), 3) > 1, "C", "D")], 2, [0, 20, 0, 0], 1)
def test_sharding_into_any_number_changes_nothing(nodes, count, starts, seed):
    market = wandering(SYMBOLS, DAYS, starts, seed, gaps=0.05)
    strategies = {f"s{place}": named(f"s{place}", node) for place, node in enumerate(nodes)}
    dealt = shards({name: size_of(strategy) for name, strategy in strategies.items()}, count)

    parts = [history([strategies[name] for name in names], market, DAYS[10], LAST) for names in dealt]

    whole = history(list(strategies.values()), market, DAYS[10], LAST)
    sharded = pd.concat(parts).sort_values("strategy", kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(sharded, whole)
    for name in set(whole["strategy"]):
        pd.testing.assert_frame_equal(of(whole, name), signal_history(strategies[name], market, DAYS[10], LAST))


def test_a_reading_that_several_strategies_share_is_computed_once(monkeypatch):
    asked = []
    from_closes = IndicatorPanel.from_closes

    def counted(closes, readings, smoothing):
        asked.append(sorted(map(str, readings)))
        return from_closes(closes, readings, smoothing)

    monkeypatch.setattr(IndicatorPanel, "from_closes", counted)
    history([named("one", if_(rsi("A", 3) > 50, "A", "B")), named("two", if_(rsi("A", 3) < 30, "B", "A"))],
            wandering(SYMBOLS, DAYS))  # fmt: skip

    assert len(asked) == 1
    assert asked[0].count("rsi(A,3)") == 1


def test_a_strategy_has_no_rows_before_the_bars_of_its_symbols_begin_and_that_is_counted():
    market = wandering(["A", "B"], DAYS, starts=[0, 20])
    strategies = [named("early", equal("A")), named("late", equal("B")), named("never", equal("C"))]

    found = history(strategies, market)
    table = coverage(found, ["early", "late", "never"], FIRST, LAST).set_index("strategy")

    assert of(found, "late")["session"].tolist() == list(DAYS[20:])
    assert of(found, "never").empty
    assert table["asked"].tolist() == [len(DAYS)] * 3
    assert table["answered"].tolist() == [len(DAYS), len(DAYS) - 20, 0]
    assert table["without_bars"].tolist() == [0, 20, len(DAYS)]
    assert table["since"].tolist() == [FIRST, DAYS[20], None]
    assert table["through"].tolist() == [LAST, LAST, None]


def test_undecided_sessions_are_counted():
    market = wandering(["A"], DAYS)
    found = history([named("slow", if_(price("A") > sma("A", 11), "A", "A"))], market)

    [row] = coverage(found, ["slow"], FIRST, LAST).to_dict("records")

    assert (row["answered"], row["undecided"], row["without_bars"]) == (len(DAYS), 10, 0)


def test_bars_after_the_last_session_change_nothing():
    strategy = named("any", if_(rsi("A", 3) > 50, "A", "B"))
    whole = wandering(["A", "B"], DAYS)
    cut = whole[whole["session"] <= DAYS[30]]

    pd.testing.assert_frame_equal(history([strategy], whole, last=DAYS[30]), history([strategy], cut, last=DAYS[30]))


def test_without_any_bars_there_is_a_frame_without_rows():
    found = history([named("never", equal("C"))], wandering(["A"], DAYS))

    assert found.empty
    assert tuple(found.columns) == COLUMNS


def test_whatever_a_strategy_raises_bears_its_name(monkeypatch):
    def fail(node, panel, smoothing):
        raise MemoryError if node == equal("B") else AssertionError

    monkeypatch.setattr("trading_pipeline.application.sharded_history.evaluate", fail)

    with pytest.raises(MemoryError) as caught:
        history([named("greedy", equal("B"))], wandering(["A", "B"], DAYS))

    assert caught.value.__notes__ == ["while evaluating strategy greedy"]


def test_evaluations_are_read_back_from_their_rows():
    market = wandering(["A", "B", "C"], DAYS, starts=[0, 0, 15])
    mixed = named("mixed", if_(price("A") > sma("A", 5), specified((0.25, "A"), (0.75, "B")), "C"))
    never = named("never", if_(rsi("A", 500) > 50, "A", "B"))

    found = history([mixed, never], market)
    evaluations = evaluations_of(found)

    assert list(evaluations) == ["mixed", "never"]
    rows = [
        (session, symbol, weight)
        for session, weights in zip(evaluations["mixed"].sessions, evaluations["mixed"].weights, strict=True)
        for symbol, weight in zip(evaluations["mixed"].symbols, weights, strict=True)
        if weight > 0
    ]
    held = of(found, "mixed").dropna(subset=["symbol"])
    assert rows == list(zip(held["session"], held["symbol"], held["weight"], strict=True))
    undecided = of(found, "mixed").query("status == 'unavailable'").set_index("session")["reason"]
    found_reasons = {day: evaluations["mixed"].reason(row) for row, day in enumerate(evaluations["mixed"].sessions)}
    assert {day: reason for day, reason in found_reasons.items() if reason} == undecided.to_dict()
    assert np.isnan(evaluations["never"].weights).all()
    assert evaluations["never"].symbols == ("A", "B", "C")
    assert not evaluations["never"].available.any()
    assert evaluations["never"].reason(0) == "rsi(A,500) is missing"
