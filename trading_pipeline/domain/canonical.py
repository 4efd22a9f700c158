"""The one form in which values are kept where a hash is taken of them."""

import functools
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from trading_pipeline.domain.errors import InvalidInput

Plain = Any
"""What is kept: text, whole numbers, truth values, none, and lists and mappings of them."""


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


@functools.singledispatch
def plain(value: object) -> Plain:
    """Return a value as it is kept: nothing but text, whole numbers, truth values, lists and mappings of them.

    Decimals and floats become text, once: a decimal without exponent and trailing zeros, a float as Python repeats
    it. Dates and instants are ISO text, instants in UTC. What is NaN stays so, by name. Sets are sorted.

    Raises:
        InvalidInput: the value is of no such kind, or an instant does not say its time zone.

    >>> plain({"weight": 0.1, "quantity": Decimal("2.50"), "session": date(2026, 7, 31), "none": float("nan")})
    {'weight': '0.1', 'quantity': '2.5', 'session': '2026-07-31', 'none': 'nan'}
    """
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    raise InvalidInput(f"{value!r} of type {type(value).__name__} has no form in records; give text or numbers")


@plain.register(type(None))
@plain.register(bool)
def _same(value: bool | None) -> Plain:  # noqa: FBT001 - the value itself
    return value


@plain.register
def _number(value: int) -> Plain:
    return int(value)


@plain.register
def _words(value: str) -> Plain:
    return str.__str__(value)


@plain.register
def _member(value: Enum) -> Plain:
    return plain(value.value)


@plain.register
def _float(value: float) -> Plain:
    return repr(float(value))


@plain.register
def _decimal(value: Decimal) -> Plain:
    if not value.is_finite():
        return str(value)
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


@plain.register
def _day(value: date) -> Plain:
    return value.isoformat()


@plain.register
def _instant(value: datetime) -> Plain:
    return instant_text(value)


@plain.register(Mapping)
def _mapping(value: Mapping[Any, object]) -> Plain:
    return {_name(name): plain(inner) for name, inner in value.items()}


@plain.register(list)
@plain.register(tuple)
def _list(value: Sequence[object]) -> Plain:
    return [plain(inner) for inner in value]


@plain.register(set)
@plain.register(frozenset)
def _set(value: Collection[object]) -> Plain:
    return sorted((plain(inner) for inner in value), key=canonical)


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidInput(f"names in records are text, was {name!r} of type {type(name).__name__}")
    return str(plain(name))


def instant_text(instant: datetime) -> str:
    """Return an instant as ISO text in UTC, to the microsecond.

    Raises:
        InvalidInput: the instant does not say its time zone.

    >>> instant_text(datetime(2026, 7, 31, 16, tzinfo=UTC))
    '2026-07-31T16:00:00.000000+00:00'
    """
    if instant.tzinfo is None:
        raise InvalidInput(f"an instant in records says its time zone, was {instant.isoformat()}")
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def canonical(value: Plain) -> bytes:
    r"""Return the one form of a plain value: JSON in ASCII, names sorted, nothing between the parts.

    >>> canonical({"b": 1, "a": ["ä", None]})
    b'{"a":["\\u00e4",null],"b":1}'
    """
    return _ENCODER.encode(value).encode("ascii")


def digest(value: Plain) -> str:
    """Return the SHA-256 of a value's canonical form, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()
