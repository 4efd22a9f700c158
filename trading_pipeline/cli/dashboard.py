"""``trading-pipeline dashboard``: the live page of a folder, on this machine only; ``dev`` serves it too."""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.cli.console import notices
from trading_pipeline.cli.options import BarsFile, HomeFolder, SettingsFile
from trading_pipeline.domain.errors import InvalidInput, PipelineError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from trading_pipeline.cli.live_desk import LiveDesk
    from trading_pipeline.cli.workshop import Choice

LOOPBACK = "127.0.0.1"
LOCAL_NAMES = [LOOPBACK, "localhost"]
NOT_FOUND = 404
UNAVAILABLE = 503
SECONDS_TO_STOP = 2
SECONDS_TO_START = 30


def dashboard(
    port: Annotated[
        int | None,
        typer.Option(
            help="Port on this machine, 0 for any; reports.live_port of the settings without it.", min=0, max=65535
        ),
    ] = None,
    bars: BarsFile = None,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Serve the page that shows how trading stands now, until Ctrl-C; it reads, and trades nothing."""
    from trading_pipeline.cli.workshop import chosen

    choice = chosen(settings_file, home, bars)
    ended = threading.Event()
    with served(choice, port) as address:
        notices().print(f"Live page: {address}   (Ctrl-C stops it)")
        try:
            ended.wait()
        except KeyboardInterrupt:
            notices().print("stopping")


@contextmanager
def served(choice: "Choice", port: int | None = None) -> Iterator[str]:
    """Serve the live page from a thread of this process while the block lasts; yields its address.

    Raises:
        InvalidInput: the port cannot be used, or nothing answers there in time.
    """
    import uvicorn

    listening = listening_at(choice.settings.reports.live_port if port is None else port)
    made = application(desk_of(choice), choice)
    configuration = uvicorn.Config(made, log_level="warning", lifespan="off", timeout_graceful_shutdown=SECONDS_TO_STOP)
    server = uvicorn.Server(configuration)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="live page", daemon=True)
    with listening:
        thread.start()
        try:
            # What connects meanwhile waits in the queue of the socket, which listens already.
            yield f"http://{LOOPBACK}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(SECONDS_TO_START)


def listening_at(port: int) -> socket.socket:
    """Return a socket that listens at ``port`` of this machine alone, a free one where it is 0.

    Raises:
        InvalidInput: the port cannot be used.
    """
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise InvalidInput(
            f"port {port} cannot be used for the live page ({error.strerror}); set reports.live_port to another, or "
            f"to 0 for any that is free"
        ) from None
    return listening


def desk_of(choice: "Choice") -> "LiveDesk":
    """Return who gathers the live page of the chosen folder; the world is opened, and no broker asked."""
    from trading_pipeline.cli.live_desk import LiveDesk
    from trading_pipeline.defs.health_facts import HealthDesk
    from trading_pipeline.defs.resources import TradingWorld

    world = TradingWorld(choice.settings, choice.home.prepared())
    return LiveDesk(world, HealthDesk(choice.settings, choice.home, os.environ))


def application(desk: "LiveDesk", choice: "Choice") -> "Starlette":
    """Return the live page, the daily reports and the health endpoint as one application.

    Requests that name another host than this machine are refused, so that no
    page of elsewhere reads along under a name of its own.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    from trading_pipeline.cli.health import shown as shown_health
    from trading_pipeline.cli.health_server import health_routes

    pages = _Pages(desk, choice)
    return Starlette(
        routes=[
            Route("/", pages.live),
            Route("/fragment", pages.fragment),
            Route("/reports/{name}", pages.report),
            *health_routes(lambda: shown_health(desk.health_desk)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=LOCAL_NAMES)],
    )


class _Pages:
    """The endpoints; each is called in a thread of its own."""

    def __init__(self, desk: "LiveDesk", choice: "Choice") -> None:
        self._desk = desk
        self._choice = choice

    def live(self, _: "Request") -> "Response":
        from trading_pipeline.reporting import dashboard as page

        nonce = secrets.token_urlsafe(16)
        chosen = self._choice.settings
        try:
            inner = self._desk.fragment()
        except PipelineError as error:
            inner = _failure(self._hidden(str(error)))
        shown = page.page(inner, chosen.mode.value, chosen.reports.live_refresh_seconds, nonce)
        return _html(shown, f"'nonce-{nonce}'")

    def fragment(self, _: "Request") -> "Response":
        from starlette.responses import PlainTextResponse

        try:
            return _html(self._desk.fragment())
        except PipelineError as error:
            return PlainTextResponse(self._hidden(str(error)), UNAVAILABLE, _headers("'none'"))

    def report(self, request: "Request") -> "Response":
        from starlette.responses import PlainTextResponse

        from trading_pipeline.reporting.report_files import report_path, sessions_reported

        day = _day(request.path_params["name"])
        folder = self._choice.home.folder
        if day is None or day not in sessions_reported(folder):
            return PlainTextResponse("There is no report of that session.", NOT_FOUND, _headers("'none'"))
        return _html(self._hidden(report_path(folder, day).read_text(encoding="utf-8")))

    def _hidden(self, text: str) -> str:
        redactor = self._desk.world.redactor
        return text if redactor is None else redactor.text(text)


def _day(name: str) -> date | None:
    try:
        return date.fromisoformat(name.removesuffix(".html"))
    except ValueError:
        return None


def _failure(trouble: str) -> str:
    from html import escape

    return f"<h1>Trading now</h1><p>Nothing can be shown: {escape(trouble)}</p>"


def _html(text: str, scripts: str = "'none'") -> "Response":
    from starlette.responses import HTMLResponse

    return HTMLResponse(text, headers=_headers(scripts))


def _headers(scripts: str) -> dict[str, str]:
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {scripts}; connect-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    # What was so a moment ago is not what is.
    return {
        "cache-control": "no-store",
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
