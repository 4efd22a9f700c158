"""The fault layer: plain ASGI between the gate and the endpoints, where requests and replies go wrong.

What goes wrong is told by the rules of :mod:`trading_pipeline.simulator.fault_rules`:

======================  ====================================================================
action                  what happens to a request
======================  ====================================================================
``pass``                nothing: it is counted
``status``              answered with ``status``, ``body`` and ``headers`` before any endpoint
                        sees it; ``bare`` leaves out the rate limit headers
``maintenance``         the same; meant for a window: ``match.between``
``reject``              refused with the error of that ``name``
``duplicate_cid``       refused as a repeated client order id
``sip_403``             refused as recent SIP data, unless it asks for IEX
``hang``                nothing happens, for ``seconds``; then the connection is reset
``reset``               the connection is reset at once, nothing happens
``late_accept``         no answer (reset, or that ``status``); handled ``seconds`` later
``accept_then_status``  handled, and answered with ``status``
``accept_then_hang``    handled; no answer for ``seconds``, then a reset
``accept_then_reset``   handled; the connection is reset without a byte
``accept_then_cut``     handled; the answer ends in the middle of its body
``drip``                handled; the answer comes a byte every ``interval`` seconds
``garbage``             handled; the answer is ``truncated``, an empty ``object``, ``html`` or
                        ``empty``
``unknown_enum``        handled; ``field`` of the answer (of each row) becomes ``value``
``drop_field``          handled; ``field`` is left out of the answer (of each row)
``extra_field``         handled; the answer (each row) has one more field
``page_repeat``         every page is the first one, and says that there is one more
``page_fail``           a page that is not the first is answered with ``status``
``clock_skew``          ``/v2/clock`` and the ``Date`` header are off by ``seconds``
``kill``                process ``pid`` is killed (SIGKILL): ``before`` the request is handled,
                        which it then never is, or ``after``, before the answer leaves
======================  ====================================================================

and to an order, from its submission on: ``partial`` (executions of those
``fractions``, ``then`` the rest, a cancel, or nothing until it is released),
``stuck`` in a ``status`` until released or ``until`` an instant, ``reject_later``,
``cancel_race`` (the fill wins; with ``refuse`` the cancel is refused for it).
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trading_pipeline.simulator.broker import Broker
from trading_pipeline.simulator.fault_rules import Facts, FaultTable, Json, Rule, behaviour_of
from trading_pipeline.simulator.gate import ACCOUNT, BARE, CONTROL, SKEW, too_many
from trading_pipeline.simulator.protocol import TRANSPORT
from trading_pipeline.simulator.refusals import NAMED, Refusal, bad_parameter

BEHAVIOUR = "trading_pipeline.behaviour"

# Linger for no time: the connection ends with RST instead of FIN.
_RESET = struct.pack("ii", 1, 0)
_PAGING = frozenset({"page_token", "until", "after"})
_NEXT_PAGE = "next_page_token"


@dataclass
class Call:
    """A request on its way: what is known of it, and how to answer it."""

    scope: Scope
    body: bytes
    receive: Receive
    send: Send
    app: ASGIApp

    async def request(self) -> Message:
        """Give the application the request that was read already."""
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def handle(self) -> None:
        """Let the application answer."""
        await self.app(self.scope, self.request, self.send)

    async def reply(self) -> "Reply":
        """Let the application answer, and keep the answer back."""
        kept = Reply()
        await self.app(self.scope, self.request, kept.take)
        return kept

    async def answer(self, response: ASGIApp) -> None:
        """Answer in the application's place."""
        await response(self.scope, self.receive, self.send)

    async def reset(self) -> None:
        """End the connection with a TCP reset."""
        transport: asyncio.Transport = self.scope["extensions"][TRANSPORT]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
        await self.disconnected()

    async def cut(self) -> None:
        """End the connection after what was sent."""
        self.scope["extensions"][TRANSPORT].close()
        await self.disconnected()

    async def disconnected(self) -> None:
        """Wait until there is no connection any more."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def silence(self, seconds: float) -> None:
        """Say nothing until the client has gone, for ``seconds`` at most; then reset."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.disconnected(), seconds)
            return
        await self.reset()


@dataclass
class Reply:
    """An answer that was kept back."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def take(self, message: Message) -> None:
        """Take a message of the application."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")

    async def start(self, call: Call) -> None:
        """Send status and headers."""
        await call.send({"type": "http.response.start", "status": self.status, "headers": self.headers})

    async def send(self, call: Call) -> None:
        """Send everything."""
        await self.start(call)
        await call.send({"type": "http.response.body", "body": self.body})

    def replaced(self, body: bytes) -> "Reply":
        """Return the answer with another body."""
        headers = [(name, value) for name, value in self.headers if name != b"content-length"]
        return Reply(self.status, [*headers, (b"content-length", str(len(body)).encode())], body)


class Faults:
    """ASGI middleware: lets the rules of a table apply to every request but those of the control plane."""

    def __init__(self, app: ASGIApp, table: FaultTable, now: Callable[[], datetime]) -> None:
        self._app = app
        self._table = table
        self._now = now
        self._late: set[asyncio.Task[None]] = set()
        self._acts: Mapping[str, Callable[[Call, Rule], Awaitable[None]]] = {
            "status": _status,
            "maintenance": _status,
            "page_fail": _status,
            "reject": _reject,
            "duplicate_cid": _duplicate,
            "sip_403": _sip,
            "hang": _hang,
            "reset": _reset,
            "late_accept": self._late_accept,
            "accept_then_status": _accept_then_status,
            "accept_then_hang": _accept_then_hang,
            "accept_then_cut": _accept_then_cut,
            "accept_then_reset": _accept_then_reset,
            "drip": _drip,
            "garbage": _garbage,
            "unknown_enum": _changed,
            "drop_field": _changed,
            "extra_field": _changed,
            "page_repeat": _page_repeat,
            "kill": _kill,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or let it go wrong."""
        if scope["type"] != "http" or scope["path"].startswith(CONTROL) or not self._table:
            await self._app(scope, receive, send)
            return
        call = Call(scope, await _read(receive), receive, send, self._app)
        rules = self._table.applying(_facts(call, self._now()))
        scope[BEHAVIOUR] = behaviour_of(rules)
        scope[SKEW] = sum(rule.options["seconds"] for rule in rules if rule.action == "clock_skew")
        if rules and rules[-1].decides:
            await self._acts[rules[-1].action](call, rules[-1])
        elif scope[SKEW] and scope["path"] == "/v2/clock":
            await _skewed(call)
        else:
            await call.handle()

    async def _late_accept(self, call: Call, rule: Rule) -> None:
        async def handle() -> None:
            await asyncio.sleep(rule.options["seconds"])
            await call.reply()

        task = asyncio.get_running_loop().create_task(handle())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        if rule.options["status"] is None:
            await call.reset()
        else:
            await call.answer(Response(status_code=rule.options["status"]))


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _facts(call: Call, now: datetime) -> Facts:
    """Gather what rules match; an order that is named by its id stands for its symbol and client id."""
    scope, broker = call.scope, call.scope[ACCOUNT].broker
    query = dict(parse_qsl(scope["query_string"].decode()))
    symbols, client_order_id = _subject(scope["path"], query, _object(call.body), broker)
    return Facts(
        method=scope["method"],
        path=scope["path"],
        account=broker.account_number,
        at=now,
        symbols=frozenset(symbols),
        client_order_id=client_order_id,
        feed=query.get("feed", ""),
        pages_on=bool(_PAGING & query.keys()),
    )


def _subject(path: str, query: Mapping[str, str], body: Json, broker: Broker) -> tuple[set[str], str]:
    parts = path.split("/")
    symbols = {symbol for symbol in query.get("symbols", "").split(",") if symbol}
    client_order_id = str(body.get("client_order_id") or query.get("client_order_id", ""))
    if body.get("symbol"):
        symbols.add(str(body["symbol"]))
    if path.startswith(("/v2/positions/", "/v2/assets/")):
        symbols.add(parts[3])
    order = broker.peek(parts[3]) if path.startswith("/v2/orders/") else broker.peek_client_id(client_order_id)
    if order is not None:
        symbols.add(order.symbol)
        client_order_id = client_order_id or order.client_order_id
    return symbols, client_order_id


def _object(body: bytes) -> Json:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def _status(call: Call, rule: Rule) -> None:
    call.scope[BARE] = rule.options["bare"]
    await call.answer(_response(call.scope["path"], rule.options))


def _response(path: str, options: Mapping[str, Any]) -> Response:
    status, body, headers = options["status"], options["body"], options["headers"]
    if isinstance(body, str):
        return Response(body, status, headers)
    if body is not None:
        return JSONResponse(body, status, headers)
    if status == 429:  # noqa: PLR2004 - Too Many Requests
        response = too_many(path)
        response.headers.update(headers)
        return response
    if status == 500:  # noqa: PLR2004 - Internal Server Error
        return JSONResponse({"code": 50010000, "message": "internal server error occurred"}, status, headers)
    if status == 502:  # noqa: PLR2004 - Bad Gateway
        return Response("<html>502 Bad Gateway</html>", status, headers, "text/html")
    return Response(b"", status, headers)


async def _reject(call: Call, rule: Rule) -> None:
    symbol = str(_object(call.body).get("symbol", ""))
    await _refuse(call, NAMED[rule.options["name"]].for_symbol(symbol))


async def _duplicate(call: Call, _: Rule) -> None:
    await _refuse(call, bad_parameter("client_order_id must be unique"))


async def _sip(call: Call, _: Rule) -> None:
    await _refuse(call, Refusal(403, "subscription does not permit querying recent SIP data"))


async def _refuse(call: Call, refusal: Refusal) -> None:
    await call.answer(JSONResponse(refusal.body, refusal.status))


async def _hang(call: Call, rule: Rule) -> None:
    await call.silence(rule.options["seconds"])


async def _reset(call: Call, _: Rule) -> None:
    await call.reset()


async def _accept_then_status(call: Call, rule: Rule) -> None:
    await call.reply()
    await _status(call, rule)


async def _accept_then_hang(call: Call, rule: Rule) -> None:
    await call.reply()
    await call.silence(rule.options["seconds"])


async def _accept_then_cut(call: Call, _: Rule) -> None:
    reply = await call.reply()
    if not reply.body:
        await call.reset()
        return
    await reply.start(call)
    await call.send({"type": "http.response.body", "body": reply.body[: len(reply.body) // 2], "more_body": True})
    await call.cut()


async def _accept_then_reset(call: Call, _: Rule) -> None:
    await call.reply()
    await call.reset()


async def _drip(call: Call, rule: Rule) -> None:
    reply = await call.reply()
    await reply.start(call)
    gone = asyncio.ensure_future(call.disconnected())
    for place in range(len(reply.body)):
        await call.send({"type": "http.response.body", "body": reply.body[place : place + 1], "more_body": True})
        await asyncio.wait([gone], timeout=rule.options["interval"])
        if gone.done():
            return
    await call.send({"type": "http.response.body", "body": b""})
    gone.cancel()


async def _garbage(call: Call, rule: Rule) -> None:
    reply = await call.reply()
    spoilt = {
        "truncated": reply.body[: max(len(reply.body) // 2, 1)] or b"{",
        "object": b"{}",
        "html": b"<html><body>It works!</body></html>",
        "empty": b"",
    }
    await reply.replaced(spoilt[rule.options["kind"]]).send(call)


async def _changed(call: Call, rule: Rule) -> None:
    reply = await call.reply()
    await _changed_rows(reply, rule).send(call)


def _changed_rows(reply: Reply, rule: Rule) -> Reply:
    if reply.status >= 400 or not reply.body:  # noqa: PLR2004 - errors stay as they are
        return reply
    found = json.loads(reply.body)
    name = rule.options["field"]
    for row in found if isinstance(found, list) else [found]:
        if rule.action == "drop_field":
            row.pop(name, None)
        elif rule.action == "extra_field" or name in row:
            row[name] = rule.options["value"]
    return reply.replaced(json.dumps(found).encode())


async def _page_repeat(call: Call, _: Rule) -> None:
    query = parse_qsl(call.scope["query_string"].decode())
    first = [(name, value) for name, value in query if name not in _PAGING]
    call.scope["query_string"] = urlencode(first).encode()
    reply = await call.reply()
    found = json.loads(reply.body)
    if isinstance(found, dict) and _NEXT_PAGE in found:
        found[_NEXT_PAGE] = found[_NEXT_PAGE] or "Rmlyc3Q="
    await reply.replaced(json.dumps(found).encode()).send(call)


async def _skewed(call: Call) -> None:
    reply = await call.reply()
    found = json.loads(reply.body)
    told = datetime.fromisoformat(found["timestamp"]) + timedelta(seconds=call.scope[SKEW])
    await reply.replaced(json.dumps({**found, "timestamp": told.isoformat()}).encode()).send(call)


async def _kill(call: Call, rule: Rule) -> None:
    if rule.options["when"] == "after":
        await call.reply()
    with contextlib.suppress(ProcessLookupError):
        os.kill(rule.options["pid"], signal.SIGKILL)
    await call.reset()
