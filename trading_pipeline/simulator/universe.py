"""The cast of the generated market: what moves, what follows it, and what happens to whom.

An *index* moves with the common factors and a motion of its own. A *member* is
a symbol that follows an index by its daily multiple; the multiple is the one of
:func:`trading_pipeline.domain.instruments.catalogue`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

FIRST_SESSION = date(2015, 1, 2)
# Levels are fixed on this session, so that prices near it look like those of the funds they are named for.
ANCHOR = date(2026, 1, 2)


@dataclass(frozen=True)
class Index:
    """A series that funds follow: ``exposures`` to factors, daily ``own_volatility``, daily ``drift``, fractions."""

    exposures: Mapping[str, float]
    own_volatility: float
    drift: float = 0.0


@dataclass(frozen=True)
class Member:
    """A symbol: the index it follows, its close on the anchor in dollars, shares a day, first session."""

    index: str
    price: float
    shares: float
    listed: date = FIRST_SESSION


@dataclass(frozen=True)
class Split:
    """``ratio`` new shares for one old, from the start of ``session`` on."""

    symbol: str
    session: date
    ratio: int | Decimal


@dataclass(frozen=True)
class Events:
    """What befalls single symbols: splits, and sessions in which one does not trade."""

    splits: tuple[Split, ...] = ()
    halts: frozenset[tuple[str, date]] = field(default_factory=frozenset)


EVENTS = Events(
    splits=(Split("TQQQ", date(2025, 11, 20), 2),),
    halts=frozenset({("LEU", date(2025, 9, 17))}),
)

INDICES: Mapping[str, Index] = {
    "large": Index({"market": 1.0}, 0.0),
    "large growth": Index({"market": 1.05, "growth": 0.8}, 0.001),
    "large value": Index({"market": 0.85, "growth": -0.4}, 0.002),
    "value": Index({"market": 0.8, "growth": -0.5}, 0.0025),
    "global": Index({"market": 0.95, "dollar": -0.2}, 0.002),
    "calm": Index({"market": 0.65, "growth": -0.3}, 0.0025),
    "nasdaq": Index({"market": 1.12, "growth": 1.0}, 0.001, 0.00005),
    "nasdaq equal": Index({"market": 1.05, "growth": 0.6}, 0.003),
    "fang": Index({"market": 1.25, "growth": 1.8}, 0.007, 0.0002),
    "small": Index({"market": 1.15, "growth": -0.2}, 0.006, -0.0001),
    "technology": Index({"market": 1.15, "growth": 1.1}, 0.004, 0.0001),
    "semiconductors": Index({"market": 1.35, "growth": 1.7}, 0.009, 0.0001),
    "financials": Index({"market": 1.05, "growth": -0.5, "rates": -0.25}, 0.005),
    "communication": Index({"market": 1.0, "growth": 0.4}, 0.005),
    "staples": Index({"market": 0.5, "growth": -0.4}, 0.004),
    "discretionary": Index({"market": 1.1, "growth": 0.5}, 0.005),
    "energy": Index({"market": 0.9, "growth": -0.4, "oil": 0.5}, 0.008, -0.0001),
    "retail": Index({"market": 1.15, "growth": 0.2}, 0.009, -0.0002),
    "biotechnology": Index({"market": 1.1, "growth": 0.8}, 0.014, -0.0001),
    "uranium": Index({"market": 0.8, "nuclear": 0.8}, 0.005),
    "reactors": Index({"market": 1.4, "nuclear": 1.8}, 0.045, -0.0005),
    "fast reactors": Index({"market": 1.5, "nuclear": 2.0}, 0.05, -0.0005),
    "components": Index({"market": 0.9, "nuclear": 0.5}, 0.011, 0.0002),
    "enrichment": Index({"market": 1.2, "nuclear": 1.4}, 0.033),
    "power": Index({"market": 0.6, "nuclear": 0.2, "rates": 0.2}, 0.01),
    "apple": Index({"market": 1.15, "growth": 0.8}, 0.009, 0.0002),
    "microsoft": Index({"market": 1.05, "growth": 0.9}, 0.008, 0.0002),
    "nvidia": Index({"market": 1.5, "growth": 2.0}, 0.017, 0.0007),
    "alphabet": Index({"market": 1.1, "growth": 0.9}, 0.01, 0.0002),
    "amazon": Index({"market": 1.2, "growth": 1.1}, 0.012, 0.0002),
    "tesla": Index({"market": 1.5, "growth": 1.4}, 0.027, 0.0003),
    "short volatility term": Index({"volatility": 1.0}, 0.0),
    "mid volatility term": Index({"volatility": 0.45}, 0.004, 0.0003),
    "long treasuries": Index({"rates": 1.0}, 0.0005),
    "treasuries": Index({"rates": 0.42}, 0.0008),
    "bonds": Index({"rates": 0.33, "market": 0.01}, 0.0006),
    "all bonds": Index({"rates": 0.33, "market": 0.01}, 0.0005),
    "short bonds": Index({"rates": 0.11}, 0.0004, 0.00003),
    "bills": Index({}, 0.0, 0.00012),
    "gold": Index({"gold": 1.0, "dollar": -0.6}, 0.0005),
    "silver": Index({"gold": 1.5, "dollar": -0.6}, 0.009, -0.0002),
    "commodities": Index({"oil": 0.5, "gold": 0.1}, 0.004),
    "dollar": Index({"dollar": 1.0}, 0.0003),
    "managed futures": Index({"trend": 1.0, "oil": 0.1}, 0.001),
    "long short": Index({"market": 0.5}, 0.002, 0.00005),
    "anti beta": Index({"market": -0.55, "growth": -0.4}, 0.004, 0.0001),
}

MEMBERS: Mapping[str, Member] = {
    "SPY": Member("large", 682.0, 7.0e7),
    "UPRO": Member("large", 116.0, 4.0e6),
    "SPXL": Member("large", 224.0, 4.0e6),
    "SPXU": Member("large", 47.0, 6.0e6),
    "VOOG": Member("large growth", 445.0, 3.0e5),
    "VOOV": Member("large value", 205.0, 2.0e5),
    "VTV": Member("value", 191.0, 2.5e6),
    "IOO": Member("global", 127.0, 3.0e5),
    "SPLV": Member("calm", 71.0, 2.0e6),
    "QQQ": Member("nasdaq", 613.0, 4.5e7),
    "TQQQ": Member("nasdaq", 53.0, 7.0e7),
    "SQQQ": Member("nasdaq", 68.0, 3.0e7),
    "PSQ": Member("nasdaq", 30.0, 7.0e6),
    "QID": Member("nasdaq", 20.0, 4.0e6),
    "QQQE": Member("nasdaq equal", 102.0, 2.0e5),
    "FNGU": Member("fang", 25.0, 3.0e6, date(2025, 2, 20)),
    "FNGO": Member("fang", 105.0, 1.0e5, date(2018, 8, 2)),
    "TZA": Member("small", 7.0, 2.0e7),
    "XLK": Member("technology", 144.0, 6.0e6),
    "TECL": Member("technology", 118.0, 1.5e6),
    "SOXL": Member("semiconductors", 44.0, 6.0e7),
    "XLF": Member("financials", 55.0, 4.0e7),
    "FAS": Member("financials", 172.0, 5.0e5),
    "VOX": Member("communication", 191.0, 2.0e5),
    "XLP": Member("staples", 78.0, 1.2e7),
    "XLY": Member("discretionary", 119.0, 5.0e6),
    "XLE": Member("energy", 45.0, 1.8e7),
    "ERX": Member("energy", 58.0, 4.0e5),
    "RETL": Member("retail", 9.5, 8.0e5),
    "LABU": Member("biotechnology", 170.0, 1.0e6, date(2015, 5, 28)),
    "LABD": Member("biotechnology", 18.0, 4.0e6, date(2015, 5, 28)),
    "NLR": Member("uranium", 128.0, 8.0e5),
    "SMR": Member("reactors", 15.5, 2.5e7, date(2022, 5, 3)),
    "OKLO": Member("fast reactors", 75.0, 1.5e7, date(2024, 5, 10)),
    "BWXT": Member("components", 175.0, 1.0e6),
    "LEU": Member("enrichment", 250.0, 1.2e6),
    "EXC": Member("power", 43.5, 8.0e6),
    "AAPL": Member("apple", 271.0, 4.5e7),
    "MSFT": Member("microsoft", 473.0, 2.2e7),
    "NVDA": Member("nvidia", 189.0, 1.8e8),
    "GOOGL": Member("alphabet", 315.0, 3.0e7),
    "AMZN": Member("amazon", 226.0, 4.0e7),
    "TSLA": Member("tesla", 438.0, 8.0e7),
    "UVXY": Member("short volatility term", 36.0, 1.5e7),
    "UVIX": Member("short volatility term", 7.0, 3.0e7, date(2022, 3, 30)),
    "VXX": Member("short volatility term", 26.5, 6.0e6),
    "VIXY": Member("short volatility term", 25.5, 1.5e6),
    "SVXY": Member("short volatility term", 54.0, 2.0e6),
    "SVIX": Member("short volatility term", 22.0, 5.0e6, date(2022, 3, 30)),
    "VIXM": Member("mid volatility term", 15.0, 3.0e5),
    "TLT": Member("long treasuries", 87.0, 3.5e7),
    "TMF": Member("long treasuries", 37.0, 4.0e6),
    "TMV": Member("long treasuries", 38.0, 4.0e5),
    "IEF": Member("treasuries", 96.0, 8.0e6),
    "AGG": Member("bonds", 100.0, 9.0e6),
    "BND": Member("all bonds", 74.0, 7.0e6),
    "BSV": Member("short bonds", 78.9, 3.0e6),
    "BIL": Member("bills", 91.5, 9.0e6),
    "GLD": Member("gold", 398.0, 1.0e7),
    "SLV": Member("silver", 66.0, 4.0e7),
    "PDBC": Member("commodities", 13.2, 4.0e6),
    "UUP": Member("dollar", 27.2, 1.0e6),
    "KMLM": Member("managed futures", 26.5, 1.0e5, date(2020, 12, 2)),
    "FTLS": Member("long short", 70.0, 2.0e5),
    "BTAL": Member("anti beta", 15.5, 5.0e5),
}
