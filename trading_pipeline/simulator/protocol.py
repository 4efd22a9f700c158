"""Uvicorn's HTTP, with connections that the application can end without a closing word."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TRANSPORT = "trading_pipeline.transport"


class HttpProtocol(HttpToolsProtocol):
    """Hands the transport of a request to the application, in the extensions of its scope."""

    transport: asyncio.Transport

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {TRANSPORT: self.transport}
