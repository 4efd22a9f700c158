"""The forms in which one value travels: as it is, escaped for JSON, URLs and HTML, and in base64."""

import base64
import html
import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus


def spellings(value: str) -> frozenset[str]:
    r"""Return ``value`` as it is, in JSON, in a URL, in HTML, and in base64 by itself; an empty value has none.

    >>> sorted(spellings("a/b"))
    ['YS9i', 'a%2Fb', 'a%2fb', 'a/b', 'a\\/b']
    """
    if not value:
        return frozenset()
    as_json = json.dumps(value)[1:-1]
    in_urls = {quote(value), quote(value, safe=""), quote_plus(value)}
    escaped = {as_json, as_json.replace("/", "\\/"), json.dumps(value, ensure_ascii=False)[1:-1], html.escape(value)}
    return frozenset({value, *escaped, *in_urls, *map(_lower_escapes, in_urls), *_alone(value.encode())})


def base64_spellings(value: str) -> frozenset[str]:
    """Return what base64 shows of ``value`` wherever it begins in a longer text, such as the header of basic access.

    Base64 turns three bytes into four letters, so a value looks different at
    each of three places; the letters that its neighbours share are left out.

    >>> spelled = base64_spellings("secret-key")
    >>> any(part in base64.b64encode(b"user:secret-key!").decode() for part in spelled)
    True
    """
    found = {_from(value.encode(), ahead) for ahead in range(3)}
    return frozenset({*found, *(text.replace("+", "-").replace("/", "_") for text in found)})


def _from(value: bytes, ahead: int) -> str:
    encoded = base64.b64encode(b"\0" * ahead + value).decode().rstrip("=")
    # A letter holds six bits: those that hold a bit of a neighbour are not the value's own.
    first = (ahead * 8 + 5) // 6
    last = (ahead + len(value)) * 8 // 6
    return encoded[first:last]


def _alone(value: bytes) -> Iterator[str]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(value).decode().rstrip("=")


def _lower_escapes(text: str) -> str:
    parts = text.split("%")
    return parts[0] + "".join(f"%{part[:2].lower()}{part[2:]}" for part in parts[1:])
