"""The seven variants made of shared blocks: they differ in what the two sides of the switch hold.

Groups carry the long names under which the variants are public.
"""

from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.strategies.klm.blocks import OVERBOUGHT_CHAIN, POP_BOT, calmest, sorter, switch
from trading_pipeline.domain.strategies.tree import bottom, first_match, group, if_, maret, rsi, top

TECHNOLOGY = ("TECL", "SOXL", "SVIX")
CALMEST_HEDGE = calmest(1, "UUP", "FTLS", "KMLM")
STRONGER_DEFENSE = top(1, "SQQQ", "TLT", by=Indicator.RSI, window=10)

VARIANT_506 = group(
    "506/38 KMLM (13) - Longer BT",
    sorter("UVXY", technology="FNGU", other=CALMEST_HEDGE),
)

VARIANT_1280 = group(
    "1280/26 KMLM (50)",
    first_match(
        *OVERBOUGHT_CHAIN,
        *POP_BOT,
        (rsi("LABU", 10) < 25, "LABU"),
        otherwise=switch(technology=bottom(2, *TECHNOLOGY, by=Indicator.RSI, window=10), other=STRONGER_DEFENSE),
    ),
)
"""The one without a popped gate."""

VARIANT_1200 = group(
    "1200/28 KMLM (43)",
    sorter("UVXY", technology=bottom(1, *TECHNOLOGY, by=Indicator.RSI, window=10), other=STRONGER_DEFENSE),
)

VARIANT_520 = group(
    "520/22 KMLM (23) - Original",
    sorter(
        "UVXY",
        technology=bottom(1, "TECL", "SVIX", by=Indicator.RSI, window=10),
        other=calmest(3, "TMV", "TMF", "SVXY", "VIXM", "FTLS", "KMLM", "UUP"),
    ),
)

VARIANT_410 = group("410/38 (11) - MonkeyBusiness Simons variant", VARIANT_506.child)
"""Public under a name of its own, and the same tree as 506/38."""

NOVA = group(
    "Nerfed 2900/8 (373) - Nova - Short BT (remove for longer backtest)",
    sorter(
        "UVIX",
        technology=top(1, "FNGO", "TSLA", "MSFT", "AAPL", "NVDA", "GOOGL", "AMZN", by=Indicator.RSI, window=11),
        other=CALMEST_HEDGE,
    ),
)

VARIANT_830 = group(
    "830/21 (39) MonkeyBusiness Simons variant V2",
    sorter(
        "UVXY",
        technology=top(1, *TECHNOLOGY, by=Indicator.RSI, window=10),
        other=if_(
            maret("BND", 20) > 0,
            bottom(1, "KMLM", "SPLV", by=Indicator.RSI, window=10),
            top(1, "TLT", "LABD", "TZA", by=Indicator.RSI, window=10),
        ),
    ),
)
"""The one that follows the strongest of technology rather than the weakest."""
