"""Read a symphony's text piece by piece; ``symphony_text`` says in words what is wrong with one.

Inner forms are built before the forms that they stand in, on a stack of open
brackets, so that no text can exhaust Python's own stack.
"""

import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.strategies.symphony_forms import (
    KEYWORDS,
    MAX_DEPTH,
    WORDS,
    Forms,
    Keyword,
    Misfit,
    Nil,
    Options,
    Symphony,
    Value,
    Word,
)
from trading_pipeline.domain.strategies.tree import Expression

# Every repetition is possessive: what cannot match is given up at once, so that time grows with the text alone. A
# string that is never closed is one token, to the end of the text.
_BLANK = r"[ \t\r\n,]*+"
_WORD = r"""[^ \t\r\n,()\[\]{}";]++"""
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_PLAIN = r"""[^()\[\]{}";]"""
_LEAF = rf"\((?:{_PLAIN}++|{_STRING}|\{{{_PLAIN}*+\}})*+\)"
_LEAVES = rf"\[(?:{_BLANK}{_LEAF})++{_BLANK}\]"
_TOKEN = re.compile(rf"{_BLANK}({_STRING}?|[()\[\]{{}}]|;[^\n]*+|{_WORD})", re.DOTALL)
_OPENING = rf"(?:\[{_BLANK})?\({_BLANK}{_WORD}"
_CLOSING = rf"\){_BLANK}\]"
_PIECE = re.compile(
    rf"{_BLANK}({_LEAF}|{_LEAVES}|{_WORD}|{_OPENING}|{_CLOSING}|{_STRING}?|[()\[\]{{}}]|;[^\n]*+)", re.DOTALL
)
_LEAF_ALONE = re.compile(_LEAF, re.DOTALL)
_CLOSED = re.compile(_STRING, re.DOTALL)
_NUMBER = re.compile(r"[+-]?[0-9]++(?:\.[0-9]*+)?(?:[eE][+-]?[0-9]++)?", re.ASCII)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "b": "\b", "f": "\f", "/": "/"}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
MAX_OPEN_FORMS = MAX_DEPTH + 1
"""That of defsymphony, and those inside one another in it."""
TOO_DEEP = f"at most {MAX_DEPTH} forms inside one another"

_BALANCED = "balanced brackets"
BLANKS = " \t\r\n,"
BRACKETS = frozenset("()[]{}")
CLOSING: Mapping[str, str] = {"(": ")", "[": "]", "{": "}"}
KNOWN: Mapping[str, Value] = {**WORDS, **{f":{name}": Keyword(name) for name in KEYWORDS}, "nil": Nil.NIL}
"""The value of every word."""


class Refusal(Exception):
    """What is wrong at the token ``index``: what was ``expected`` there, or a ``complaint`` about the whole form."""

    def __init__(self, index: int, expected: str = "", complaint: str = "") -> None:
        """Remember the place and what is wrong there."""
        super().__init__(expected or complaint)
        self.index = index
        self.expected = expected
        self.complaint = complaint


def tokens(text: str) -> list[str]:
    """Split a text into brackets, strings and words; white space, commas and comments are left out."""
    return _without_comments(text, _TOKEN.findall(text.rstrip(BLANKS)))


def pieces(text: str) -> list[str]:
    """Split a text into tokens, but keep a bracket with its word, and a form in which no other stands, in one piece."""
    return _without_comments(text, _PIECE.findall(text.rstrip(BLANKS)))


def offsets(text: str) -> list[int]:
    """Return where each of the tokens begins."""
    found = _TOKEN.finditer(text.rstrip(BLANKS))
    return [match.start(1) for match in found if not _is_comment(match[1])]


def _without_comments(text: str, found: list[str]) -> list[str]:
    return [token for token in found if not _is_comment(token)] if ";" in text else found


def _is_comment(token: str) -> bool:
    # One with a control character is kept, to be refused like any other word.
    return token[0] == ";" and not _CONTROL.search(token)


def read_pieces(text: str) -> Symphony:
    """Return the symphony of a text; the quicker way, good for texts in which nothing is wrong.

    Raises:
        Refusal: something is; where cannot be said.
    """
    # One form less than may be open: the innermost is a piece of its own.
    return _symphony(_Reading(pieces(text), Forms(), MAX_OPEN_FORMS - 1))


def read_tokens(split: Sequence[str]) -> Symphony:
    """Return the symphony that the tokens of a text make; all of them known, their brackets balanced.

    Raises:
        Refusal: they make none.
    """
    return _symphony(_Reading(split, Forms(), MAX_OPEN_FORMS))


def _symphony(reading: "_Reading") -> Symphony:
    values = reading.values()
    symphony = values[0] if values else None
    if not isinstance(symphony, Symphony):
        raise Refusal(0, '(defsymphony "name" …)')
    if len(values) > 1:
        raise Refusal(_value_end(reading.split, 0), "the end of the text")
    return symphony


def word_value(token: str) -> Value | None:
    """Return the value of a token that is no bracket, None if it is a word that nobody knows.

    Raises:
        Misfit: the token is broken.
    """
    strange = None if token.isprintable() else _CONTROL.search(token)
    if strange:
        raise Misfit(f"text without the control character U+{ord(strange[0]):04X}")
    if token[0] == '"':
        return _text(token)
    if _NUMBER.fullmatch(token):
        return _number(token)
    return KNOWN.get(token)


def _text(token: str) -> str:
    if not _CLOSED.fullmatch(token):
        raise Misfit('a " that closes the string')
    inner = token[1:-1]
    if "\\" not in inner:
        return inner
    try:
        # Characters beyond U+FFFF are escaped as two halves.
        return _ESCAPE.sub(_unescaped, inner).encode("utf-16", "surrogatepass").decode("utf-16")
    except (KeyError, UnicodeDecodeError):
        raise Misfit(r"only the escapes \" \\ \/ \n \t \r \b \f \uXXXX in a string") from None


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _ESCAPED[match[2]]


def _number(token: str) -> float:
    number = float(token)
    if not math.isfinite(number):
        raise Misfit("a number below 1e308")
    return number


def _value_end(split: Sequence[str], index: int) -> int:
    """Return the token after the value that begins at the token ``index``."""
    depth = 0
    for position in range(index, len(split)):
        depth += (split[position] in "([{") - (split[position] in ")]}")
        if depth <= 0:
            return position + 1
    return len(split)


def _opening(split: Sequence[str], closed: int) -> int:
    """Return the token that opens the form which the token ``closed`` closes."""
    depth = 0
    for position in range(closed, -1, -1):
        depth += (split[position] == ")") - (split[position] == "(")
        if depth <= 0:
            return position
    return 0


def _argument(split: Sequence[str], opened: int, path: Sequence[int]) -> int:
    """Return the token at which an argument begins of the form that the token ``opened`` begins."""
    position = opened + 1
    for step in path:
        position += 1
        for _ in range(step):
            position = _value_end(split, position)
    return position


class _Bracket(Enum):
    """A bracket, as it stands among the parts of a form until the form is built."""

    FORM = "("
    FORM_ALONE = "[("
    """Opens a vector and the only form in it; the first part of that form."""
    OPENS_VECTOR = "["
    CLOSES_VECTOR = "]"
    OPENS_MAP = "{"
    CLOSES_MAP = "}"


# Looked up often: a module's own names are found faster than members.
_FORM, _FORM_ALONE, _OPENS_VECTOR, _CLOSES_VECTOR, _OPENS_MAP, _CLOSES_MAP = _Bracket
_INNER_BRACKETS = {bracket.value: bracket for bracket in (_OPENS_VECTOR, _CLOSES_VECTOR, _OPENS_MAP, _CLOSES_MAP)}


class _Reading:
    """One text while it is read."""

    def __init__(self, split: Sequence[str], forms: Forms, limit: int) -> None:
        self.split = split
        self.forms = forms
        self.limit = limit
        # What each piece is: a part of the form around it; or what opens a form, with the form's first parts; or what
        # closes one, and whether a vector with it.
        self.words: dict[str, Any] = {**_INNER_BRACKETS}
        self.openings: dict[str, list[Value | _Bracket]] = {"(": [_FORM]}
        self.closings: dict[str, bool] = {")": False}
        for piece in dict.fromkeys(split):
            self.learn(piece)

    def learn(self, piece: str) -> None:
        """Find out what a piece is."""
        if piece in self.words or piece in BRACKETS:
            return
        first, last = piece[0], piece[-1]
        if first == ")":
            self.closings[piece] = True
        elif first not in "([":
            self.words[piece] = self.word(piece)
        elif last == "]":
            self.words[piece] = tuple(self.learned(_LEAF_ALONE.findall(piece)))
        elif last == ")":
            self.words[piece] = self.build([_FORM, *self.learned(tokens(piece)[1:-1])], 0)
        else:
            word = self.word(piece.lstrip(BLANKS + "[("))
            self.openings[piece] = [_FORM_ALONE if first == "[" else _FORM, word]

    def learned(self, inner: Sequence[str]) -> list[Any]:
        """Return the values of what a piece is made of."""
        for part in inner:
            if part not in self.words:
                self.learn(part)
        return [self.words[part] for part in inner]

    def word(self, token: str) -> Value:
        """Return the value of a token that is no bracket."""
        try:
            value = word_value(token)
        except Misfit as misfit:
            raise Refusal(0, misfit.expected) from misfit
        if value is None:
            raise Refusal(0, "known words")
        return value

    def values(self) -> list[Value]:  # noqa: C901 - one loop: to call a function for each piece takes as long again
        """Return what stands outside of all forms; a form is built when its bracket closes, inner forms first."""
        words, openings, closings = self.words, self.openings, self.closings
        # A form is known again by the identities of its parts: all parts are held here, and equal ones are one object.
        built: dict[tuple[int, ...], Value] = {}
        outer: list[list[Any]] = []
        parts: list[Any] = []
        for index, piece in enumerate(self.split):
            value = words.get(piece)
            if value is None:
                opening = openings.get(piece)
                if opening is not None:
                    outer.append(parts)
                    if len(outer) > self.limit:
                        raise Refusal(index, TOO_DEEP)
                    parts = [*opening]
                    continue
                if not outer:
                    raise Refusal(index, _BALANCED)
                around, alone, closes_vector = outer.pop(), parts[0] is _FORM_ALONE, closings[piece]
                if alone and not closes_vector:
                    parts[0] = _FORM
                    around.append(_OPENS_VECTOR)
                key = tuple(map(id, parts))
                value = built.get(key)
                if value is None:
                    value = built[key] = self.build(parts, index)
                parts = around
                if closes_vector and not alone:
                    parts.append(value)
                    value = _CLOSES_VECTOR
            parts.append(value)
        if outer:
            raise Refusal(len(self.split), _BALANCED)
        return _folded(parts)

    def build(self, parts: list[Any], closed: int) -> Value:
        """Return what a form of these parts makes, in a vector if it is alone in one; its last token is ``closed``."""
        bracket, word, *arguments = parts if len(parts) > 1 else (_FORM, None)
        if not isinstance(word, Word):
            raise Refusal(_opening(self.split, closed) + 1, "a word such as weight-equal")
        try:
            value = word.build(self.forms, _folded(arguments))
        except Misfit as misfit:
            place = _argument(self.split, _opening(self.split, closed), misfit.path)
            raise Refusal(place, misfit.expected) from misfit
        except InvalidInput as refusal:
            raise Refusal(_opening(self.split, closed), complaint=str(refusal)) from refusal
        if isinstance(value, Expression):
            value = self.forms.same(value)
        return (value,) if bracket is _FORM_ALONE else value


def _folded(parts: list[Any]) -> list[Any]:
    """Return the parts with vectors and maps in place of what stands between their brackets.

    Raises:
        Refusal: the brackets do not balance.
    """
    if _Bracket not in map(type, parts):
        return parts
    folded: list[Any] = []
    opened: list[int] = []
    for part in parts:
        if part.__class__ is not _Bracket:
            folded.append(part)
        elif part is _OPENS_VECTOR or part is _OPENS_MAP:
            opened.append(len(folded))
            folded.append(part)
        else:
            start = opened.pop() if opened else 0
            inside = tuple(folded[start + 1 :])
            if not folded or folded[start] is not (_OPENS_VECTOR if part is _CLOSES_VECTOR else _OPENS_MAP):
                raise Refusal(0, _BALANCED)
            folded[start:] = [inside if part is _CLOSES_VECTOR else Options(inside)]
    if opened:
        raise Refusal(0, _BALANCED)
    return folded
