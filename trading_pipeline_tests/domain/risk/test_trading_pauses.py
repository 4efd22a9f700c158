from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.instruments import Instrument, catalogue
from trading_pipeline.domain.risk.trading_pauses import (
    Bands,
    LimitState,
    MarketBreaker,
    Tier,
    Trade,
    inferred_halt,
    is_doubled,
    is_silent,
    limit_state,
    luld_bands,
    market_breaker,
    reference_price,
    tier_of,
)
from trading_pipeline.domain.sessions import NEW_YORK, open_of

FRIDAY = date(2026, 7, 31)
HALF_DAY = date(2026, 11, 27)
PATIENCE = timedelta(minutes=5)
prices = st.decimals("0.01", 5_000, places=4)


def at(text, day=FRIDAY):
    return datetime.combine(day, time.fromisoformat(text), NEW_YORK)


def bands(reference, close, tier=Tier.ONE, **changes):
    return luld_bands(Decimal(reference), Decimal(close), tier, **changes)


def fell(percent, when, before=None):
    return market_breaker(Decimal(100) - Decimal(percent), Decimal(100), at(when), before)


@pytest.mark.parametrize(
    ("reference", "close", "tier", "lower", "upper"),
    [
        ("100", "3.01", Tier.ONE, "95", "105"),
        ("100", "3.01", Tier.TWO, "90", "110"),
        ("3", "3", Tier.ONE, "2.4", "3.6"),
        ("3", "3", Tier.TWO, "2.4", "3.6"),
        ("1", "0.75", Tier.TWO, "0.8", "1.2"),
        ("0.74", "0.74", Tier.ONE, "0.59", "0.89"),
        ("0.10", "0.10", Tier.TWO, "0.025", "0.175"),
    ],
)
def test_bands_have_the_width_of_the_plan(reference, close, tier, lower, upper):
    assert bands(reference, close, tier) == Bands(Decimal(lower), Decimal(upper))


def test_the_previous_close_decides_on_the_width_and_not_the_price():
    assert bands("3.5", "2.9").upper == Decimal("4.2")
    assert bands("2.9", "3.5").upper == Decimal("3.045")


@pytest.mark.parametrize(("leverage", "upper"), [("3", "130"), ("-3", "130"), ("-2", "120"), ("1.5", "115")])
def test_leveraged_funds_have_bands_as_many_times_as_wide(leverage, upper):
    assert bands("100", "100", Tier.TWO, leverage=Decimal(leverage)).upper == Decimal(upper)


def test_a_fund_of_half_its_index_has_the_bands_of_an_ordinary_one():
    assert bands("100", "100", Tier.TWO, leverage=Decimal("-0.5")) == bands("100", "100", Tier.TWO)


def test_no_band_reaches_below_a_cent():
    assert bands("0.01", "0.01").lower == Decimal("0.01")
    assert bands("0.80", "0.80", leverage=Decimal(3), doubled=True).lower == Decimal("0.01")


@given(prices, prices, st.sampled_from(Tier), st.sampled_from([Decimal(1), Decimal("-0.5"), Decimal(-3)]))
def test_doubled_bands_are_twice_as_wide_and_every_reference_lies_inside(reference, close, tier, leverage):
    narrow, wide = (luld_bands(reference, close, tier, leverage=leverage, doubled=doubled) for doubled in (False, True))

    assert wide.upper - reference == 2 * (narrow.upper - reference)
    assert wide.lower <= narrow.lower <= reference < narrow.upper
    assert limit_state(narrow.upper, narrow) is LimitState.UP
    assert limit_state(narrow.lower, narrow) is LimitState.DOWN


def test_bands_are_doubled_at_the_end_of_the_session_and_not_at_its_beginning():
    hundred = Decimal(100)

    doubled = [
        when
        for when in ("09:30", "12:00", "15:34", "15:35", "15:59", "16:00")
        if is_doubled(at(when), FRIDAY, Tier.ONE, hundred)
    ]

    assert doubled == ["15:35", "15:59"]
    assert is_doubled(at("12:35", HALF_DAY), HALF_DAY, Tier.ONE, hundred)
    assert not is_doubled(at("12:34", HALF_DAY), HALF_DAY, Tier.ONE, hundred)


def test_before_the_close_dear_symbols_of_the_second_tier_keep_their_bands():
    assert is_doubled(at("15:45"), FRIDAY, Tier.TWO, Decimal(3))
    assert not is_doubled(at("15:45"), FRIDAY, Tier.TWO, Decimal("3.01"))


def test_leveraged_and_inverse_funds_are_of_the_second_tier():
    tiers = {symbol: tier_of(catalogue()[symbol]) for symbol in ("SPY", "NVDA", "TECL", "PSQ", "SVXY")}

    assert tiers == {"SPY": Tier.ONE, "NVDA": Tier.ONE, "TECL": Tier.TWO, "PSQ": Tier.TWO, "SVXY": Tier.TWO}
    assert tier_of(None) is Tier.ONE
    assert tier_of(Instrument("OWN", catalogue()["SPY"].asset_class)) is Tier.ONE


@pytest.mark.parametrize(
    ("price", "state"),
    [("95", LimitState.DOWN), ("95.01", LimitState.INSIDE), ("104.99", LimitState.INSIDE), ("105", LimitState.UP)],
)
def test_a_price_on_its_band_is_in_the_limit_state(price, state):
    assert limit_state(Decimal(price), bands("100", "100")) is state


def test_the_reference_is_the_mean_of_the_trades_of_five_minutes():
    trades = [
        Trade("SPY", Decimal(price), at(when))
        for price, when in (("1", "09:54"), ("10", "09:55"), ("20", "09:58"), ("30", "10:00"), ("99", "10:01"))
    ]

    assert reference_price(trades, at("10:00")) == 20
    assert reference_price(trades, at("10:07")) is None
    assert reference_price([], at("10:00")) is None


@pytest.mark.parametrize("wrong", ["0", "-1", "NaN", "Infinity"])
def test_nothing_is_inferred_from_what_is_no_price(wrong):
    for known, unknown in ((Decimal(100), Decimal(wrong)), (Decimal(wrong), Decimal(100))):
        with pytest.raises(DataError, match="positive number"):
            luld_bands(known, unknown, Tier.ONE)
        with pytest.raises(DataError, match="positive number"):
            market_breaker(known, unknown, at("10:00"))


def halted(symbol, market, now="10:00"):
    seen = [None if when is None else at(when) for when in (symbol, market)]
    return inferred_halt(*seen, at(now), open_of(FRIDAY), PATIENCE)


def test_a_symbol_that_is_silent_while_the_market_trades_is_taken_to_be_halted():
    assert halted("09:54", "10:00")
    assert halted(None, "10:00")


def test_a_symbol_that_traded_within_patience_is_not():
    assert not halted("09:55", "10:00")


def test_where_the_market_is_silent_too_nothing_is_said_of_the_symbol():
    assert not halted("09:40", "09:54")
    assert not halted("09:40", None)


def test_silence_over_night_does_not_count():
    yesterday = at("16:00", date(2026, 7, 30))

    assert not inferred_halt(yesterday, at("09:35"), at("09:35"), open_of(FRIDAY), PATIENCE)
    assert inferred_halt(yesterday, at("09:36"), at("09:36"), open_of(FRIDAY), PATIENCE)
    assert is_silent(None, at("09:36"), open_of(FRIDAY), PATIENCE)


@given(st.integers(0, 300), st.integers(0, 300))
def test_who_traded_later_is_not_halted_where_the_earlier_is_not(first, second):
    now = open_of(FRIDAY) + timedelta(minutes=5)
    earlier, later = (now - timedelta(seconds=seconds) for seconds in sorted((first, second), reverse=True))

    assert inferred_halt(earlier, now, now, open_of(FRIDAY), timedelta(minutes=2)) >= inferred_halt(
        later, now, now, open_of(FRIDAY), timedelta(minutes=2)
    )


@pytest.mark.parametrize(
    ("percent", "level"), [("6.99", 0), ("7", 1), ("12.99", 1), ("13", 2), ("19.99", 2), ("20", 3)]
)
def test_the_breaker_trips_at_seven_thirteen_and_twenty_percent(percent, level):
    assert fell(percent, "10:00").level == level


def test_a_fall_of_seven_percent_stops_trading_for_a_quarter_of_an_hour():
    breaker = fell(7, "10:00")

    assert breaker.ends_at == at("10:15")
    assert breaker.halts(at("10:14"))
    assert not breaker.halts(at("10:15"))
    assert not breaker.ends_the_session


@pytest.mark.parametrize(("when", "day", "stops"), [
    ("15:25", FRIDAY, True), ("15:26", FRIDAY, False), ("12:25", HALF_DAY, True), ("12:26", HALF_DAY, False),
])  # fmt: skip
@pytest.mark.parametrize("percent", [7, 13])
def test_late_in_the_session_the_first_levels_stop_nothing(when, day, stops, percent):
    now = at(when, day)

    breaker = market_breaker(Decimal(100) - percent, Decimal(100), now)

    assert breaker.halts(now) is stops
    assert ("stops trading no more" in str(breaker)) is not stops


def test_a_fall_of_twenty_percent_ends_the_session_whenever_it_comes():
    for when in ("09:31", "15:59"):
        breaker = fell(20, when)
        assert breaker.ends_the_session
        assert breaker.ends_at == at("16:00")
        assert breaker.halts(at(when))


def test_a_level_that_was_reached_stops_trading_once():
    first = fell(7, "10:00")

    again = fell(8, "10:20", fell(3, "10:16", first))
    deeper = fell(14, "10:30", again)

    assert again == first
    assert not again.halts(at("10:20"))
    assert deeper == MarketBreaker(2, at("10:30"))
    assert fell(9, "10:50", deeper) == deeper


def test_a_breaker_of_yesterday_is_forgotten():
    yesterday = market_breaker(Decimal(92), Decimal(100), at("10:00", date(2026, 7, 30)))

    assert fell(1, "10:00", yesterday) == MarketBreaker()
    assert fell(8, "10:00", yesterday) == MarketBreaker(1, at("10:00"))


def test_an_untripped_breaker_says_nothing():
    assert str(MarketBreaker()) == ""
    assert MarketBreaker().ends_at is None
    assert not MarketBreaker().halts(at("10:00"))


@given(st.lists(st.decimals("75", "110", places=2), min_size=1, max_size=40))
def test_through_a_session_the_level_only_rises_and_tells_of_the_deepest_fall(path):
    readings = []
    for minute, price in enumerate(path):
        now = at("10:00") + timedelta(minutes=minute)
        readings.append(market_breaker(price, Decimal(100), now, readings[-1] if readings else None))

    assert all(before.level <= after.level for before, after in pairwise(readings))
    assert readings[-1].level == market_breaker(min(path), Decimal(100), at("10:00")).level
