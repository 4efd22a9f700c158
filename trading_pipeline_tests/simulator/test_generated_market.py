from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline.simulator.market import GeneratedMarket, generated_bars, main
from trading_pipeline.simulator.universe import EVENTS, FIRST_SESSION, MEMBERS

THROUGH = date(2026, 7, 31)
SPLIT = EVENTS.splits[0]
NUCLEAR = "SPY IOO TQQQ VTV XLF VOX UVXY BTAL QQQ SQQQ PSQ UPRO TLT IEF SMR BWXT LEU EXC NLR OKLO"
TECL = "SPY XLK KMLM TECL BIL UVXY SQQQ BSV TQQQ SPXL"
KLM = (
    "SPY QQQE VTV VOX TECL VOOG VOOV IOO QQQ XLP TQQQ XLY FAS XLF RETL XLK SOXL SPXL SPLV FNGU UVXY UVIX VIXY VXX VIXM "
    "SVIX SQQQ SVXY TLT BIL BTAL BND KMLM AGG LABD TZA LABU UUP FTLS ERX GLD SLV PDBC XLE FNGO TSLA MSFT AAPL NVDA "
    "GOOGL AMZN TMV TMF SPXU QID PSQ UPRO IEF"
)
STRATEGY_SYMBOLS = set(f"{NUCLEAR} {TECL} {KLM}".split())


@pytest.fixture(scope="module")
def bars():
    return generated_bars(7, THROUGH)


@pytest.fixture(scope="module")
def closes(bars):
    return bars.pivot_table(index="session", columns="symbol", values="close")


def test_every_symbol_of_the_strategies_has_bars_to_the_end(bars):
    last = bars.groupby("symbol")["session"].max()

    assert set(last.index) >= STRATEGY_SYMBOLS
    assert (last == THROUGH).all()


@pytest.mark.parametrize(
    ("symbol", "listed"),
    [
        ("SMR", date(2022, 5, 3)),
        ("OKLO", date(2024, 5, 10)),
        ("SVIX", date(2022, 3, 30)),
        ("FNGU", date(2025, 2, 20)),
        ("SPY", FIRST_SESSION),
    ],
)
def test_a_symbol_starts_on_the_session_of_its_listing(bars, symbol, listed):
    assert bars.loc[bars["symbol"] == symbol, "session"].min() == listed


def test_low_and_high_enclose_open_and_close_and_volume_is_positive(bars):
    body = bars[["open", "close"]]

    assert (bars["low"] <= body.min(axis=1)).all()
    assert (bars["high"] >= body.max(axis=1)).all()
    assert (bars["low"] > 0).all()
    assert (bars["volume"] > 0).all()
    assert not bars.isna().any().any()


@pytest.mark.parametrize(
    ("fund", "plain", "multiple"),
    [
        ("TQQQ", "QQQ", 3), ("SQQQ", "QQQ", -3), ("PSQ", "QQQ", -1), ("QID", "QQQ", -2), ("UPRO", "SPY", 3),
        ("SPXU", "SPY", -3), ("TECL", "XLK", 3), ("FAS", "XLF", 3), ("ERX", "XLE", 2), ("TMF", "TLT", 3),
        ("TMV", "TLT", -3), ("UVIX", "VIXY", 2), ("SVIX", "VIXY", -1), ("UVXY", "VIXY", 1.5), ("SVXY", "VIXY", -0.5),
    ],
)  # fmt: skip
def test_a_leveraged_fund_returns_the_multiple_of_what_it_follows_less_a_small_fee(closes, fund, plain, multiple):
    both = closes[[fund, plain]].dropna().pct_change().dropna()
    gap = both[fund] - multiple * both[plain]

    assert Decimal(str(multiple)) == catalogue()[fund].leverage
    assert gap.abs().max() < 0.0002
    assert -0.0001 < gap.mean() < 0


def test_volatility_moves_against_equity_and_long_holders_pay_the_roll(closes):
    returns = closes[["SPY", "VIXY"]].pct_change().dropna()

    assert returns.corr().loc["SPY", "VIXY"] < -0.6
    assert closes["VIXY"].iloc[-1] < closes["VIXY"].iloc[0] / 10


def test_bills_rise_nearly_every_session(closes):
    assert (closes["BIL"].diff().dropna() >= 0).all()


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_equity_is_as_volatile_as_equity_is(seed):
    bars = generated_bars(seed, THROUGH)
    returns = bars.loc[bars["symbol"] == "SPY", "close"].pct_change().dropna()
    by_year = returns.groupby(np.arange(len(returns)) // 252).std()

    assert 0.007 < returns.std() < 0.013
    assert by_year.max() > 1.4 * by_year.min()


def test_the_thresholds_of_the_strategies_are_crossed_from_time_to_time(closes):
    talib = pytest.importorskip("talib")
    spy, tqqq = (talib.RSI(closes[symbol].to_numpy(), 10) for symbol in ("SPY", "TQQQ"))
    above = closes["SPY"] > closes["SPY"].rolling(200).mean()

    assert (spy > 79).sum() > 5
    assert (tqqq < 30).sum() > 20
    assert 0.25 < above.mean() < 0.9


@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shorter=st.dates(date(2015, 2, 1), date(2026, 12, 1)),
    longer=st.dates(date(2026, 12, 2), date(2030, 12, 31)),
)
def test_a_later_end_changes_no_earlier_raw_figure(seed, shorter, longer):
    before = generated_bars(seed, shorter, adjusted=False)
    after = generated_bars(seed, longer, adjusted=False)

    after = after[after["session"] <= shorter].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_other_seeds_are_other_markets():
    first, second = (generated_bars(seed, date(2016, 1, 4))["close"] for seed in (1, 2))

    assert not np.allclose(first, second)


def test_a_split_shows_in_raw_prices_on_its_session_and_never_in_adjusted_ones():
    raw, adjusted = (
        generated_bars(7, THROUGH, adjusted=adjusted).query("symbol == @SPLIT.symbol").set_index("session")["close"]
        for adjusted in (False, True)
    )
    jump = raw.pct_change().loc[SPLIT.session]

    assert jump < -0.3
    assert adjusted.pct_change().abs().max() < 0.35
    assert np.allclose(raw[raw.index < SPLIT.session] / SPLIT.ratio, adjusted[adjusted.index < SPLIT.session])


def test_history_is_unadjusted_until_the_session_of_the_split():
    market = GeneratedMarket(7, THROUGH)
    day_before = sessions_between(date(2025, 11, 1), SPLIT.session)[-2]

    raw = market.bars(SPLIT.symbol, FIRST_SESSION, day_before)
    before = market.bars(SPLIT.symbol, FIRST_SESSION, day_before, adjusted_as_of=day_before)
    after = market.bars(SPLIT.symbol, FIRST_SESSION, day_before, adjusted_as_of=SPLIT.session)

    assert np.array_equal(raw.prices, before.prices)
    assert np.allclose(raw.prices / SPLIT.ratio, after.prices)
    assert np.allclose(raw.volume * SPLIT.ratio, after.volume)


def test_one_symbol_has_one_session_without_a_bar(bars):
    ((symbol, halted),) = EVENTS.halts
    expected = set(sessions_between(MEMBERS[symbol].listed, THROUGH))

    assert expected - set(bars.loc[bars["symbol"] == symbol, "session"]) == {halted}


def test_the_market_can_be_written_to_a_file(tmp_path, bars):
    path = tmp_path / "bars.parquet"

    assert main(["--seed", "7", "--through", "2026-07-31", "--out", str(path)]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(path), bars, check_dtype=False)
