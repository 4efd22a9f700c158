import math
import statistics
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.windows import (
    CANCELLED,
    Scratch,
    WindowSpreads,
    WindowSums,
    aligned,
    all_hold,
    at_full_windows,
    drawdowns,
    spreads,
    stretches,
)

NAN = math.nan

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)
series = st.lists(numbers, min_size=1, max_size=40).map(np.array)
gappy = st.lists(st.one_of(numbers, st.just(NAN)), min_size=1, max_size=40).map(np.array)
sizes = st.integers(1, 33)


def windows(values, size):
    return [values[first : first + size].tolist() for first in range(values.size - size + 1)]


def sums_of(values, size):
    room = aligned(1, values.size)
    sums = WindowSums(Scratch(1, values.size), room, values.size)
    found = sums.of(size)
    room[0, : values.size] = values
    sums.refresh()
    return found[0]


def spreads_of(values, size):
    room = aligned(2, values.size)
    sums = WindowSums(Scratch(2, values.size), room, values.size)
    found = WindowSpreads(sums, size, np.empty(values.size))
    room[:, : values.size] = values, values * values
    return found.now()


def spread_by_hand(held):
    exact = [Fraction(value) for value in held]
    mean = sum(exact) / len(exact)
    return float(sum((value - mean) ** 2 for value in exact))


@given(series, sizes)
def test_a_sum_is_that_of_its_window(values, size):
    wanted = [math.fsum(held) for held in windows(values, size)]
    np.testing.assert_allclose(sums_of(values, size), wanted, rtol=0, atol=1e-11)


@given(gappy, sizes)
def test_a_sum_depends_on_its_window_alone(values, size):
    alone = [sums_of(np.array(held), size)[0] for held in windows(values, size)]
    np.testing.assert_array_equal(sums_of(values, size), alone)


@given(gappy, sizes)
def test_a_missing_value_spreads_to_the_windows_that_hold_it_and_no_others(values, size):
    wanted = [any(map(math.isnan, held)) for held in windows(values, size)]
    assert np.isnan(sums_of(values, size)).tolist() == wanted
    assert np.isnan(spreads_of(values, size)).tolist() == wanted
    assert np.isnan(spreads(values, size)).tolist() == wanted


def test_sums_of_several_sizes_do_not_disturb_each_other():
    values = np.random.default_rng(1).uniform(size=50)
    room = aligned(1, values.size)
    sums = WindowSums(Scratch(1, values.size), room, values.size)
    found = {size: sums.of(size) for size in (20, 6, 16, 14, 1, 2)}
    room[0, :50] = values
    sums.refresh()
    for size, sums_found in found.items():
        np.testing.assert_array_equal(sums_found[0], sums_of(values, size))


def test_rows_do_not_run_into_each_other():
    rows = np.array([[1.0, 2.0, NAN], [10.0, 20.0, 30.0]])
    room = aligned(2, 3)
    sums = WindowSums(Scratch(2, 3), room, 3)
    found = sums.of(2)
    room[:, :3] = rows
    sums.refresh()
    np.testing.assert_array_equal(found, [[3.0, NAN], [30.0, 50.0]])


def test_sums_take_turns_in_the_memory_that_they_share():
    scratch, values = Scratch(2, 4), np.array([1.0, 2.0, 3.0, 4.0])
    rows = [aligned(1, 4), aligned(2, 4)]
    one, two = (WindowSums(scratch, room, 4) for room in rows)
    of_one, of_two = one.of(2), two.of(2)
    rows[0][0, :4] = values
    rows[1][:, :4] = values * 10, values * 100
    for _ in range(2):
        one.refresh()
        assert of_one.tolist() == [[3, 5, 7]]
        two.refresh()
        assert of_two.tolist() == [[30, 50, 70], [300, 500, 700]]


def test_new_values_are_summed_once_the_memory_has_been_given_up():
    scratch, values = Scratch(1, 2), aligned(1, 2)
    sums = WindowSums(scratch, values, 2)
    sums.first(np.add, values, 1.0, values)
    found = sums.of(2)
    for wanted in (2, 2, 4):
        if wanted == 4:
            scratch.holder = None
        sums.refresh()
        assert found.tolist() == [[wanted]]


@given(series, sizes)
def test_a_spread_is_that_of_its_window(values, size):
    wanted = np.array([spread_by_hand(held) for held in windows(values, size)])
    # A mean is rounded to some 1e-15 of the largest value, and a spread moves with the square of that.
    rounding = 1e-15 * np.abs(values).max()
    for found in (spreads_of(values, size), spreads(values, size)):
        assert (np.abs(found - wanted) <= 2e-11 * wanted + size * rounding * (np.sqrt(wanted) + rounding)).all()


@given(st.lists(st.sampled_from([1.0, 1.001, 1.1, -5.0, 0.0, NAN]), min_size=2, max_size=40).map(np.array), sizes)
def test_a_spread_depends_on_its_window_alone(values, size):
    alone = [spreads_of(np.array(held), size)[0] for held in windows(values, size)]
    np.testing.assert_array_equal(spreads_of(values, size), alone)


@pytest.mark.parametrize("apart", [0.0, 1e-12, 1e-6, math.sqrt(CANCELLED), 0.1])
def test_values_far_from_zero_keep_the_digits_of_their_spread(apart):
    values = 1 + apart * np.random.default_rng(2).uniform(-1, 1, 60)
    wanted = [statistics.variance(map(Fraction, held)) * 19 for held in windows(values, 20)]
    lost = 1e-15 / apart if apart else 0
    np.testing.assert_allclose(spreads_of(values, 20), np.array(wanted, dtype=float), rtol=2e-11 + lost)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), sizes)
def test_a_drawdown_is_the_largest_fall_to_a_later_value(values, size):
    def deepest(held):
        return max(1 - low / high for place, high in enumerate(held) for low in held[place:])

    series = np.array(values, dtype=float)
    np.testing.assert_allclose(drawdowns(series, size), [deepest(held) for held in windows(series, size)])


@given(st.lists(st.booleans(), min_size=1, max_size=40).map(np.array), sizes)
def test_all_flags_of_a_window_hold_or_not(flags, size):
    assert all_hold(flags, size).tolist() == [all(held) for held in windows(flags, size)]


def test_answers_stand_where_their_window_ends():
    answers = np.ones(5)
    at_full_windows(answers, 2)[:] = 3, 4
    np.testing.assert_array_equal(answers, [NAN, NAN, NAN, 3, 4])


@given(st.lists(st.booleans(), max_size=20).map(lambda flags: np.array(flags, dtype=bool)))
def test_stretches_are_apart_and_hold_all_that_is_not_missing(missing):
    found = list(stretches(missing))
    assert [place for held in found for place in range(held.start, held.stop)] == np.flatnonzero(~missing).tolist()
    assert all(missing[earlier.stop : later.start].size for earlier, later in pairwise(found))


@pytest.mark.parametrize("length", [0, 1, 8, 2499, 7500])
def test_every_row_begins_where_a_line_of_the_cache_does(length):
    room = aligned(3, length)
    assert room.shape[1] >= length
    assert not room.any()
    assert all(row.__array_interface__["data"][0] % 64 == 0 for row in room if row.size)
