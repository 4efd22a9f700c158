from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.alpaca.stream_states import (
    CLOSED,
    CONNECTING,
    Backoff,
    Happening,
    Standing,
    StreamState,
    after,
)

MOST = 5
STATES = {
    "connecting": StreamState.CONNECTING,
    "authent.": StreamState.AUTHENTICATING,
    "live": StreamState.LIVE,
    "stale": StreamState.STALE,
    "backing": StreamState.BACKING_OFF,
    "polling": StreamState.POLLING_ONLY,
    "closed": StreamState.CLOSED,
}
# A dot: nothing changes.
TABLE = """
             opened    authorized  heard  held  contradicted  failed   retried     closed
connecting   authent.  .           .      .     .             backing  .           closed
authent.     .         live        .      .     .             backing  .           closed
live         .         .           .      .     stale         backing  .           closed
stale        .         .           .      .     .             backing  .           closed
backing      .         .           .      .     .             .        connecting  closed
polling      .         .           .      .     .             .        connecting  closed
closed       .         .           .      .     .             .        .           .
"""


def table():
    header, *rows = [line.split() for line in TABLE.strip().splitlines()]
    for name, *cells in rows:
        for happening, cell in zip(header, cells, strict=True):
            yield STATES[name], Happening(happening), STATES[name if cell == "." else cell]


def walked(happenings, standing=CONNECTING):
    for happening in happenings:
        standing = after(standing, happening, MOST)
    return standing


def test_the_table_names_every_state_with_every_happening():
    assert {(state, happening) for state, happening, _ in table()} == set(product(StreamState, Happening))


@pytest.mark.parametrize(("state", "happening", "expected"), list(table()), ids=str)
def test_a_stream_moves_as_the_table_says(state, happening, expected):
    assert after(Standing(state), happening, MOST).state is expected


def test_the_fifth_failure_in_a_row_gives_the_stream_up_until_it_is_tried_again():
    standing, seen = CONNECTING, []
    for _ in range(6):
        standing = after(standing, Happening.FAILED, MOST)
        seen.append(standing.state)
        standing = after(standing, Happening.RETRIED, MOST)

    assert seen == [StreamState.BACKING_OFF] * 4 + [StreamState.POLLING_ONLY] * 2
    assert standing == Standing(StreamState.CONNECTING, failures=6)


def test_a_stream_that_was_given_up_may_live_again():
    given_up = walked([Happening.FAILED, Happening.RETRIED] * 4 + [Happening.FAILED])
    live = walked([Happening.RETRIED, Happening.OPENED, Happening.AUTHORIZED], given_up)

    assert (given_up.state, live) == (StreamState.POLLING_ONLY, Standing(StreamState.LIVE, failures=5))


@pytest.mark.parametrize("proof", [Happening.HEARD, Happening.HELD])
def test_failures_are_forgotten_when_the_connection_proves_itself_not_when_it_is_made(proof):
    once = walked([Happening.FAILED, Happening.RETRIED, Happening.OPENED, Happening.AUTHORIZED])

    assert once.failures == 1
    assert after(once, proof, MOST).failures == 0


def test_news_from_a_stale_stream_does_not_redeem_it():
    stale = Standing(StreamState.STALE, failures=3)

    assert after(stale, Happening.HEARD, MOST) == stale


HAPPENINGS = st.lists(st.sampled_from(Happening), max_size=60)


@given(HAPPENINGS)
def test_polling_only_means_as_many_failures_as_that_takes_and_backing_off_fewer(happenings):
    standing = walked(happenings)

    if standing.state is StreamState.POLLING_ONLY:
        assert standing.failures >= MOST
    if standing.state is StreamState.BACKING_OFF:
        assert 0 < standing.failures < MOST


@given(HAPPENINGS, HAPPENINGS)
def test_a_closed_stream_stays_closed(before, later):
    assert walked([*before, Happening.CLOSED, *later]) == CLOSED


@given(HAPPENINGS)
def test_from_anywhere_but_closed_a_stream_can_live_again(happenings):
    standing = walked([happening for happening in happenings if happening is not Happening.CLOSED])
    way = [Happening.FAILED, Happening.RETRIED, Happening.OPENED, Happening.AUTHORIZED]

    assert walked(way, standing).state is StreamState.LIVE


@given(st.integers(1, 2000), st.floats(0, 1, exclude_max=True))
def test_a_pause_lies_between_one_second_and_thirty(failures, draw):
    assert 1 <= Backoff().pause(Standing(StreamState.BACKING_OFF, failures), draw) <= 30


def test_the_longest_pause_doubles_with_each_failure_up_to_thirty_seconds():
    longest = [Backoff().pause(Standing(StreamState.BACKING_OFF, n), 1.0) for n in (1, 2, 3, 4, 5, 6)]

    assert longest == [2, 4, 8, 16, 30, 30]


def test_where_orders_are_polled_only_the_stream_is_tried_every_thirty_seconds():
    assert Backoff().pause(Standing(StreamState.POLLING_ONLY, 5), 0.0) == 30
