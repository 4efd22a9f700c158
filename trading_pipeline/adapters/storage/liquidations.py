"""Liquidations that were asked for, as JSON objects sealed with checksums: one for each change of the trading state."""

import functools
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trading_pipeline.adapters.storage.objects import Objects
from trading_pipeline.domain.errors import DataError, PipelineError
from trading_pipeline.domain.liquidation import LiquidationRequest

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION = 1
PREFIX = "liquidations/requests/"


class StoredLiquidations:
    """Requests by the change of the trading state that each answers; any number of processes may share them.

    Raises, from every method:
        DataError: a request cannot be read.
        InvalidInput: the folder cannot be used.
        DependencyUnavailable: the disk fails.
    """

    def __init__(self, objects: Objects) -> None:
        """Keep requests among ``objects``, below ``liquidations/requests/``."""
        self._objects = objects

    def of(self, account_number: str, epoch: int) -> LiquidationRequest | None:
        """Return the account's request of that change of the trading state, or None where there is none."""
        key = _key(account_number, epoch)
        content = self._objects.get(key)
        return None if content is None else _unsealed(content, key)

    def newest(self, account_number: str) -> LiquidationRequest | None:
        """Return the account's request of the latest change, or None where there is none at all."""
        keys = self._objects.list(f"{PREFIX}{account_number}/")
        content = self._objects.get(keys[-1]) if keys else None
        return None if content is None else _unsealed(content, keys[-1])

    def agreed(self) -> Sequence[LiquidationRequest]:
        """Return each account's newest request, where that was agreed to and is not over."""
        newest = {key.rpartition("/")[0]: key for key in self._objects.list(PREFIX)}
        contents = {key: self._objects.get(key) for key in newest.values()}
        requests = [_unsealed(content, key) for key, content in contents.items() if content is not None]
        return [request for request in requests if request.stage.is_agreed]

    def replace(self, earlier: LiquidationRequest | None, request: LiquidationRequest) -> bool:
        """Store ``request`` if what is there is still ``earlier`` (None: nothing); tell whether it was stored."""
        key, expected = _key(request.account_number, request.epoch), None if earlier is None else _sealed(earlier)
        return self._objects.replace(key, expected, _sealed(request))


def _key(account_number: str, epoch: int) -> str:
    return f"{PREFIX}{account_number}/{epoch:08d}.json"


@functools.cache
def _adapter() -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(LiquidationRequest)


def _sealed(request: LiquidationRequest) -> bytes:
    body = _adapter().dump_json(request)
    seal = hashlib.sha256(body).hexdigest()
    return b'{"schema_version":%d,"sha256":"%b","request":%b}\n' % (SCHEMA_VERSION, seal.encode(), body)


def _unsealed(content: bytes, key: str) -> LiquidationRequest:
    from pydantic_core import from_json

    try:
        envelope = from_json(content)
        request: LiquidationRequest = _adapter().validate_python(envelope["request"])
        is_whole = envelope["schema_version"] == SCHEMA_VERSION and _sealed(request) == content
    except (PipelineError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{key} cannot be read ({type(error).__name__}); restore it from a copy") from error
    if not is_whole or key != _key(request.account_number, request.epoch):
        raise DataError(f"{key} was changed after it was written; restore it from a copy")
    return request
