"""The account at Alpaca and its orders."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from trading_pipeline.adapters.alpaca import translation
from trading_pipeline.adapters.alpaca.refusals import rejection
from trading_pipeline.adapters.alpaca.translation import Row
from trading_pipeline.adapters.alpaca.transport import Api
from trading_pipeline.domain.errors import (
    CircuitOpen,
    DependencyUnavailable,
    Interrupted,
    PipelineError,
    RequestRefused,
)
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import (
    Accepted,
    BrokerOrder,
    NotSent,
    OrderIntent,
    OrderResult,
    Unknown,
)
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.sessions import NEW_YORK
from trading_pipeline.ports import Asset, CashMovement, Clock

# One request each up to here. Beyond, the list of ten thousand assets takes as long as a few dozen requests, and
# leaves more of the two hundred that an account has each minute.
FEW_SYMBOLS = 10
ACTIVITIES_A_PAGE = 100
ORDERS_A_PAGE = 500
# Alpaca filters by when a movement was created, which may be days before the day that it is dated.
BOOKED_AHEAD = timedelta(days=7)

INVALID_PARAMETER = "40010001"
NOT_FOUND = "40410000"
NOT_CANCELABLE = "42210000"


class AlpacaBroker:
    """The account behind one pair of keys, simulated, paper or live."""

    def __init__(self, trading: Api, clock: Clock) -> None:
        """Trade through ``trading``; ``clock`` stamps what is read."""
        self._trading = trading
        self._clock = clock

    def portfolio(self) -> Portfolio:
        """Return cash and positions as they are now, and why the account may not trade if it may not.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
        """
        as_of = self._clock.now()
        account = self._trading.get("/account")
        return translation.portfolio(account, self._trading.get("/positions"), as_of)

    def assets(self, symbols: Sequence[str]) -> Mapping[str, Asset]:
        """Return what Alpaca knows of each symbol; one that it does not know is absent.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
        """
        wanted = set(symbols)
        rows = self._active_assets(wanted) if len(wanted) > FEW_SYMBOLS else {}
        # The list holds active assets only: whatever is not on it may be inactive or unknown, which differ.
        for symbol in sorted(wanted - rows.keys()):
            row = self._found(f"/assets/{quote(symbol, safe='')}")
            if row is not None:
                rows[symbol] = row
        return {symbol: translation.asset(rows[symbol]) for symbol in sorted(rows)}

    def _active_assets(self, wanted: set[str]) -> dict[str, Row]:
        rows = self._trading.get("/assets", {"status": "active", "asset_class": "us_equity"})
        return translation.listed_assets(rows, wanted)

    def submit(self, intent: OrderIntent) -> OrderResult:
        """Send an order once, whatever the answer.

        Rejected means that Alpaca itself refused, with its own code. Anything
        less than that or a readable order is Unknown: no answer, a server
        error, too many requests, keys that were not accepted. An id that was
        used before is looked up, and adopted if it is found. While Alpaca is
        being left alone nothing is sent.
        """
        try:
            answer = self._trading.post("/orders", translation.order_request(intent))
            return self._accepted(intent, translation.order(answer))
        except RequestRefused as refusal:
            return self._refused(intent, refusal)
        except Interrupted:
            # While it waited for its turn: nothing was sent.
            raise
        except CircuitOpen as open_circuit:
            return NotSent(intent.client_order_id, str(open_circuit))
        except PipelineError as error:
            return Unknown(intent.client_order_id, str(error))

    def turn_to_submit(self) -> AbstractContextManager[None]:
        """Wait until an order may be sent; :meth:`submit` inside the block sends it without waiting.

        Raises:
            RateLimited: the turn would come too late; nothing was sent.
            Interrupted: the process was asked to end while it waited.
        """
        return self._trading.turn_to_post()

    def _accepted(self, intent: OrderIntent, order: BrokerOrder) -> OrderResult:
        if order.client_order_id != intent.client_order_id:
            return Unknown(intent.client_order_id, f"the answer speaks of another order, {order.client_order_id}")
        return Accepted(order)

    def _refused(self, intent: OrderIntent, refusal: RequestRefused) -> OrderResult:
        if not refusal.code:
            return Unknown(intent.client_order_id, f"refused by something that is not Alpaca: {refusal}")
        if refusal.code != INVALID_PARAMETER:
            return rejection(intent.client_order_id, refusal)
        return self._refused_or_known(intent, refusal)

    def _refused_or_known(self, intent: OrderIntent, refusal: RequestRefused) -> OrderResult:
        """Tell a used id from any other bad parameter, which share a code."""
        try:
            known = self.order(intent.client_order_id)
        except PipelineError as error:
            return Unknown(intent.client_order_id, f"{refusal}; and the order of that id could not be read: {error}")
        if known is not None:
            return Accepted(known)
        if "unique" in str(refusal):
            return Unknown(intent.client_order_id, f"{refusal}; yet no order of that id was found")
        return rejection(intent.client_order_id, refusal)

    def order(self, client_order_id: str) -> BrokerOrder | None:
        """Return the order of that id, or None if Alpaca has never seen it.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
        """
        row = self._found("/orders:by_client_order_id", {"client_order_id": client_order_id})
        return None if row is None else translation.order(row)

    def orders(self, since: datetime | None = None) -> Sequence[BrokerOrder]:
        """Return every order submitted at ``since`` or later, oldest first; without it, those that are still open.

        However many there are: pages are asked for until one is not full.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
        """
        found = list(self._pages_of_orders(since))
        return found if since is None else [order for order in found if order.submitted_at >= since]

    def _pages_of_orders(self, since: datetime | None) -> Iterator[BrokerOrder]:
        status = "open" if since is None else "all"
        page: dict[str, str | int] = {"status": status, "direction": "asc", "limit": ORDERS_A_PAGE}
        if since is not None:
            page["after"] = _just_before(since)
        seen: set[str] = set()
        while True:
            rows = self._trading.get("/orders", page)
            yield from (order for order in translation.orders(rows) if order.venue_order_id not in seen)
            # Orders of several legs, which are not read, fill a page as the others do.
            if len(rows) < ORDERS_A_PAGE:
                return
            ids = translation.order_ids(rows).keys()
            if ids <= seen:
                raise DependencyUnavailable(
                    f"Alpaca sent a page of {len(rows)} orders twice, after {page.get('after')}: it would never "
                    f"end; more orders than a page holds share one instant"
                )
            seen |= ids
            # Orders of the last one's own instant may stand on the next page as well.
            page["after"] = _just_before(translation.submitted_at(rows[-1]))

    def cancel(self, venue_order_id: str) -> None:
        """Ask once for an order to be cancelled; whether it was is read from the order.

        An order that is over, or that Alpaca does not know, is no error here.

        Raises:
            TransientError: no usable answer; the order may be cancelled all the same.
            PermanentError: the request was refused.
        """
        try:
            self._trading.delete(f"/orders/{quote(venue_order_id, safe='')}")
        except RequestRefused as refusal:
            if refusal.code not in {NOT_FOUND, NOT_CANCELABLE}:
                raise

    def executions(self, after: datetime) -> Sequence[Fill]:
        """Return every execution of the account from the instant ``after`` on, oldest first.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
        """
        # Alpaca reads whole seconds and leaves out the instant itself.
        start = after.astimezone(UTC) - timedelta(seconds=1)
        activities = list(self._activities(f"/{translation.EXECUTION}", start))
        ids = self._client_order_ids({translation.filled_order_id(activity) for activity in activities})
        fills = [translation.fill(row, ids[translation.filled_order_id(row)]) for row in activities]
        return sorted((fill for fill in fills if fill.filled_at >= after), key=lambda fill: fill.filled_at)

    def cash_movements(self, after: datetime) -> Sequence[CashMovement]:
        """Return the movements of the New York day of ``after`` and of later ones, in the order of their booking.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
        """
        rows = self._activities("", after.astimezone(UTC) - BOOKED_AHEAD, category="non_trade_activity")
        first = after.astimezone(NEW_YORK).date()
        return [movement for movement in translation.cash_movements(list(rows)) if movement.day >= first]

    def _activities(self, kind: str, after: datetime, **which: str) -> Iterator[Row]:
        page: dict[str, str | int] = {
            **which,
            "after": after.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "direction": "asc",
            "page_size": ACTIVITIES_A_PAGE,
        }
        seen: set[str] = set()
        while True:
            rows = self._trading.get(f"/account/activities{kind}", page)
            fresh = [row for row in rows if translation.activity_id(row) not in seen]
            if rows and not fresh:
                raise DependencyUnavailable(
                    f"Alpaca sent a page of activities twice, after {page.get('page_token')!r}: "
                    "it would never end; try later"
                )
            yield from fresh
            if len(rows) < ACTIVITIES_A_PAGE:
                return
            seen.update(translation.activity_id(row) for row in fresh)
            page["page_token"] = translation.activity_id(rows[-1])

    def _client_order_ids(self, wanted: set[str]) -> Mapping[str, str]:
        """Return the client order ids by Alpaca's ids: the newest orders in one request, older ones singly."""
        if not wanted:
            return {}
        newest = self._trading.get("/orders", {"status": "all", "direction": "desc", "limit": ORDERS_A_PAGE})
        known = translation.order_ids(newest)
        older = [self._trading.get(f"/orders/{quote(venue_id, safe='')}") for venue_id in sorted(wanted - known.keys())]
        return known | translation.order_ids(older)

    def _found(self, path: str, parameters: Mapping[str, str] | None = None) -> Row | None:
        """Return the JSON at ``path``, or None where Alpaca itself says that there is none.

        A 404 without Alpaca's code comes from a wrong address, which tells nothing.
        """
        try:
            row: Row = self._trading.get(path, parameters)
        except RequestRefused as refusal:
            if refusal.code == NOT_FOUND:
                return None
            raise
        return row


def _just_before(instant: datetime) -> str:
    """Return ``instant`` less a little, since Alpaca leaves out the instant itself and cuts nanoseconds."""
    return (instant.astimezone(UTC) - timedelta(microseconds=1)).isoformat().replace("+00:00", "Z")
