"""One redaction for logs, metadata, reports, alerts and errors."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from trading_pipeline.domain.redaction.fields import Kind, kind_of, may_be_shown
from trading_pipeline.domain.redaction.figures import HIDDEN, without_figures
from trading_pipeline.domain.redaction.spellings import spellings

SHORTEST_SECRET = 4
NO_SYMBOLS = frozenset({"CASH", "SYM"})
PREFIX = "SYM_"
_DIGITS = 4
_MOST_PASSES = 5
_LEFT = (
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\x[0-9A-Fa-f]{2})"
    r"|(?<=[\[;]\dm)|(?<=[\[;]\d\dm))(?<![A-Za-z]')"
)
# A figure with decimals may touch its symbol.
_RIGHT = r"(?:(?![A-Za-z0-9])|(?=\d+(?:,\d{3})*\.\d))"
_PUNCTUATION = {
    ".": r"(?:\.|%2[Ee])",
    "/": r"(?:\\?/|%2[Ff]|&\#x2[Ff];|&\#47;|\\u002[Ff])",
    "-": r"(?:-|%2[Dd])",
}
_ACCOUNT = re.compile(
    r"(?<![A-Za-z0-9])(?:SIM[0-9][0-9A-Z]{2,}|PA[0-9][0-9A-Z]{6,})(?![A-Za-z0-9])|\.\.\.[0-9A-Z]{4,6}(?![\w])"
)
_TOLD_SYMBOL = re.compile(
    r"(?<![A-Za-z0-9])((?:symbols?|tickers?)(?:\\?[\"'])?\s*[:=]\s*(?:\\?[\"'])?)([A-Z][A-Z0-9]{0,5}(?:[./-][A-Z]{1,3})?)(?![\w])"
)
_ONE_SYMBOL = re.compile(r"(?<![A-Za-z0-9_])[A-Z][A-Z0-9]{0,9}(?:[./-][A-Z]{1,3})?(?![A-Za-z0-9_])")
_DRAWING = re.compile(r"(data:(?:image/svg\+xml|text/[a-z]+)(?:;charset=[\w-]+)?;base64,)([A-Za-z0-9+/=]+)")
_NUMERIC = re.compile(r"\s*[-+\u2212]?[$€£]?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?\s*%?\s*")


class Redactor:
    """Replaces symbols by pseudonyms, and figures, account numbers and secrets by ``***``.

    A symbol has the same pseudonym wherever the same ``key`` is used, so lines
    of one run can be laid side by side; without the key nobody finds the
    symbol. Symbols are whole words in capitals: no letter or digit touches
    them, escapes aside, so ``T`` leaves ``TOTAL``, ``T+1`` and
    ``2026-08-03T14:00`` alone, and a strategy called ``tecl`` keeps its name
    while the fund ``TECL`` loses its. ``USD`` behind a figure is the
    currency. What was redacted once comes back unchanged.
    """

    def __init__(self, symbols: Iterable[str], key: bytes, secrets: Iterable[str] = ()) -> None:
        """Hide ``symbols`` and ``secrets``; ``key`` decides the pseudonyms."""
        self._key = key
        self._symbols: dict[str, str] = {}
        self._secrets: set[str] = set()
        self._pattern = re.compile(r"(?!)")
        self._secret_pattern = re.compile(r"(?!)")
        self.learn(symbols, secrets)

    def learn(self, symbols: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        """Hide these from now on too, such as what an account turns out to hold, and its number."""
        new = sorted({symbol for symbol in symbols if symbol and symbol not in NO_SYMBOLS} - set(self._symbols))
        hidden = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET} - self._secrets
        for symbol in new:
            self._symbols[symbol] = self._pseudonym(symbol)
        if new:
            self._pattern = _symbols_pattern(self._symbols)
        if hidden:
            self._secrets |= hidden
            forms = sorted({form for secret in self._secrets for form in spellings(secret)}, key=len, reverse=True)
            self._secret_pattern = re.compile("|".join(map(re.escape, forms)))

    def symbol(self, symbol: str) -> str:
        """Return the pseudonym of a symbol, known or not; cash is no symbol, and a pseudonym is its own.

        >>> hidden = Redactor(["TQQQ"], b"key")
        >>> hidden.symbol("TQQQ") == hidden.symbol("TQQQ") != hidden.symbol("BIL")
        True
        """
        if symbol in NO_SYMBOLS or symbol.startswith(PREFIX):
            return symbol
        return self._symbols.get(symbol) or self._pseudonym(symbol)

    def text(self, text: str) -> str:
        """Return a text of any kind (a message, JSON, Markdown, HTML, a drawing) without what may not be said.

        >>> Redactor(["TQQQ"], b"key").text("TOTAL of nuclear: 12.5 TQQQ at 101.25 in 2 orders")
        'TOTAL of nuclear: *** SYM_a357 at *** in 2 orders'
        """
        return self._around_drawings(text, self._plain)

    def words(self, text: str) -> str:
        """Return a text whose digits are not figures, such as a name or a path, without symbols and secrets."""
        return self._around_drawings(text, self._words)

    def _around_drawings(self, text: str, shown: Callable[[str], str]) -> str:
        """Return ``shown`` of a text, and drawings and pages in it, which base64 hides from it, redacted as such."""
        parts, end = [], 0
        for drawing in _DRAWING.finditer(text):
            parts += [shown(text[end : drawing.start()]), drawing[1], self._decoded(drawing[2])]
            end = drawing.end()
        return "".join(parts) + shown(text[end:])

    def _words(self, text: str) -> str:
        hidden = _ACCOUNT.sub(HIDDEN, self._secret_pattern.sub(HIDDEN, text))
        told = _TOLD_SYMBOL.sub(lambda found: found[1] + self.symbol(found[2]), hidden)
        return self._pattern.sub(self._found, told)

    def value(self, name: str, value: Any) -> Any:  # noqa: ANN401 - fields hold anything
        """Return what may be shown of the field ``name``; mappings and sequences are looked into.

        Texts stay texts and numbers that may be shown stay numbers; a hidden
        number becomes the text ``***``. None, booleans, dates and instants
        stay as they are.
        """
        return self._value(name, value, may_be_shown(name))

    def table(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return rows with each cell as :meth:`value` shows it by the name of its column.

        >>> Redactor([], b"key").table([{"side": "buy", "quantity": 3, "orders": 1}])
        [{'side': 'buy', 'quantity': '***', 'orders': 1}]
        """
        return [{self.words(str(name)): self.value(str(name), cell) for name, cell in row.items()} for row in rows]

    def _value(self, name: str, value: Any, shown: bool) -> Any:  # noqa: ANN401, FBT001 - inner
        if value is None or isinstance(value, bool | date | time | timedelta):
            return value
        if isinstance(value, Mapping):
            return self._mapping(name, value, shown)
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value(name, part, shown) for part in value]
        return self._single(kind_of(name), value, shown)

    def _single(self, kind: Kind, value: Any, shown: bool) -> Any:  # noqa: ANN401, FBT001 - inner
        if kind is Kind.ACCOUNT:
            return HIDDEN
        if _is_number(value):
            return value if shown and kind is not Kind.FIGURE else HIDDEN
        return self._string(kind, str(value), shown)

    def _mapping(self, name: str, value: Mapping[Any, Any], shown: bool) -> dict[str, Any]:  # noqa: FBT001 - inner
        return {
            self._key_of(name, str(inner)): self._value(
                name if self._is_symbol(str(inner)) else str(inner), part, shown or may_be_shown(str(inner))
            )
            for inner, part in value.items()
        }

    def _key_of(self, name: str, inner: str) -> str:
        return self._string(Kind.SYMBOL, inner, shown=True) if kind_of(name) is Kind.SYMBOL else self.words(inner)

    def _is_symbol(self, name: str) -> bool:
        return name in self._symbols or name.startswith(PREFIX) or _ONE_SYMBOL.fullmatch(name) is not None

    def _string(self, kind: Kind, text: str, shown: bool) -> str:  # noqa: FBT001 - inner
        if kind is Kind.SYMBOL:
            return self.words(_ONE_SYMBOL.sub(lambda found: self.symbol(found[0]), text))
        if kind is Kind.NAME:
            return self.words(text)
        if kind in {Kind.FIGURE, Kind.ACCOUNT} and any(letter.isdigit() for letter in text):
            return HIDDEN
        if _NUMERIC.fullmatch(text):
            return text if shown and kind is not Kind.FIGURE else HIDDEN
        return self.text(text)

    def _plain(self, text: str) -> str:
        # A hidden figure frees the symbol that it touched: until nothing changes.
        for _ in range(_MOST_PASSES):
            before, text = text, without_figures(self._words(text))
            if text == before:
                break
        return text

    def _decoded(self, encoded: str) -> str:
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return HIDDEN
        return base64.b64encode(self.text(text).encode()).decode()

    def _found(self, found: re.Match[str]) -> str:
        return self._symbols[_unescaped(found[0])]

    def _pseudonym(self, symbol: str) -> str:
        digest = hmac.new(self._key, symbol.encode(), hashlib.sha256).hexdigest()
        taken = {name for known, name in self._symbols.items() if known != symbol}
        lengths = range(_DIGITS, len(digest) + 1)
        return next(name for size in lengths if (name := PREFIX + digest[:size]) not in taken)


def _symbols_pattern(symbols: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(symbols, key=lambda symbol: (-len(symbol), symbol))
    return re.compile("(?=[A-Z0-9])" + _LEFT + "(?:" + "|".join(map(_spelled, longest_first)) + ")" + _RIGHT)


def _spelled(symbol: str) -> str:
    spelled = "".join(_PUNCTUATION.get(letter, re.escape(letter)) for letter in symbol)
    if symbol == "USD":
        return rf"(?<![\d*])(?<![\d*]\s){spelled}"
    # One letter and a sign and a digit is a day of settlement.
    return rf"{spelled}(?![+-]\d)" if len(symbol) == 1 else spelled


def _unescaped(found: str) -> str:
    for letter, spelled in _PUNCTUATION.items():
        found = re.sub(spelled, letter, found)
    return found


def _is_number(value: object) -> bool:
    # Figures of numpy are numbers too, and have no common class with Decimal.
    return isinstance(value, int | float | Decimal) or hasattr(value, "dtype")
