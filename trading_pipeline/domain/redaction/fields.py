"""What a field is about, told by its name: a symbol, a figure that is hidden, a count that is shown, a name of a thing.

A name is cut into words; what it speaks of is decided by the first kind that
one of its words belongs to, in the order of :class:`Kind`.
"""

import functools
import re
from enum import Enum, auto


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text, each once."""
    return frozenset(text.split())


ACCOUNT_WORDS = frozenset({"account", "accounts"})
SYMBOL_WORDS = frozenset({"symbol", "symbols", "ticker", "tickers", "underlying", "safe_asset"})
FIGURE_WORDS = words_of(
    """price prices quantity quantities qty shares notional equity cash pnl profit profits loss losses gain gains nav
    cost costs commission fee fees balance amount amounts exposure exposures bid ask mid volume vwap dollars usd
    turnover drawdown return returns proceeds bought sold held holding holdings position positions capital measured
    limit collar slippage money buying power value values realised unrealised ours theirs expected difference filled
    remaining outstanding"""
)
NAME_WORDS = words_of(
    """id ids hash fingerprint digest sha uuid key url path file folder time timestamp date session partition since
    until instant module function logger version versions"""
)
COUNT_WORDS = words_of(
    """count counts rows row sessions seconds second minutes minute hours hour days ms milliseconds age latency
    latencies lag attempt attempts number orders fills intents intent plans symbols strategies checks failures errors
    retries resends epoch seq sequence line lines port pid status code step steps shard shards processes window windows
    share weight weights ratio fraction probability bars tables bytes events runs alerts probation trades seed level
    column columns denied approved reduced rejected restated refused missing unavailable available stale breaches
    total_rows similarity correlation percentile passed failed empty skipped"""
)
FIGURE_NAMES = frozenset({"open", "high", "low", "close", "value", "last"})
# One of their words speaks of a figure, and the whole does not.
HARMLESS_NAMES = frozenset({"rate_limit_remaining", "time_limit", "breaker_open", "most_remaining"})


class Kind(Enum):
    """What a field is about; the first that fits counts."""

    ACCOUNT = auto()
    """A number of an account: hidden whatever it is."""
    FIGURE = auto()
    """Money, a quantity or what follows from them: hidden where it is a number, or a text with digits."""
    SYMBOL = auto()
    """Symbols, known or not: each becomes its pseudonym."""
    NAME = auto()
    """A name, place or instant: its digits are not figures."""
    COUNT = auto()
    """A count, an age, a share: numbers are shown."""
    UNKNOWN = auto()
    """Anything else: numbers are hidden, since nobody knows what they say."""


_WORDS = {
    Kind.ACCOUNT: ACCOUNT_WORDS,
    Kind.FIGURE: FIGURE_WORDS,
    Kind.SYMBOL: SYMBOL_WORDS,
    Kind.NAME: NAME_WORDS,
    Kind.COUNT: COUNT_WORDS,
}


@functools.lru_cache(maxsize=4096)
def kind_of(name: str) -> Kind:
    """Return what a field of ``name`` is about.

    >>> [kind_of(name).name for name in ("limit_price", "symbol", "plan_id", "dagster/row_count", "surprise")]
    ['FIGURE', 'SYMBOL', 'NAME', 'COUNT', 'UNKNOWN']
    """
    plain = name.lower()
    if plain in FIGURE_NAMES:
        return Kind.FIGURE
    if plain in HARMLESS_NAMES:
        return Kind.COUNT
    words = set(re.findall(r"[a-z]+", plain))
    return next((kind for kind, known in _WORDS.items() if words & known), Kind.UNKNOWN)


def may_be_shown(name: str) -> bool:
    """Tell whether a number in a field of ``name`` may be shown."""
    return kind_of(name) in {Kind.NAME, Kind.COUNT, Kind.SYMBOL}
