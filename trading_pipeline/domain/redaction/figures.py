"""Figures in a text that nobody described: each number is hidden unless what stands around it says that it is harmless.

Shown are dates and instants (and the names of plans, which begin with one),
times of day, identifiers with letters, versions and addresses, places in
files, counts of things ("3 orders", "attempt 2", "rows=7"), durations and
sizes, and the geometry of drawings and pages. Everything else is hidden:
whoever adds a message need not think of it.
"""

import re

from trading_pipeline.domain.redaction.fields import Kind, kind_of, may_be_shown, words_of

HIDDEN = "***"
_SIGNS = "+-\u2212"

_DATE = r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?!\d)"
_CLOCK = r"(?:[01]?\d|2[0-4]):[0-5]\d(?::[0-6]\d(?:[.,]\d{1,9})?)?(?![\d:])"
_ZONE = r"(?:Z|[+-]\d\d:?\d\d)?"
_TAGS = (
    "a|article|aside|b|body|br|button|circle|clipPath|code|col|colgroup|dd|defs|details|div|dl|dt|ellipse|em|figure|"
    "figcaption|footer|g|h[1-6]|head|header|hr|html|i|img|li|line|linearGradient|link|main|marker|meta|nav|ol|p|path|"
    "polygon|polyline|pre|rect|section|small|span|stop|strong|style|sub|summary|sup|svg|table|tbody|td|text|tfoot|th|"
    "thead|time|title|tr|tspan|ul|use"
)
_GEOMETRY = re.compile(
    r"(?<![\w-])(?:x|y|x1|x2|y1|y2|cx|cy|r|rx|ry|d|dx|dy|points|transform|width|height|viewBox|style|class|id|href|"
    r"fill|fill-opacity|stroke|stroke-width|stroke-dasharray|stroke-opacity|opacity|offset|colspan|rowspan|scope|"
    r"font-size|font-weight|text-anchor|version|xmlns|tabindex|preserveAspectRatio|gradientTransform|charset|lang|"
    r"datetime)\s*=\s*(?:\\?\"[^\"]*\"|'[^']*')"
)
_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_FILE = r"(?:py|ya?ml|sql|edn|symphony|json|jsonl|csv|md|html|cfg|toml)"
_PLACE = r"(?::\d{1,6}(?::\d{1,4})?)?"
# Numbers of versions and addresses; thousands with dots between them are none.
_VERSION = r"(?!\d{1,3}(?:\.\d{3})+(?![\d.]))\d{1,3}(?:\.\d{1,3}){2,3}(?::\d{2,5})?(?![\d.])"
_OPENING = re.compile(r"</?\w+")
_LEFT = (
    r"(?:(?<![A-Za-z0-9_])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4})|(?<=[\[;]\dm)|(?<=[\[;]\d\dm))"
)
# Each group begins with what it may begin with, since most places of a text are none of its.
_SHOWN = "|".join(
    (
        r"<style\b[^>]*>.*?</style>",
        r"<meta\s[^>]*name=.viewport.[^>]*>",
        r"\x1b\[[0-9;]*m",
        r"\\[ux][0-9A-Fa-f]{2,4}",
        r"&\#x?[0-9A-Fa-f]+;",
        r"%[0-9A-Fa-f]{2}",
        rf"(?<![\w.)>\]])/(?:[\w+-][\w.+-]*/)+[\w.+-]*{_PLACE}",
        rf"(?<![\w.])(?=[A-Za-z])(?:{_UUID}|python\d\.\d+|T[+-]\d(?!\d)|[a-z]{{2,10}}://[^/\s\"'<>?]+"
        rf"|[\w/-]{{1,80}}\.{_FILE}{_PLACE})",
        rf"(?=\d){_LEFT}(?:{_UUID}|{_DATE}(?:[T ]{_CLOCK}{_ZONE})?(?:\.\d{{1,2}}(?![\d.]))?(?::\d{{1,2}}(?!\d))?)",
        rf"(?=\d){_LEFT}(?<![.,:])(?:{_CLOCK}{_ZONE}|{_VERSION})",
    )
)
_NUMBER = (
    rf"(?=[\d.$€£+\u2212-])(?:(?<![\w)\]])[-+\u2212])?(?:[$€£]\s?[-+\u2212]?)?{_LEFT}"
    r"(?:(?:\d+(?:[,_'\u2019]\d{3})*(?:[.,]\d+)?|\.\d+)(?:[eE][+-]?\d+)?)"
    # A currency may touch its figure, and what has decimals is no identifier.
    r"|(?<=USD)\d+(?:[.,]\d+)*|(?<=[A-Za-z])\d+(?:,\d{3})*\.\d+"
)
_PATTERN = re.compile(
    rf"(?P<shown>{_SHOWN})|(?P<tag></?(?:{_TAGS})(?:\s[^<>]*)?/?>)|(?P<number>{_NUMBER})(?P<suffix>[A-Za-zµ_]\w*)?",
    re.DOTALL,
)
_UNITS = words_of("s ms us µs ns min h d px em rem vh vw pt fr deg KB MB GB KiB MiB GiB th st nd rd")
_MULTIPLES = words_of("x k K m M bn B mm shares share sh usd USD USDT dollars eur EUR pct bps bp")
_DURATION = r"(?:seconds?|milliseconds?|minutes?|hours?|days?|ms|s|bytes|[KMG]i?B)\b"
_THINGS = (
    r"(?:orders?|fills?|rows?|sessions?|weeks?|years?|runs?|attempts?|events?|checks?|symbols?|strategies|strategy|plans?|"
    r"intents?|requests?|retries|bars?|steps?|processes|partitions?|assets?|files?|lines?|errors?|failures?|warnings?|"
    r"tables?|columns?|versions?|alerts?|times|promises|settings?|more lines|characters|tests?|records?)\b"
)
_ADJECTIVE = (
    r"(?:(?:open|more|failed|last|approved|completed|execution|exchange|blocking|unfinished|broken|stored|new|of) )?"
)
_AFTER = re.compile(rf"\s(?:of \d+ )?{_ADJECTIVE}(?:{_THINGS}|{_DURATION})")
_AFTER_DECIMAL = re.compile(rf"\s{_DURATION}")
_BEFORE = re.compile(
    r"(?:^|[^\w])(?:attempt|attempts|version|line|lines|pid|port|status|code|http|errno|exit code|step|epoch|column|"
    r"row|shard|page|signal|slice|python|week|rung|schema)\s*[#:(]?\s*$",
    re.IGNORECASE,
)
_NAMED = re.compile(r"([A-Za-z_][\w./-]*)(?:\\?[\"'])?\]?\s?[=:]\s?\\?[\"'\[]?$")
# The value so far may be the beginning of a name, such as that of an order.
_IN_A_NAME = re.compile(r"([A-Za-z_][\w./]*)(?:\\?[\"'])?\s?[=:]\s?(?:\\?[\"'])?[A-Za-z][\w.:/-]*$")
_JSON_VALUE = re.compile(r"\":\s?$")
_HASH = re.compile(r"[0-9a-f]{8,}")
LONGEST_CONTEXT = 60
_DIGIT = re.compile(r"\d")


def without_figures(text: str) -> str:
    """Return ``text`` with each figure as ``***``; text without figures comes back as it is.

    >>> without_figures("2026-07-31.1: bought 12.5 at $1,234.56 in 3 orders, 0.8 s")
    '2026-07-31.1: bought *** at *** in 3 orders, 0.8 s'
    >>> without_figures("rows=7 equity=100000 ours 137, theirs 140")
    'rows=7 equity=*** ours ***, theirs ***'
    """
    return _PATTERN.sub(_replaced, text) if _DIGIT.search(text) else text


def _replaced(found: re.Match[str]) -> str:
    if found["tag"] is not None:
        return _tag(found["tag"])
    if found["shown"] is not None or _is_shown(found):
        return found[0]
    hidden = f'"{HIDDEN}"' if _JSON_VALUE.search(_before(found)) else HIDDEN
    return hidden + (found["suffix"] or "")


def _tag(tag: str) -> str:
    """Return a tag with its geometry as it is, and figures of other attributes hidden."""
    opening = _OPENING.match(tag)
    end = opening.end() if opening else 1
    parts = [tag[:end]]
    for kept in _GEOMETRY.finditer(tag, end):
        parts += [without_figures(tag[end : kept.start()]), kept[0]]
        end = kept.end()
    return "".join(parts) + without_figures(tag[end:])


def _is_shown(found: re.Match[str]) -> bool:
    number, suffix = found["number"], found["suffix"]
    if suffix:
        return _is_identifier(number, suffix)
    if _HASH.fullmatch(number) and not number.isdigit() and found.string[found.start() - 1 : found.start()] != "$":
        return True
    if any(sign in number for sign in "$€£"):
        return False
    return _context_allows(found, is_whole=number.lstrip(_SIGNS).isdigit())


def _is_identifier(number: str, suffix: str) -> bool:
    if suffix in _UNITS:
        return True
    return (number.isdigit() and suffix not in _MULTIPLES) or _HASH.fullmatch(number + suffix) is not None


def _context_allows(found: re.Match[str], *, is_whole: bool) -> bool:
    before = _before(found)
    named = _NAMED.search(before)
    if named is not None and not _BEFORE.search(before):
        return may_be_shown(named[1])
    within = _IN_A_NAME.search(before)
    if within is not None and kind_of(within[1]) is Kind.NAME:
        return True
    if (_AFTER if is_whole else _AFTER_DECIMAL).match(found.string, found.end()):
        return True
    return is_whole and _BEFORE.search(before) is not None


def _before(found: re.Match[str]) -> str:
    return found.string[max(0, found.start() - LONGEST_CONTEXT) : found.start()]
