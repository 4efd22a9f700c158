"""Composer's parenthesised text form of a strategy, read and written.

>>> symphony = read_symphony('''
... (defsymphony "Trend" {:asset-class "EQUITIES", :rebalance-frequency :daily}
...   (weight-equal
...     [(if (> (current-price "SPY") (moving-average-price "SPY" {:window 200}))
...        [(asset "SPY" "SPDR S&P 500 ETF Trust")]
...        [(asset "BIL" nil)])]))''')
>>> symphony.name, symphony.rebalance_frequency
('Trend', 'daily')
>>> read_symphony(write_symphony(symphony)) == symphony
True
>>> read_symphony('(defsymphony "Trend" (weight-equal [(aset "SPY")]))', source="trend")
Traceback (most recent call last):
    ...
trading_pipeline.domain.errors.InvalidInput: trend:1:38: expected known words, found aset (did you mean asset?) at 1:38

A text is data: nothing in it is run, and its length, its leaves and its depth
are bounded. Equal parts of a text become one object.
"""

import difflib
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.strategies.symphony_forms import MAX_CHARACTERS, MAX_LEAVES, WORDS, Misfit, Symphony
from trading_pipeline.domain.strategies.symphony_reader import (
    BRACKETS,
    CLOSING,
    KNOWN,
    MAX_OPEN_FORMS,
    TOO_DEEP,
    Refusal,
    offsets,
    read_pieces,
    read_tokens,
    tokens,
    word_value,
)
from trading_pipeline.domain.strategies.symphony_writer import write_symphony

__all__ = ["Symphony", "read_symphony", "tokens", "write_symphony"]

_BYTE_ORDER_MARK = "\ufeff"
_LISTED = 50
_SHOWN_CHARACTERS = 40
_SHOWN_COMPLAINT = 300


def read_symphony(text: str, source: str = "symphony") -> Symphony:
    """Read a symphony from Composer's text form.

    ``source`` names the text in messages: ``source:line:column: expected …, found …``.
    Several blocks in a branch share equally. A candidate of a filter or of
    inverse volatility that is neither asset nor group becomes a group called by
    what it does.

    Raises:
        InvalidInput: the text is no symphony, or is too long, too large or nested too deep.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidInput(f"{source}: expected at most {MAX_CHARACTERS:,} characters, found {len(text):,}")
    text = text.removeprefix(_BYTE_ORDER_MARK)
    if text.count("asset") > MAX_LEAVES:
        _check_leaves(text, source)
    try:
        with _collector_at_rest():
            return read_pieces(text)
    except Refusal:
        # Larger pieces are quicker to read; single tokens tell where something is wrong.
        return _Diagnosis(text, source).symphony()


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Keep Python from looking for cycles: reading makes none, and looking costs a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _check_leaves(text: str, source: str) -> None:
    leaves = tokens(text).count("asset")
    if leaves > MAX_LEAVES:
        raise InvalidInput(f"{source}: expected at most {MAX_LEAVES:,} assets, found {leaves:,}")


class _Diagnosis:
    """A text in which something is wrong, and what can be said of it."""

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self.tokens = tokens(text)
        self.offsets = offsets(text)

    def symphony(self) -> Symphony:
        """Return the symphony after all, or say what is wrong: words before brackets, brackets before meaning."""
        self.check_words()
        self.check_brackets()
        try:
            return read_tokens(self.tokens)
        except Refusal as refusal:
            if refusal.complaint:
                raise self.wrong(refusal.index, _clipped(refusal.complaint, _SHOWN_COMPLAINT)) from refusal
            raise self.unexpected(refusal.index, refusal.expected) from refusal

    def check_words(self) -> None:
        """Refuse a token that is broken, or all the words that nobody knows."""
        first = {token: index for index, token in reversed(list(enumerate(self.tokens))) if token not in BRACKETS}
        unknown = [index for token, index in sorted(first.items(), key=itemgetter(1)) if self.is_unknown(token, index)]
        if unknown:
            listed = [f"{_guessed(self.tokens[index])} at {self.place(index)}" for index in unknown[:_LISTED]]
            more = [f"{len(unknown) - _LISTED:,} more"] if len(unknown) > _LISTED else []
            raise self.wrong(unknown[0], f"expected known words, found {', '.join(listed + more)}")

    def is_unknown(self, token: str, index: int) -> bool:
        """Tell whether nobody knows the word; refuse one that is broken."""
        try:
            return word_value(token) is None
        except Misfit as misfit:
            raise self.unexpected(index, misfit.expected) from misfit

    def check_brackets(self) -> None:
        """Refuse brackets that do not balance, or forms inside one another beyond the limit."""
        opened: list[int] = []
        forms = 0
        for index, part in enumerate([*self.tokens, ""]):
            forms += (part == "(") - (part == ")")
            if forms > MAX_OPEN_FORMS:
                raise self.unexpected(index, TOO_DEEP)
            if part in CLOSING:
                opened.append(index)
            elif part in BRACKETS or not part:
                self.check_closing(index, part, opened)

    def check_closing(self, index: int, closing: str, opened: list[int]) -> None:
        """Take the innermost bracket off ``opened`` if it is closed; the end of the text closes it with nothing."""
        if not opened and closing:
            raise self.unexpected(index, "an opening bracket before it")
        if opened and CLOSING[self.tokens[opened[-1]]] != closing:
            bracket = self.tokens[opened[-1]]
            place = self.place(opened[-1])
            raise self.unexpected(index, f"{CLOSING[bracket]} to close the {bracket} opened at {place}")
        if opened:
            opened.pop()

    def place(self, index: int) -> str:
        """Say ``line:column`` of a token, both counted from 1."""
        offset = self.offsets[index] if index < len(self.offsets) else len(self.text)
        line_start = self.text.rfind("\n", 0, offset) + 1
        return f"{self.text.count(chr(10), 0, offset) + 1}:{offset - line_start + 1}"

    def unexpected(self, index: int, expected: str) -> InvalidInput:
        """Say what should stand in place of a token."""
        return self.wrong(index, f"expected {expected}, found {_shown(self.tokens[index : index + 2])}")

    def wrong(self, index: int, message: str) -> InvalidInput:
        """Say what is wrong, and where."""
        return InvalidInput(f"{self.source}:{self.place(index)}: {message}")


def _shown(following: Sequence[str]) -> str:
    """Show the first of the tokens, and the word of a form that it opens."""
    if not following:
        return "the end of the text"
    if following[0] == "(" and following[-1] in WORDS:
        return f"({following[-1]} …)"
    return _clipped(following[0], _SHOWN_CHARACTERS)


def _guessed(token: str) -> str:
    shown = _clipped(token, _SHOWN_CHARACTERS)
    near = difflib.get_close_matches(token.lower(), KNOWN, n=1) if len(token) <= _SHOWN_CHARACTERS else []
    if near:
        return f"{shown} (did you mean {near[0]}?)"
    return f'{shown} (in quotes, "{shown}", if it is a ticker)' if token.isupper() else shown


def _clipped(text: str, length: int) -> str:
    shown = text if len(text) <= length else text[:length] + "…"
    # What cannot be printed must not act on a terminal.
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in shown)
