"""The simulator beside what is known of the real API: its client, recorded replies, its specification."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.models import Bar, BarSet, Quote, Trade
from alpaca.data.models.corporate_actions import ForwardSplit, ReverseSplit
from alpaca.data.requests import (
    CorporateActionsRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.enums import OrderSide, QueryOrderStatus, TimeInForce
from alpaca.trading.models import Asset, Calendar, Clock, Order, Position, TradeAccount, TradeUpdate
from alpaca.trading.requests import (
    CancelOrderResponse,
    GetCalendarRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
)
from jsonschema import Draft4Validator, FormatChecker
from websockets.sync.client import connect

MONDAY_MORNING = datetime.fromisoformat("2026-07-27T09:35-04:00")
CLOSING = datetime.fromisoformat("2026-07-27T16:00-04:00")

PATTERN_DAY_TRADER = "Alpaca removed the fields of the pattern-day-trader rule on 2026-07-06"
BY_HAND = "a field of the recording that neither the specification nor the client knows"
SPECIFIED = "in the specification, and younger than the recording"
OBSERVED = "the real API sends it; the recording was cut"
BROKERS_OF_BROKERS = "sent by the API for brokers only"

ORDER = (
    {"commission": BROKERS_OF_BROKERS},
    {"expires_at": SPECIFIED, "source": OBSERVED, "subtag": OBSERVED, "legs": OBSERVED, "position_intent": SPECIFIED},
)
ASSET = ({"last_close_pct_change": BY_HAND, "last_price": BY_HAND}, {})
# By recording: the request that it answers, the keys that only it has, and those that only the simulator has.
RECORDED: Mapping[str, tuple[str, Mapping[str, str], Mapping[str, str]]] = {
    "account_routes__get_account": (
        "/v2/account",
        dict.fromkeys(("pattern_day_trader", "daytrade_count", "daytrading_buying_power"), PATTERN_DAY_TRADER),
        {"position_market_value": SPECIFIED, "crypto_status": SPECIFIED},
    ),
    "asset_routes__get_asset": ("/v2/assets/SPY", *ASSET),
    "asset_routes__get_all_assets": ("/v2/assets", *ASSET),
    "order_routes__get_orders": ("/v2/orders?status=all", *ORDER),
    "order_routes__market_order": ("/v2/orders?status=all", *ORDER),
    "order_routes__limit_order": ("/v2/orders?status=all", *ORDER),
    "order_routes__get_order_by_client_id": ("/v2/orders:by_client_order_id?client_order_id=filled", *ORDER),
    "position_routes__get_all_positions": (
        "/v2/positions",
        {"usd": BROKERS_OF_BROKERS},
        {"asset_marginable": SPECIFIED, "qty_available": SPECIFIED},
    ),
    "historical_stock_data__get_bars": ("/v2/stocks/bars?symbols=SPY&timeframe=1D&start=2026-07-01", {}, {}),
    "historical_stock_data__stock_labar": ("/v2/stocks/bars/latest?symbols=SPY", {}, {}),
    "historical_stock_data__get_laquote": ("/v2/stocks/quotes/latest?symbols=SPY", {}, {}),
    "historical_stock_data__get_latrade": ("/v2/stocks/trades/latest?symbols=SPY", {}, {}),
}

# Fields that the real API sends and its specification does not name.
UNSPECIFIED = {"source", "subtag"}

# What the SDK can ask for and the simulator does not know: it says so instead of answering something.
NOT_SIMULATED: Mapping[str, str] = {
    "GET /v2/account/configurations": "the settings of an account are set by people",
    "DELETE /v2/positions": "its orders carry no client order id, so the pipeline never sends them",
    "DELETE /v2/positions/SPY": "its order carries no client order id, so the pipeline never sends it",
    "GET /v2/stocks/snapshots": "quotes and bars are asked for one by one",
    "GET /v2/stocks/trades": "there is one trade at the open and one at the close",
    "GET /v2/stocks/quotes": "there is one quote at a time",
    "GET /v2/watchlists": "lists of people",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory, start_serving):
    """Monday morning with a position, an order that was filled, one that was cancelled and one that works."""
    with start_serving(tmp_path_factory.mktemp("conformance")) as simulator:
        simulator.control.set_clock(MONDAY_MORNING)
        simulator.order(qty="3", client_order_id="filled")
        cancelled = simulator.order(qty="1", type="limit", limit_price="1", client_order_id="cancelled").json()
        simulator.request("DELETE", f"/v2/orders/{cancelled['id']}")
        simulator.order(qty="2", type="limit", limit_price="2", client_order_id="working")
        simulator.get("/v2/account"), simulator.get("/v2/account")
        yield simulator


@pytest.fixture(scope="module")
def start_serving():
    from trading_pipeline_tests.simulator.conftest import serving

    return serving


def orders(client):
    return client.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL))


READS: Mapping[str, tuple[Any, Any]] = {
    "get_account": (lambda client: [client.get_account()], TradeAccount),
    "get_all_positions": (lambda client: client.get_all_positions(), Position),
    "get_open_position": (lambda client: [client.get_open_position("SPY")], Position),
    "get_open_position by id": (
        lambda client: [client.get_open_position(client.get_asset("SPY").id)],
        Position,
    ),
    "get_orders": (orders, Order),
    "get_order_by_id": (lambda client: [client.get_order_by_id(orders(client)[0].id)], Order),
    "get_order_by_client_id": (lambda client: [client.get_order_by_client_id("filled")], Order),
    "get_asset": (lambda client: [client.get_asset("SPY")], Asset),
    "get_all_assets": (lambda client: client.get_all_assets(), Asset),
    "get_clock": (lambda client: [client.get_clock()], Clock),
    "get_calendar": (
        lambda client: client.get_calendar(GetCalendarRequest(start=date(2026, 7, 1), end=date(2026, 7, 31))),
        Calendar,
    ),
}


@pytest.mark.parametrize("call", READS)
def test_the_models_of_the_client_read_what_it_asks_for(served, call):
    ask, model = READS[call]

    found = ask(served.trading)

    assert found
    assert {type(item) for item in found} == {model}


DATA_READS: Mapping[str, tuple[Any, Any]] = {
    "latest bar": (lambda client: client.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="SPY")), Bar),
    "latest quote": (
        lambda client: client.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="SPY")),
        Quote,
    ),
    "latest trade": (
        lambda client: client.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols="SPY")),
        Trade,
    ),
}


@pytest.mark.parametrize("call", DATA_READS)
def test_the_models_of_the_data_client_read_what_it_asks_for(served, call):
    ask, model = DATA_READS[call]

    assert {symbol: type(item) for symbol, item in ask(served.data).items()} == {"SPY": model}


def test_the_data_client_reads_bars(served):
    request = StockBarsRequest(symbol_or_symbols=["SPY", "TLT"], timeframe=TimeFrame.Day, start=date(2026, 7, 1))

    bars = served.data.get_stock_bars(request)

    assert isinstance(bars, BarSet)
    assert set(bars.data) == {"SPY", "TLT"}
    assert {type(bar) for bar in bars["SPY"]} == {Bar}


def test_the_client_reads_corporate_actions(simulator):
    simulator.control.split("SPY", date(2026, 7, 28), Decimal(2))
    simulator.control.split("UVXY", date(2026, 7, 29), Decimal("0.1"))
    client = CorporateActionsClient(*simulator.keys, url_override=simulator.url)
    client._session.trust_env = False

    found = client.get_corporate_actions(CorporateActionsRequest(start=date(2026, 7, 1), end=date(2026, 7, 31))).data

    forward, reverse = found["forward_splits"][0], found["reverse_splits"][0]
    assert (type(forward), type(reverse)) == (ForwardSplit, ReverseSplit)
    assert (forward.symbol, forward.new_rate, forward.old_rate) == ("SPY", 2, 1)
    assert (reverse.symbol, reverse.new_rate, reverse.old_rate) == ("UVXY", 1, 10)
    assert (forward.ex_date, reverse.ex_date) == (date(2026, 7, 28), date(2026, 7, 29))


def test_corporate_actions_are_valid_by_the_specification(simulator, specifications):
    specification = specifications["market-data"]
    for symbol, ratio in (("SPY", Decimal(2)), ("UVXY", Decimal("0.1")), ("TLT", Decimal("1.5"))):
        simulator.control.split(symbol, date(2026, 7, 28), ratio)

    reply = simulator.get("/v1/corporate-actions", start="2026-07-01", end="2026-07-31")

    schema = specification.reply("get", "/v1/corporate-actions", "200")
    assert {kind: len(rows) for kind, rows in reply["corporate_actions"].items()} == {
        "forward_splits": 2,
        "reverse_splits": 1,
    }
    assert specification.errors(schema, reply) == []
    for kind, rows in reply["corporate_actions"].items():
        known = specification.component(kind.removesuffix("s"))["properties"].keys()
        assert all(row.keys() <= known for row in rows)


def test_the_client_writes_orders_and_reads_the_replies(trading_day):
    client, terms = trading_day.trading, {"symbol": "SPY", "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY}

    bought = client.submit_order(MarketOrderRequest(**terms, notional=100))
    resting = client.submit_order(LimitOrderRequest(**terms, qty=2, limit_price=1))
    client.get_order_by_id(resting.id)
    replaced = client.replace_order_by_id(resting.id, ReplaceOrderRequest(qty=3))
    client.get_order_by_id(replaced.id)
    ended = client.cancel_order_by_id(replaced.id)
    client.submit_order(LimitOrderRequest(**terms, qty=2, limit_price=1))
    every = client.cancel_orders()

    assert {type(order) for order in (bought, resting, replaced)} == {Order}
    assert replaced.replaces == resting.id
    assert ended is None
    assert {type(item) for item in every} == {CancelOrderResponse}


@pytest.mark.parametrize("request_line", NOT_SIMULATED)
def test_what_is_not_simulated_says_so(served, request_line):
    method, path = request_line.split()

    assert served.request(method, path).status_code in (404, 405)


def one(reply):
    """Return the first row of a reply: of a list, or of the lists or rows by symbol inside an envelope."""
    for kind in ("bars", "quotes", "trades"):
        if isinstance(reply, dict) and kind in reply:
            reply = next(iter(reply[kind].values()))
    return reply[0] if isinstance(reply, list) else reply


@pytest.mark.parametrize("sample", RECORDED)
def test_replies_have_the_keys_of_the_recorded_ones(served, shared_folder, sample):
    path, only_recorded, only_ours = RECORDED[sample]
    folder = shared_folder / "data" / "alpaca" / "samples"
    recorded = json.loads((folder / f"{sample}.json").read_text())
    answered = served.get(path)

    theirs, ours = one(recorded), one(answered)

    assert theirs.keys() - ours.keys() <= only_recorded.keys()
    assert ours.keys() - theirs.keys() <= only_ours.keys()
    assert type(recorded) is type(answered) or sample in ("order_routes__market_order", "order_routes__limit_order")


@pytest.mark.parametrize("kind", sorted({sample.split("__")[0] for sample in RECORDED}))
def test_no_difference_is_excused_that_is_none(served, shared_folder, kind):
    folder = shared_folder / "data" / "alpaca" / "samples"
    for name, which in (("only in the recording", 1), ("only in the simulator", 2)):
        excused, found = set(), set()
        for sample in (sample for sample in RECORDED if sample.startswith(kind)):
            theirs = one(json.loads((folder / f"{sample}.json").read_text())).keys()
            ours = one(served.get(RECORDED[sample][0])).keys()
            excused |= RECORDED[sample][which].keys()
            found |= theirs - ours if which == 1 else ours - theirs

        assert excused == found, name


@dataclass(frozen=True)
class Specification:
    """An OpenAPI 3.0 document, as JSON Schema."""

    document: Mapping[str, Any]

    def errors(self, schema: Mapping[str, Any], reply: object) -> list[str]:
        checker = FormatChecker(formats=())
        wrong = (TypeError, ValueError)
        checker.checks("date-time", raises=wrong)(lambda text: datetime.fromisoformat(text).tzinfo is not None)
        checker.checks("date", raises=wrong)(date.fromisoformat)
        # References are resolved inside the document that the schema stands in.
        whole = {"allOf": [schema], "components": self.document["components"]}
        found = Draft4Validator(whole, format_checker=checker).iter_errors(reply)
        return [f"{error.json_path}: {error.message}" for error in found]

    def reply(self, method: str, path: str, status: str) -> Mapping[str, Any]:
        content = self.document["paths"][path][method]["responses"][status]["content"]
        return content["application/json"]["schema"]

    def component(self, name: str) -> Mapping[str, Any]:
        return self.document["components"]["schemas"][name]


def as_json_schema(part: Any) -> Any:
    """Translate OpenAPI 3.0's ``nullable``, which JSON Schema does not know."""
    if isinstance(part, list):
        return [as_json_schema(item) for item in part]
    if not isinstance(part, dict):
        return part
    schema = {key: as_json_schema(value) for key, value in part.items() if key != "nullable"}
    return {"anyOf": [schema, {"type": "null"}]} if part.get("nullable") is True else schema


@pytest.fixture(scope="module")
def specifications(shared_folder):
    folder = shared_folder / "data" / "alpaca" / "specs"
    return {
        name: Specification(as_json_schema(json.loads((folder / f"{name}-api.json").read_text())))
        for name in ("trading", "market-data")
    }


VALIDATED = [
    ("trading", "/v2/account", "/v2/account"),
    ("trading", "/v2/orders", "/v2/orders?status=all"),
    ("trading", "/v2/orders:by_client_order_id", "/v2/orders:by_client_order_id?client_order_id=filled"),
    ("trading", "/v2/positions", "/v2/positions"),
    ("trading", "/v2/positions/{symbol_or_asset_id}", "/v2/positions/SPY"),
    ("trading", "/v2/assets", "/v2/assets"),
    ("trading", "/v2/assets/{symbol_or_asset_id}", "/v2/assets/SPY"),
    ("trading", "/v2/clock", "/v2/clock"),
    ("trading", "/v2/calendar", "/v2/calendar?start=2026-01-01&end=2026-12-31"),
    ("market-data", "/v2/stocks/bars", "/v2/stocks/bars?symbols=SPY,TLT,NOPE&timeframe=1D&start=2026-01-01"),
    ("market-data", "/v2/stocks/bars/latest", "/v2/stocks/bars/latest?symbols=SPY,NOPE"),
    ("market-data", "/v2/stocks/quotes/latest", "/v2/stocks/quotes/latest?symbols=SPY"),
    ("market-data", "/v2/stocks/trades/latest", "/v2/stocks/trades/latest?symbols=SPY"),
]


@pytest.mark.parametrize(("name", "path", "request_line"), VALIDATED)
def test_replies_are_valid_by_the_specification(served, specifications, name, path, request_line):
    specification = specifications[name]
    reply = served.get(request_line)

    assert reply
    assert specification.errors(specification.reply("get", path, "200"), reply) == []


def test_executions_are_valid_by_the_specification(served, specifications):
    # The reply may be one of two kinds that share every field: only the kind itself tells something.
    specification = specifications["trading"]
    executions = served.get("/v2/account/activities/FILL")

    assert executions
    assert (
        specification.errors({"type": "array", "items": specification.component("TradingActivities")}, executions) == []
    )
    assert all(row.keys() <= specification.component("TradingActivities")["properties"].keys() for row in executions)


def test_movements_of_cash_are_valid_by_the_specification(trading_day, specifications):
    kind = specifications["trading"].component("NonTradeActivities")
    trading_day.control.move_cash("DIV", Decimal("12.34"), "SPY")
    trading_day.control.move_cash("FEE", Decimal("-0.02"))
    rows = trading_day.get("/v2/account/activities")

    # By the specification the day is an instant, in its own example it is a day.
    told = [{**row, "date": row["created_at"]} for row in rows]
    assert len(rows) == 2
    assert specifications["trading"].errors({"type": "array", "items": kind}, told) == []
    assert all(row.keys() <= kind["properties"].keys() for row in rows)


def test_replies_to_orders_are_valid_by_the_specification(trading_day, specifications):
    specification = specifications["trading"]
    sent = trading_day.order(qty="1", type="limit", limit_price="1").json()
    every = trading_day.request("DELETE", "/v2/orders")

    assert specification.errors(specification.reply("post", "/v2/orders", "200"), sent) == []
    assert every.status_code == 207
    assert specification.errors(specification.reply("delete", "/v2/orders", "207"), every.json()) == []


def a_day_of_every_status(served):
    """Let orders come to every status that the simulator knows; return the replies on the way."""
    replies = []

    def order(fault=None, **body):
        if fault:
            served.control.add_fault(times=1, **fault)
        replies.append(served.order(**{"qty": "10", **body}).json())
        return replies[-1]

    def read():
        replies.extend(served.get("/v2/orders", status="all"))

    resting = {"type": "limit", "limit_price": "1"}
    order(client_order_id="while the market is shut", **resting)
    served.control.set_clock(MONDAY_MORNING)
    order()
    order({"action": "partial", "fractions": ["0.3"], "then": "wait"}, symbol="QQQ")
    order({"action": "reject_later"}, symbol="TLT")
    replaced, cancelled = order(symbol="GLD", **resting), order(symbol="IEF", **resting)
    read()
    served.request("PATCH", f"/v2/orders/{replaced['id']}", json={"qty": "5"})
    served.request("DELETE", f"/v2/orders/{cancelled['id']}")
    replies.append(served.get(f"/v2/orders/{cancelled['id']}"))
    read()
    read()
    served.control.set_clock(CLOSING)
    read()
    return replies


EVERY_STATUS = {
    "accepted", "pending_new", "new", "partially_filled", "filled", "canceled", "replaced", "rejected", "expired",
}  # fmt: skip
EVERY_EVENT = {
    "accepted", "pending_new", "new", "partial_fill", "fill", "canceled", "replaced", "rejected", "expired",
}  # fmt: skip


def test_orders_of_every_status_are_valid_by_the_specification_and_the_client(simulator, specifications):
    specification = specifications["trading"]

    replies = a_day_of_every_status(simulator)

    schema = specification.reply("get", "/v2/orders", "200")
    assert {reply["status"] for reply in replies} >= EVERY_STATUS
    assert specification.errors(schema, replies) == []
    assert all(Order(**reply) for reply in replies)
    assert all(reply.keys() <= specification.component("Order")["properties"].keys() | UNSPECIFIED for reply in replies)


def test_events_of_every_kind_are_valid_by_the_specification_and_the_client(simulator, specifications):
    specification = specifications["trading"]
    schema = specification.reply("post", "/v2/orders", "200")
    key, secret = simulator.keys
    with connect(simulator.url.replace("http", "ws") + "/stream", proxy=None) as websocket:
        websocket.send(json.dumps({"action": "auth", "key": key, "secret": secret}))
        websocket.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        websocket.recv(30), websocket.recv(30)
        a_day_of_every_status(simulator)
        count = len(simulator.control.events())
        updates = [json.loads(websocket.recv(30))["data"] for _ in range(count)]

    assert {update["event"] for update in updates} >= EVERY_EVENT
    assert [error for update in updates for error in specification.errors(schema, update["order"])] == []
    assert all(isinstance(TradeUpdate(**update), TradeUpdate) for update in updates)
    assert len({update["execution_id"] for update in updates}) == count


@pytest.mark.parametrize(
    "body",
    [{"qty": "-1"}, {"qty": "1", "symbol": "NOPE"}, {"qty": "1000000"}, {"qty": "1", "side": "sell"}],
)
def test_refused_orders_are_errors_by_the_specification(served, specifications, body):
    reply = served.order(**body)

    assert reply.status_code in (403, 422)
    assert specifications["trading"].errors(specifications["trading"].component("Error"), reply.json()) == []


def test_the_validation_finds_a_reply_that_is_wrong(served, specifications):
    specification = specifications["trading"]
    order = served.get("/v2/orders?status=all")[0]
    schema = specification.reply("post", "/v2/orders", "200")

    wrong = [
        {key: value for key, value in order.items() if key != "notional"},
        {**order, "status": "unheard_of"},
        {**order, "filled_qty": 3},
        {**order, "created_at": "yesterday"},
        {**order, "filled_qty": None},
    ]

    assert specification.errors(schema, order) == []
    assert all(specification.errors(schema, reply) for reply in wrong)
