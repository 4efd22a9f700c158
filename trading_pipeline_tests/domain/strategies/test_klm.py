import math

import pytest

from trading_pipeline.domain.strategies import tree
from trading_pipeline.domain.strategies.klm import (
    KLM,
    NOVA,
    VARIANT_506,
    VARIANT_520,
    VARIANT_530,
    VARIANT_1200,
    VARIANT_1280,
    VARIANTS,
)
from trading_pipeline_tests.domain.strategies.klm_cases import (
    HELD,
    OVERBOUGHT_ABOVE,
    OWN_CASES,
    TECHNOLOGY_LEADS,
    TELLING,
    moving,
    shares,
)

SHARING_BLOCKS = [pytest.param(variant, id=variant.name) for variant in OWN_CASES]
OVERBOUGHT = {f"rsi({symbol},10)": above for symbol, above in OVERBOUGHT_ABOVE.items()}
OVERSOLD = {"rsi(TQQQ,10)": 30, "rsi(SOXL,10)": 30, "rsi(SPXL,10)": 30}


@pytest.mark.parametrize("variant", SHARING_BLOCKS)
@pytest.mark.parametrize("limits", [OVERBOUGHT, OVERSOLD])
def test_a_reading_at_its_limit_is_not_beyond_it(held_at_last, variant, limits):
    gate = [str(reading) for reading in tree.readings(variant) if str(reading) in ("rsi(UVXY,21)", "rsi(UVIX,21)")]
    neutral = next(expected for readings, expected in OWN_CASES[variant] if not readings)

    assert held_at_last(variant, limits | dict.fromkeys(gate, 65)) == pytest.approx(shares(neutral))


@pytest.mark.parametrize("variant", SHARING_BLOCKS)
def test_the_shared_blocks_are_asked_in_their_order(held_at_last, variant):
    soxl = {"rsi(SOXL,10)": 29, "rsi(SPXL,10)": 29} | TECHNOLOGY_LEADS
    tecl = soxl | {"rsi(TQQQ,10)": 29}

    assert held_at_last(variant, soxl) == {"SOXL": 1.0}
    assert held_at_last(variant, tecl) == {"TECL": 1.0}
    assert held_at_last(variant, tecl | {"rsi(SPY,10)": 81}) == {"UVXY": 1.0}


@pytest.mark.parametrize("variant", SHARING_BLOCKS)
def test_only_the_funds_of_the_chain_before_the_first_hit_must_be_known(held_at_last, variant):
    assert held_at_last(variant, {"rsi(QQQE,10)": 80, "rsi(VTV,10)": math.nan}) == {"UVXY": 1.0}
    assert held_at_last(variant, {"rsi(QQQE,10)": math.nan, "rsi(VTV,10)": 80}) == "rsi(QQQE,10) is missing"


def test_the_gate_watches_uvix_in_nova_nothing_in_1280_and_uvxy_elsewhere():
    gates = {"rsi(UVXY,21)", "rsi(UVIX,21)"}
    watched = {variant: gates & {str(reading) for reading in tree.readings(variant)} for variant in OWN_CASES}

    assert watched.pop(NOVA) == {"rsi(UVIX,21)"}
    assert watched.pop(VARIANT_1280) == set()
    assert len(watched) == 5
    assert all(gate == {"rsi(UVXY,21)"} for gate in watched.values())


@pytest.mark.parametrize(
    ("readings", "first"),
    [
        (moving(FNGU=1, TECL=1, SOXL=1, FNGO=1), VARIANT_506),
        (moving(TECL=1, SOXL=1, QID=1, SVIX=1), VARIANT_1280),
        (moving(SOXL=1, QID=1, FNGO=1), VARIANT_1200),
        (moving(TECL=1, QID=1), VARIANT_520),
        (moving(QID=1, FNGO=1, SVIX=1), VARIANT_530),
        (moving(FNGO=1, SVIX=1), NOVA),
    ],
)
def test_a_tie_goes_to_the_variant_listed_first(held_at_last, readings, first):
    assert held_at_last(KLM, readings) == pytest.approx(shares(HELD[first]))


def test_a_variant_earns_what_it_held_the_session_before(held_at_last):
    # Technology leads today only: until now 830/21 held TLT, and the moves of SVIX were none of its own.
    leads_today = {name: value for name, value in TELLING.items() if name != "rsi(XLK,10)"}
    moves = {"close(SVIX)": (100, 103), "close(TLT)": (100, 101), "close(SQQQ)": (100, 102)}

    assert held_at_last(KLM, leads_today | moves, TECHNOLOGY_LEADS) == pytest.approx(shares(HELD[VARIANT_1280]))


@pytest.mark.parametrize("when", ["always", "today"])
def test_a_variant_that_cannot_be_decided_is_left_out_and_the_ensemble_goes_on(held_at_last, when):
    readings, unknown = moving(FNGO=3, SVIX=2), {"rsi(UVIX,21)": math.nan}

    assert held_at_last(KLM, readings) == {"FNGO": 1.0}
    undecided = held_at_last(KLM, readings | unknown) if when == "always" else held_at_last(KLM, readings, unknown)
    assert undecided == {"SVIX": 1.0}


def test_a_variant_without_a_series_of_five_returns_is_left_out(held_at_last):
    readings = moving(FNGU=3, SVIX=2) | {"close(FNGU)": math.nan}

    assert held_at_last(KLM, readings) == {"SVIX": 1.0}


def test_when_the_chain_cannot_be_decided_530_alone_remains(held_at_last):
    assert held_at_last(KLM, moving(SVIX=2) | {"rsi(QQQE,10)": math.nan}) == {"QID": 1.0}


def test_without_any_variant_the_ensemble_is_unavailable_and_names_them(held_at_last):
    reason = held_at_last(KLM, TELLING | {"rsi(QQQE,10)": math.nan, "rsi(IOO,10)": math.nan})

    assert reason.startswith("no candidate has sdret(5) and can be decided: ")
    assert all(variant.name in reason for variant in VARIANTS)


def test_technology_leads_when_it_is_stronger_than_managed_futures_however_weak(held_at_last):
    assert held_at_last(VARIANT_506, {"rsi(XLK,10)": 40, "rsi(KMLM,10)": 39}) == {"FNGU": 1.0}
    assert held_at_last(VARIANT_506, {"rsi(XLK,10)": 60, "rsi(KMLM,10)": 61}) == {"UUP": 1.0}


def test_the_variants_stand_in_the_order_of_the_definition_under_their_public_names():
    assert [variant.name for variant in VARIANTS] == [
        "506/38 KMLM (13) - Longer BT",
        "1280/26 KMLM (50)",
        "1200/28 KMLM (43)",
        "520/22 KMLM (23) - Original",
        "530/18 (29)",
        "410/38 (11) - MonkeyBusiness Simons variant",
        "Nerfed 2900/8 (373) - Nova - Short BT (remove for longer backtest)",
        "830/21 (39) MonkeyBusiness Simons variant V2",
    ]
