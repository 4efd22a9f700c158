"""KLM: an ensemble of eight variants that sort technology against managed futures; the liveliest of them is held."""

from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.strategies.klm.variant_530 import VARIANT_530
from trading_pipeline.domain.strategies.klm.variants import (
    NOVA,
    VARIANT_410,
    VARIANT_506,
    VARIANT_520,
    VARIANT_830,
    VARIANT_1200,
    VARIANT_1280,
)
from trading_pipeline.domain.strategies.tree import top

VARIANTS = (
    VARIANT_506,
    VARIANT_1280,
    VARIANT_1200,
    VARIANT_520,
    VARIANT_530,
    VARIANT_410,
    NOVA,
    VARIANT_830,
)
"""In the order in which ties are settled."""

KLM = top(1, *VARIANTS, by=Indicator.RETURN_DEVIATION, window=5)
"""The variant whose own value series moved most over five sessions; one that is unavailable is left out."""
