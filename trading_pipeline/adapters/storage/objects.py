"""Small objects that are written whole or not at all, and the plans among them."""

import errno
import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trading_pipeline.domain.errors import (
    DataError,
    DependencyUnavailable,
    InvalidInput,
)
from trading_pipeline.domain.orders import Plan

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# Plans of the first version held no decisions and had one purpose.
SCHEMA_VERSION = 2
_ADDED_SINCE = {1: {"decisions", "purpose"}, SCHEMA_VERSION: set[str]()}
LOCK_SECONDS = 30.0

_KEY_PART = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]*")
# Asking again does not help while these hold; a person must change the folder.
_A_PERSON_MUST_ACT = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
)


class Objects(Protocol):
    """Bytes by key; every write is atomic, and durable when it returns."""

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Write ``content`` unless the key exists; tell whether it was written."""
        ...

    def put(self, key: str, content: bytes) -> None:
        """Write ``content``, in place of what was there."""
        ...

    def replace(self, key: str, expected: bytes | None, content: bytes) -> bool:
        """Write ``content`` if what is there is still ``expected`` (None: nothing); tell whether it was written."""
        ...

    def get(self, key: str) -> bytes | None:
        """Return what was written, or None where nothing was."""
        ...

    def list(self, prefix: str) -> Sequence[str]:
        """Return the keys that begin with ``prefix``, sorted."""
        ...


class FileObjects:
    """Objects as files below a folder; a key is a relative path with forward slashes.

    Raises, from every method:
        InvalidInput: the key is no such path, or the folder cannot be used.
        DependencyUnavailable: the disk is full or fails.
    """

    def __init__(self, root: Path) -> None:
        """Keep objects below ``root``, which is created with the first of them."""
        self._root = root

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Write ``content`` unless the key exists; tell whether it was written.

        Of any number of processes that try at once exactly one succeeds.
        """
        target = self._path(key)
        with _disk(target), _written_beside(target, content) as written:
            try:
                # A link fails where the name exists; a rename would replace it silently.
                os.link(written, target)
            except FileExistsError:
                return False
            _sync_folder(target.parent)
            return True

    def put(self, key: str, content: bytes) -> None:
        """Write ``content``, in place of what was there; a reader sees the old or the new, never a part."""
        target = self._path(key)
        with _disk(target), _locked(target):
            _replace(target, content)

    def replace(self, key: str, expected: bytes | None, content: bytes) -> bool:
        """Write ``content`` if what is there is still ``expected`` (None: nothing); tell whether it was written.

        Of any number of processes that expect the same exactly one succeeds. A
        process that dies meanwhile leaves the old or the new, and no lock.
        """
        if expected is None:
            return self.put_if_absent(key, content)
        target = self._path(key)
        with _disk(target), _locked(target):
            if self.get(key) != expected:
                return False
            _replace(target, content)
            return True

    def get(self, key: str) -> bytes | None:
        """Return what was written, or None where nothing was."""
        path = self._path(key)
        with _disk(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> Sequence[str]:
        """Return the keys that begin with ``prefix``, sorted."""
        folder = prefix.rpartition("/")[0]
        below = self._path(folder) if folder else self._root
        with _disk(below):
            keys = [path.relative_to(self._root).as_posix() for path in _files_below(below)]
        return sorted(key for key in keys if key.startswith(prefix))

    def _path(self, key: str) -> Path:
        return _path_of(self._root, key)


# The same few keys are read before every order.
@functools.lru_cache(maxsize=256)
def _path_of(root: Path, key: str) -> Path:
    if not all(_KEY_PART.fullmatch(part) for part in key.split("/")):
        raise InvalidInput(
            f"a key must be names of letters, digits and ._=- joined by slashes, none beginning with a dot; was {key!r}"
        )
    return root / key


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        found = f"{error.filename or path}: {error.strerror or error}"
        if error.errno in _A_PERSON_MUST_ACT:
            raise InvalidInput(f"{found}; name a folder that this user may write") from error
        raise DependencyUnavailable(f"{found}; free space or check the disk, then try again") from error


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below ``folder``, those being written left out; a folder that is not there has none."""

    def fail(error: OSError) -> None:
        # os.walk passes over what it may not read; a plan that is overlooked would be made a second time.
        if not isinstance(error, FileNotFoundError):
            raise error

    for parent, _, names in os.walk(folder, onerror=fail):
        yield from (Path(parent, name) for name in names if not name.startswith("."))


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the hidden lock file beside ``target``; the system lets go of it when the process ends, however it does."""
    from filelock import FileLock

    _make_folder(target.parent)
    with FileLock(target.with_name(f".{target.name}.lock"), timeout=LOCK_SECONDS, poll_interval=0.005):
        yield


def _replace(target: Path, content: bytes) -> None:
    with _written_beside(target, content) as written:
        os.replace(written, target)
        _sync_folder(target.parent)


@contextmanager
def _written_beside(target: Path, content: bytes) -> Iterator[Path]:
    """Write ``content`` durably to a hidden file in the folder of ``target``, and remove it afterwards."""
    _make_folder(target.parent)
    handle, name = tempfile.mkstemp(prefix=".writing-", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # A file survives a power cut only once the folder that names it does.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class StoredPlans:
    """Plans as JSON objects, each version written once and sealed with a checksum."""

    def __init__(self, objects: Objects) -> None:
        """Keep plans among ``objects``, below ``plans/``, ``hypothetical/`` and ``liquidations/``."""
        self._objects = objects

    def put_if_absent(self, plan: Plan) -> Plan:
        """Store ``plan`` unless its version exists; return the stored one, ours or the earlier.

        Raises:
            DataError: the version exists and cannot be read.
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails.
        """
        key = _plan_key(plan)
        if self._objects.put_if_absent(key, _sealed_plan(plan)):
            return plan
        return self._read(key)

    def versions(self, account_number: str, session: date) -> Sequence[Plan]:
        """Return the executable plans of a session, oldest version first; raises as :meth:`put_if_absent`."""
        return [self._read(key) for key in self._objects.list(f"plans/{account_number}/{session}/")]

    def hypothetical(self, session: date) -> Sequence[Plan]:
        """Return the hypothetical plans of a session, oldest version first; raises as :meth:`put_if_absent`."""
        return [self._read(key) for key in self._objects.list(f"hypothetical/{session}/")]

    def liquidations(self, account_number: str, session: date) -> Sequence[Plan]:
        """Return the plans of a session that get out of positions, oldest first; raises as :meth:`put_if_absent`."""
        return [self._read(key) for key in self._objects.list(f"liquidations/{account_number}/{session}/")]

    def _read(self, key: str) -> Plan:
        content = self._objects.get(key)
        if content is None:
            raise DataError(f"plan {key} was listed and is gone; plans must never be deleted")
        plan = _unsealed_plan(content, key)
        if _plan_key(plan) != key:
            raise DataError(f"plan {key} holds the plan of {_plan_key(plan)}; restore it from a copy")
        return plan


def _plan_key(plan: Plan) -> str:
    if plan.liquidation is not None:
        return f"liquidations/{plan.account_number}/{plan.session}/{plan.liquidation:08d}.json"
    folder = "hypothetical" if plan.hypothetical else f"plans/{plan.account_number}"
    return f"{folder}/{plan.session}/{plan.version:04d}.json"


@functools.cache
def _adapter(kind: type[Any]) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _plan_bytes(plan: Plan, version: int = SCHEMA_VERSION) -> bytes:
    return _adapter(Plan).dump_json(plan, exclude=_ADDED_SINCE[version])


def _sealed_plan(plan: Plan) -> bytes:
    body = _plan_bytes(plan)
    seal = hashlib.sha256(body).hexdigest()
    return b'{"schema_version":%d,"sha256":"%b","plan":%b}\n' % (SCHEMA_VERSION, seal.encode(), body)


def _unsealed_plan(content: bytes, key: str) -> Plan:
    from pydantic_core import from_json

    try:
        envelope = from_json(content)
        version, seal = envelope["schema_version"], envelope["sha256"]
        plan: Plan = _adapter(Plan).validate_python(envelope["plan"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"plan {key} cannot be read ({type(error).__name__}); restore it from a copy") from error
    if version not in _ADDED_SINCE:
        raise DataError(f"plan {key} has schema version {version}, this code reads up to {SCHEMA_VERSION}; upgrade it")
    if hashlib.sha256(_plan_bytes(plan, version)).hexdigest() != seal:
        raise DataError(f"plan {key} was changed after it was written; restore it from a copy")
    return plan
