import re
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from trading_pipeline.application.decision import consolidated, newest, panel_of, sessions_needed, signal_of
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus, to_frame
from trading_pipeline.domain.bars import COLUMNS, close_panel
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.signals import Signal, SignalStatus
from trading_pipeline.domain.signals import to_frame as signal_frame
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import STRATEGIES, Strategy, tree
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.settings import StrategySettings
from trading_pipeline_tests.builders import bars_frame

EVERY = list(STRATEGIES.values())
NEEDED = sessions_needed(EVERY)
SESSION = date(2026, 7, 30)


@pytest.fixture(scope="module")
def bars(shared_folder) -> pd.DataFrame:
    """Real bars of every symbol that a strategy reads."""
    symbols = sorted({symbol for strategy in EVERY for symbol in tree.symbols(strategy.tree)})
    path = shared_folder / "data" / "bars.parquet"
    frame = pd.read_parquet(path, filters=[("symbol", "in", symbols)]).rename(columns={"date": "session"})
    figures = dict.fromkeys(("open", "high", "low", "close", "volume"), "float64")
    return frame[list(COLUMNS)].astype({"symbol": "str"} | figures)


@pytest.fixture(scope="module")
def history(bars):
    """What each strategy held after every session, evaluated over all of history at once."""
    days = sorted(set(bars["session"]))

    def evaluated(strategy):
        panel = IndicatorPanel.from_closes(
            close_panel(bars, tree.symbols(strategy.tree), days), tree.readings(strategy.tree)
        )
        return evaluate(strategy.tree, panel)

    return {strategy.name: evaluated(strategy) for strategy in EVERY}


def sampled(history, count=6):
    days = history["nuclear"].sessions
    return [days[row] for row in np.random.default_rng(11).integers(len(days) - 900, len(days), count)]


def recent(bars, session, count=NEEDED):
    first = sessions.previous_session(session, count - 1)
    return bars[(bars["session"] >= first) & (bars["session"] <= session)]


def signals(frame, session, smoothing=Smoothing.WILDER, strategies=EVERY):
    panel = panel_of(strategies, frame, session, smoothing)
    return {strategy.name: signal_of(strategy, panel, smoothing) for strategy in strategies}


def test_a_decision_is_the_last_row_of_the_evaluation_over_all_history(bars, history):
    for session in sampled(history):
        found = signals(recent(bars, session), session)

        for name, whole in history.items():
            row = whole.sessions.index(session)
            held = {symbol: weight for symbol, weight in zip(whole.symbols, whole.weights[row], strict=True) if weight}
            assert found[name].session == session
            assert dict(found[name].weights) == pytest.approx(held, rel=0, abs=1e-9)


def test_a_decision_equals_the_expected_answers(bars, shared_folder):
    for name in STRATEGIES:
        golden = pd.read_parquet(shared_folder / "goldens" / f"{name}.parquet")
        golden = golden.assign(session=golden["session"].dt.date)
        days = sorted(set(golden["session"]))
        for session in (days[0], days[len(days) // 2], days[-1]):
            rows = golden[golden["session"] == session]
            expected = dict(zip(rows["symbol"], rows["weight"], strict=True))
            found = signals(recent(bars, session), session)[name]
            assert dict(found.weights) == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("smoothing", Smoothing)
def test_bars_after_the_session_change_nothing(bars, history, smoothing):
    for session in sampled(history, 3):
        first = sessions.previous_session(session, NEEDED - 1)
        known_later = bars[bars["session"] >= first]

        assert signals(known_later, session, smoothing) == signals(recent(bars, session), session, smoothing)


def test_the_inputs_of_a_strategy_do_not_depend_on_which_others_run(bars, history):
    session = history["nuclear"].sessions[-1]

    together = signals(recent(bars, session), session)
    alone = signals(recent(bars, session), session, strategies=[STRATEGIES["tecl"]])

    assert alone["tecl"] == together["tecl"]
    assert together["tecl"].inputs_hash != together["nuclear"].inputs_hash


def test_a_changed_close_changes_the_hash_of_the_inputs(bars, history):
    session = history["tecl"].sessions[-1]
    frame = recent(bars, session)
    touched = (frame["symbol"] == "TQQQ") & (frame["session"] == session)
    moved = frame.assign(close=frame["close"].mask(touched, frame["close"] * 1.001))

    assert signals(frame, session)["tecl"].inputs_hash != signals(moved, session)["tecl"].inputs_hash


@pytest.mark.parametrize("frame", [bars_frame({}), bars_frame({"SPY": {SESSION: 100.0}})], ids=["none", "one"])
def test_without_enough_bars_every_strategy_says_what_is_missing(frame):
    for signal in signals(frame, SESSION).values():
        assert signal.status is SignalStatus.UNAVAILABLE
        assert re.search("is missing$|^no candidate has", signal.reason)


def test_a_decision_needs_twice_the_longest_look_back():
    assert sessions_needed(EVERY) == 2 * max(tree.look_back(strategy.tree) for strategy in EVERY)
    assert sessions_needed(EVERY) >= 2 * 200


BOTH = StrategySettings(capital_shares={"nuclear": 0.375, "tecl": 0.625})
NO_BARS = bars_frame({})


def available(strategy, session=SESSION, **weights):
    return signal_frame(Signal(strategy, session, SignalStatus.AVAILABLE, weights, None, "hash"))


def unavailable(strategy, session=SESSION):
    return signal_frame(Signal(strategy, session, SignalStatus.UNAVAILABLE, {}, "rsi(KMLM,10) is missing", "hash"))


def allocation_of(session, decided_on=None, status=SleeveStatus.DECIDED):
    decided_on = decided_on or session
    return Allocation(
        session,
        (
            Contribution("SMR", "nuclear", 0.375, status, decided_on),
            Contribution("BIL", "tecl", 0.125, status, decided_on),
            Contribution("TECL", "tecl", 0.5, status, decided_on),
        ),
    )


NO_ALLOCATION = to_frame(allocation_of(SESSION)).head(0)


def target_of(frames, previous=NO_ALLOCATION, chosen=BOTH):
    return consolidated(SESSION, frames, previous, NO_BARS, [], chosen).allocation


def test_every_strategy_contributes_its_weights_times_its_share():
    target = target_of([available("nuclear", SMR=0.5, LEU=0.5), available("tecl", TECL=1.0)])

    assert target.weights == pytest.approx({"SMR": 0.1875, "LEU": 0.1875, "TECL": 0.625})


def test_a_strategy_without_a_share_of_capital_is_left_out():
    only = StrategySettings(capital_shares={"tecl": 1.0})

    target = target_of([available("nuclear", SMR=1.0), available("tecl", TECL=1.0)], chosen=only)

    assert target.weights == {"TECL": 1.0}


def carried(previous, **changes):
    frames = [available("nuclear", LEU=1.0), unavailable("tecl")]
    target = target_of(frames, previous, BOTH.model_copy(update=changes))
    return {part.symbol: (part.weight, part.status, part.decided_on) for part in target.sleeve("tecl")}


def test_an_undecided_sleeve_is_carried_from_an_allocation_two_sessions_ago():
    earlier = sessions.previous_session(SESSION, 2)
    older = sessions.previous_session(SESSION, 3)
    other = Allocation(older, (Contribution("SPY", "tecl", 1.0, SleeveStatus.DECIDED, older),))
    stored = pd.concat([to_frame(allocation_of(earlier)), to_frame(other)])

    assert carried(stored) == {
        "BIL": (pytest.approx(0.125), SleeveStatus.CARRIED, earlier),
        "TECL": (pytest.approx(0.5), SleeveStatus.CARRIED, earlier),
    }


def test_a_sleeve_carried_for_too_long_goes_to_the_safe_asset():
    decided_on = sessions.previous_session(SESSION, 4)
    stored = to_frame(allocation_of(sessions.previous_session(SESSION), decided_on, SleeveStatus.CARRIED))

    assert carried(stored, safe_asset="SHY") == {"SHY": (0.625, SleeveStatus.FALLBACK, decided_on)}
    assert set(carried(stored, max_carried_sessions=4)) == {"BIL", "TECL"}


def test_with_nothing_to_carry_an_undecided_sleeve_is_cash():
    assert carried(NO_ALLOCATION) == {"CASH": (0.625, SleeveStatus.CASH, SESSION)}


def test_the_newest_allocation_is_that_of_the_latest_session():
    first, second = allocation_of(sessions.previous_session(SESSION)), allocation_of(SESSION)

    assert newest(pd.concat([to_frame(second), to_frame(first)])) == second
    assert newest(NO_ALLOCATION) is None
    assert replace(first, session=SESSION) != second


def strategy(name, drift_threshold=None):
    return Strategy(name, name, name, tree.Asset("SPY"), drift_threshold)


BEFORE = sessions.previous_session(SESSION, 2)
BETWEEN = sessions.previous_session(SESSION)
# Since the allocation of two sessions ago SMR has gone from 20 to 24 and BIL has earned nothing.
CLOSES = bars_frame(
    {"SMR": {BEFORE: 20.0, BETWEEN: 90.0, SESSION: 24.0}, "BIL": dict.fromkeys((BEFORE, BETWEEN, SESSION), 91.5)}
)
HALVES = {"SMR": 0.5, "BIL": 0.5}


def drifted(bars=CLOSES, threshold=0.1, tecl=None, previous=None):
    """Consolidate a session on which nuclear, half SMR and half BIL two sessions ago, wants the same again."""
    before = [("SMR", "nuclear", 0.25), ("BIL", "nuclear", 0.25), ("SMR", "tecl", 0.25), ("BIL", "tecl", 0.25)]
    parts = tuple(Contribution(*part, SleeveStatus.DECIDED, BEFORE) for part in before)
    stored = to_frame(Allocation(BEFORE, parts)) if previous is None else previous
    frames = [available("nuclear", **HALVES), tecl if tecl is not None else available("tecl", **HALVES)]
    shares = StrategySettings(capital_shares={"nuclear": 0.5, "tecl": 0.5})
    return consolidated(SESSION, frames, stored, bars, [strategy("nuclear", threshold), strategy("tecl")], shares)


def weights_of(consolidation, name):
    return {part.symbol: part.weight for part in consolidation.allocation.sleeve(name)}


def test_a_sleeve_is_held_as_the_closes_since_the_previous_allocation_have_moved_it():
    consolidation = drifted()

    # 0.5 x 24 / 20 = 0.6, of 0.6 + 0.5.
    assert weights_of(consolidation, "nuclear") == pytest.approx({"SMR": 0.5 * 6 / 11, "BIL": 0.5 * 5 / 11})
    assert consolidation.drifts["nuclear"].distance == pytest.approx(6 / 11 - 0.5)


def test_a_strategy_without_a_threshold_takes_its_target_every_session():
    consolidation = drifted()

    assert weights_of(consolidation, "tecl") == {"SMR": 0.25, "BIL": 0.25}
    assert "tecl" not in consolidation.drifts


def test_a_sleeve_that_drifted_beyond_its_threshold_is_rebalanced():
    assert weights_of(drifted(threshold=0.04), "nuclear") == {"SMR": 0.25, "BIL": 0.25}


@pytest.mark.parametrize("session", [BEFORE, SESSION])
def test_without_a_close_at_either_end_the_target_is_taken_and_the_symbol_named(session):
    unknown = CLOSES[~((CLOSES["symbol"] == "SMR") & (CLOSES["session"] == session))]

    consolidation = drifted(unknown)

    assert weights_of(consolidation, "nuclear") == {"SMR": 0.25, "BIL": 0.25}
    assert consolidation.drifts["nuclear"].unpriced == ("SMR",)


UNKNOWN = pytest.approx(np.nan, nan_ok=True)


def test_the_sleeves_say_what_became_of_each_and_why():
    consolidation = drifted(tecl=unavailable("tecl"))

    assert consolidation.sleeves().to_dict("records") == [
        {
            "strategy": "nuclear",
            "status": "held",
            "decided_on": SESSION,
            "drift": pytest.approx(6 / 11 - 0.5),
            "threshold": 0.1,
            "without_close": "",
        },
        {
            "strategy": "tecl",
            "status": "carried",
            "decided_on": BEFORE,
            "drift": UNKNOWN,
            "threshold": UNKNOWN,
            "without_close": "",
        },
    ]


def test_the_sleeves_name_what_hindered_the_measurement():
    [nuclear, _] = drifted(CLOSES[CLOSES["symbol"] == "SMR"]).sleeves().to_dict("records")

    assert (nuclear["status"], nuclear["threshold"], nuclear["without_close"]) == ("decided", 0.1, "BIL")
    assert np.isnan(nuclear["drift"])


def test_without_an_earlier_allocation_no_drift_is_measured():
    assert drifted(previous=NO_ALLOCATION).drifts == {}
