"""Bear: below the long mean, two views of the Nasdaq, the calmer of them held larger.

Both views ask the same things: is the inverse fund oversold (the fall has room
to go on), has the leveraged fund regained its mean, do long treasuries outrun
the inverse fund (fear is leaving). Bear 1 also asks how far the index has
fallen and what intermediate treasuries say.
"""

from trading_pipeline.domain.strategies.tree import (
    cumret,
    first_match,
    group,
    if_,
    inverse_volatility,
    price,
    rsi,
    sma,
)

INVERSE_IS_OVERSOLD = rsi("PSQ", 10) < 35
NASDAQ_HAS_FALLEN_FAR = cumret("QQQ", 60) < -10
LEVERAGED_NASDAQ_IS_RECOVERING = price("TQQQ") > sma("TQQQ", 20)
LONG_TREASURIES_LEAD = rsi("TLT", 20) > rsi("PSQ", 20)
INTERMEDIATE_TREASURIES_LEAD = rsi("IEF", 10) > rsi("PSQ", 20)

RECOVERY = if_(LONG_TREASURIES_LEAD, "TQQQ", "SQQQ")

BEAR_1 = group(
    "Bear 1",
    first_match(
        (INVERSE_IS_OVERSOLD, "SQQQ"),
        (NASDAQ_HAS_FALLEN_FAR, if_(LONG_TREASURIES_LEAD, "TQQQ", "PSQ")),
        (LEVERAGED_NASDAQ_IS_RECOVERING, RECOVERY),
        (INTERMEDIATE_TREASURIES_LEAD, "SQQQ"),
        (LONG_TREASURIES_LEAD, "QQQ"),
        otherwise="SQQQ",
    ),
)

BEAR_2 = group(
    "Bear 2",
    first_match(
        (INVERSE_IS_OVERSOLD, "SQQQ"),
        (LEVERAGED_NASDAQ_IS_RECOVERING, RECOVERY),
        (LONG_TREASURIES_LEAD, "QQQ"),
        otherwise="SQQQ",
    ),
)

BEAR = inverse_volatility(14, BEAR_1, BEAR_2)
