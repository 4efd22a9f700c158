from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.application.decision import consolidated
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import SleeveStatus, to_frame
from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.signals import Signal, SignalStatus
from trading_pipeline.domain.signals import to_frame as signal_frame
from trading_pipeline.research.sizing_comparison import AccountRules, allocations_of
from trading_pipeline.settings import StrategySettings
from trading_pipeline_tests.builders import bars_frame
from trading_pipeline_tests.research.evaluations import evaluation_of

DAYS = sessions.sessions_between(date(2026, 7, 1), date(2026, 7, 31))
SHARES = {"nuclear": 0.25, "tecl": 0.75}
WEIGHTS = {"SPY": 0.5, "TECL": 0.5}
NO_BARS = bars_frame({})
UNKNOWN = "rsi(KMLM,10) is missing"


def signal(strategy, session, *, is_known):
    known = Signal(strategy, session, SignalStatus.AVAILABLE, WEIGHTS, None, "00")
    unknown = Signal(strategy, session, SignalStatus.UNAVAILABLE, {}, UNKNOWN, "00")
    return signal_frame(known if is_known else unknown)


def live(known, chosen):
    """The allocations as the asset makes them, each from the rows that the ones before left in their table."""
    found = []
    for session, of_strategy in zip(DAYS, known, strict=False):
        frames = [signal(name, session, is_known=each) for name, each in zip(SHARES, of_strategy, strict=True)]
        before = to_frame(found[-1]) if found else NO_ALLOCATION
        found.append(consolidated(session, frames, before, NO_BARS, [], chosen).allocation)
    return found


NO_ALLOCATION = to_frame(
    consolidated(
        DAYS[0],
        [signal(name, DAYS[0], is_known=True) for name in SHARES],
        pd.DataFrame(columns=["session"]),
        NO_BARS,
        [],
        StrategySettings(capital_shares=SHARES),
    ).allocation
).head(0)


def over_history(known, chosen):
    """The allocations as a backtest makes them, from the evaluation of all sessions at once."""
    rules = AccountRules(
        SHARES,
        {},
        chosen.safe_asset,
        chosen.max_carried_sessions,
        band=0.01,
        equity=Decimal(100_000),
        cool_down_sessions=chosen.breaker_cool_down_sessions,
        safe_assets=chosen.safe_assets,
    )
    days = tuple(DAYS[: len(known)])
    evaluations = {
        name: replace(evaluation_of(*(WEIGHTS if each[place] else UNKNOWN for each in known)), sessions=days)
        for place, name in enumerate(SHARES)
    }
    closes = ClosePanel(days, ("SPY",), np.full((len(days), 1), 100.0))
    return list(allocations_of(evaluations, closes, rules))


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=10),
    st.integers(0, 4),
    st.integers(1, 5),
    st.sampled_from([{}, {"tecl": "SHY"}]),
)
def test_a_breaker_opens_and_closes_on_the_same_sessions_live_and_in_a_backtest(known, carried, cool_down, safe_assets):
    chosen = StrategySettings(
        capital_shares=SHARES,
        max_carried_sessions=carried,
        breaker_cool_down_sessions=cool_down,
        safe_assets=safe_assets,
    )

    found, expected = live(known, chosen), over_history(known, chosen)

    for one, other in zip(found, expected, strict=True):
        assert one.weights == pytest.approx(other.weights)
        assert [(part.symbol, part.status, part.decided_on) for part in one.contributions] == [
            (part.symbol, part.status, part.decided_on) for part in other.contributions
        ]


def test_the_defaults_park_on_the_fourth_session_without_a_signal_and_end_with_the_next_that_has_one():
    found = live([(True, known == "+") for known in "+-----+"], StrategySettings(capital_shares=SHARES))

    assert [each.sleeve("tecl")[0].status for each in found] == [
        SleeveStatus.DECIDED,
        *[SleeveStatus.CARRIED] * 3,
        *[SleeveStatus.FALLBACK] * 2,
        SleeveStatus.DECIDED,
    ]
