"""The endpoint ``/health``: routes that any application on this machine may mount, and a server of their own."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from trading_pipeline.domain.errors import InvalidInput, PipelineError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from trading_pipeline.application.health import Health

LOOPBACK = "127.0.0.1"
PATH = "/health"
WELL = 200
NOT_WELL = 503
SECONDS_TO_STOP = 2


def health_routes(health: Callable[[], "Health"]) -> list["Route"]:
    """Return the route ``/health``, which answers with what ``health`` returns, as JSON.

    The status is 200 where all is well and 503 where something is not, or
    cannot be told; monitors need not read the answer. ``health`` is called in
    a thread of its own at every request and may raise a PipelineError.
    """
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    def answer(_: "Request") -> "JSONResponse":
        try:
            found = health()
        except PipelineError as error:
            return JSONResponse({"level": "unknown", "error": str(error)}, NOT_WELL, _HEADERS)
        return JSONResponse(found.document(), NOT_WELL if found.exit_code else WELL, _HEADERS)

    return [Route(PATH, answer, methods=["GET"])]


# An answer of a minute ago is the wrong one.
_HEADERS = {"cache-control": "no-store"}


def served(health: Callable[[], "Health"], port: int, say: Callable[[str], None]) -> None:
    """Answer at ``port`` of this machine alone, a free one where it is 0, until the process is asked to end.

    ``say`` is told the address once it answers.

    Raises:
        InvalidInput: the port cannot be used.
    """
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    listening = _listening(port)
    say(f"http://{LOOPBACK}:{listening.getsockname()[1]}{PATH}")
    configuration = uvicorn.Config(
        Starlette(
            routes=health_routes(health),
            # No page of elsewhere reads along under a name of its own.
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])],
        ),
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=SECONDS_TO_STOP,
    )
    with listening:
        uvicorn.Server(configuration).run(sockets=[listening])


def _listening(port: int) -> socket.socket:
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise InvalidInput(f"port {port} cannot be used ({error.strerror}); choose another with --port") from None
    return listening
