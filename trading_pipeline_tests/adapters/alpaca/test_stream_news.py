import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.alpaca import stream_news
from trading_pipeline.adapters.alpaca.stream_news import FillSeen, News, NewsCounts, Witness, order_change, read_frame
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.domain.orders import OrderStatus
from trading_pipeline_tests.adapters.alpaca.trade_updates import ORDER, execution, frame, trade_update

NAME = ORDER["client_order_id"]
AT = datetime(2026, 7, 31, 14, 0, 1, 500_000, tzinfo=UTC)


def news_of(*updates):
    news = News()
    for update in updates:
        news.tell(order_change(update))
    return news


def broker_order(**changes):
    return order_change(trade_update(**changes)).order


def test_a_frame_is_read_from_text_and_from_bytes():
    assert read_frame('{"stream": "listening"}') == read_frame(b'{"stream": "listening"}') == {"stream": "listening"}


@pytest.mark.parametrize("bad", ["", "{", "null", "[1]", '"text"', b"\xff\xfe\x00", "[" * 200_000, "1" * 5_000])
def test_a_frame_that_is_no_object_is_refused_in_our_terms(bad):
    with pytest.raises(DependencyUnavailable, match="a frame"):
        read_frame(bad)


def test_an_execution_is_told_with_its_own_shares_and_the_orders_sum():
    change = order_change(execution(1, "4", "4"))

    assert change.fill == FillSeen(NAME, "execution-1", AT, Decimal("610.25"), Decimal(4))
    assert (change.event, change.order.filled_quantity, change.order.status) == ("partial_fill", 4, "partially_filled")


def test_a_change_that_is_no_execution_carries_none():
    change = order_change(trade_update("canceled"))

    assert (change.fill, change.at, change.order.status) == (None, AT, OrderStatus.CANCELED)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        "text",
        {},
        {**trade_update(), "order": None},
        {**trade_update(), "timestamp": "yesterday"},
        {**trade_update(), "timestamp": "0001-01-01T00:00:00+23:59"},
        {**trade_update(), "event": "order_teleported"},
        {**trade_update(), "event": ["fill"]},
        trade_update(client_order_id=[]),
        trade_update(id=7),
        trade_update(qty="NaN"),
        trade_update(side="sideways"),
        {**execution(1, 4, 4), "execution_id": None},
        {**execution(1, 4, 4), "execution_id": ""},
        {**execution(1, 4, 4), "price": "Infinity"},
        {**execution(1, 4, 4), "qty": None},
    ],
    ids=str,
)
def test_a_broken_update_is_refused_in_our_terms(broken):
    with pytest.raises(DependencyUnavailable):
        order_change(broken)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from([*trade_update(), "execution_id", "price", "qty"])


@given(FIELDS, JSON, st.sampled_from(list(ORDER)), JSON)
def test_no_update_however_mangled_fails_in_another_way(field, value, inner, inner_value):
    for mangled in ({**execution(1, 4, 4), field: value}, execution(1, 4, 4, **{inner: inner_value})):
        try:
            order_change(json.loads(json.dumps(mangled)))
        except DependencyUnavailable:
            continue


@given(st.binary(max_size=200))
def test_no_frame_however_mangled_fails_in_another_way(noise):
    for mangled in (noise, frame(trade_update())[: -len(noise)] + noise):
        try:
            read_frame(mangled)
        except DependencyUnavailable:
            continue


def test_a_change_is_told_once_however_often_it_comes():
    update, other = execution(1, 4, 4), trade_update("canceled")
    news = News()

    assert [news.tell(order_change(each)) for each in (update, update, other, other)] == [True, False, True, False]
    assert news.counts == NewsCounts(events=2, duplicates=2)
    assert [fill.execution_id for fill in news.fills] == ["execution-1"]
    assert [change.event for change in news.take()] == ["partial_fill", "canceled"]
    assert news.take() == ()


@st.composite
def orders_and_what_arrives(draw):
    """An order's executions, and some of them, in any order, as often as anything."""
    sizes = draw(st.lists(st.integers(1, 50), min_size=1, max_size=8))
    total = sum(sizes)
    told = [execution(n, size, sum(sizes[: n + 1]), of=total) for n, size in enumerate(sizes)]
    arriving = draw(st.lists(st.sampled_from(told), max_size=30))
    return total, told, arriving


@given(orders_and_what_arrives())
def test_whatever_is_lost_repeated_or_mixed_up_the_filled_shares_only_grow_and_the_gap_is_filled_exactly(case):
    total, told, arriving = case
    news, seen = News(), [Decimal(0)]
    for update in arriving:
        news.tell(order_change(update))
        seen.append(news.filled_quantity(NAME))

    assert seen == sorted(seen)
    assert seen[-1] <= total
    assert seen[-1] == max((Decimal(update["order"]["filled_qty"]) for update in arriving), default=0)
    assert len(news.fills) == len({update["execution_id"] for update in arriving})

    news.fill_gap([order_change(told[-1]).order])
    assert news.filled_quantity(NAME) == total
    for update in told:
        news.tell(order_change(update))
    assert news.filled_quantity(NAME) == total
    assert sum(fill.quantity for fill in news.fills) == total


def test_changes_that_nobody_takes_are_dropped_from_the_oldest_and_counted(monkeypatch):
    monkeypatch.setattr(stream_news, "MOST_WAITING", 3)
    news = news_of(*(execution(n, 1, n, of=100) for n in range(1, 6)))

    assert news.counts == NewsCounts(events=5, overflowed=2)
    assert [change.order.filled_quantity for change in news.take()] == [3, 4, 5]


def test_memory_of_executions_is_bounded(monkeypatch):
    monkeypatch.setattr(stream_news, "MOST_REMEMBERED", 3)
    news = news_of(*(execution(n, 1, n, of=100) for n in range(1, 6)))

    assert [fill.execution_id for fill in news.fills] == ["execution-3", "execution-4", "execution-5"]


def test_what_is_set_aside_is_counted_shortened_and_bounded():
    news = News()
    for number in range(150):
        news.set_aside(b"\xff" * 2_000 if number % 2 else "x" * 2_000, f"reason {number}", AT)

    assert news.counts == NewsCounts(quarantined=150)
    assert [held.reason for held in news.quarantine] == [f"reason {number}" for number in range(50, 150)]
    assert {len(held.frame) for held in news.quarantine} == {500}


GRACE = 2.0


def test_what_was_there_at_the_first_look_is_not_held_against_the_stream():
    witness = Witness(GRACE)

    assert [witness.contradiction([broker_order(status="filled", filled_qty="10")], at) for at in (0, 100)] == [
        None,
        None,
    ]


def test_a_new_order_that_has_not_moved_needs_no_telling():
    witness = Witness(GRACE)
    witness.contradiction([], 0)

    assert [witness.contradiction([broker_order()], at) for at in (1, 100)] == [None, None]


def test_a_change_that_the_stream_told_is_no_contradiction():
    witness = Witness(GRACE)
    witness.contradiction([broker_order()], 0)
    told = broker_order(status="filled", filled_qty="10")
    witness.heard(told)

    assert [witness.contradiction([told], at) for at in (1, 100)] == [None, None]


@pytest.mark.parametrize("change", [{"filled_qty": "4"}, {"status": "canceled"}])
def test_a_change_that_the_stream_keeps_to_itself_contradicts_it_after_the_grace(change):
    witness = Witness(GRACE)
    witness.contradiction([broker_order()], 0)
    changed = broker_order(**change)

    assert witness.contradiction([changed], 10.0) is None
    assert witness.contradiction([changed], 12.0) is None
    assert witness.contradiction([changed], 12.1) == changed


def test_what_is_told_inside_the_grace_is_forgiven_and_the_next_change_has_a_grace_of_its_own():
    witness = Witness(GRACE)
    witness.contradiction([broker_order()], 0)
    first, second = broker_order(filled_qty="4"), broker_order(filled_qty="9")
    witness.contradiction([first], 10)
    witness.heard(first)
    witness.contradiction([first], 11)

    assert witness.contradiction([second], 13) is None
    assert witness.contradiction([second], 15.1) == second
