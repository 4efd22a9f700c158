"""Rotation: technology against managed futures, asked in bull and bear markets alike."""

from trading_pipeline.domain.strategies.tree import Node, first_match, if_, rsi

TECHNOLOGY_LEADS = rsi("XLK", 10) > rsi("KMLM", 10)
TECHNOLOGY_IS_OVERBOUGHT = rsi("XLK", 10) > 81
TECHNOLOGY_IS_OVERSOLD = rsi("XLK", 10) < 29


def rotation(otherwise: Node | str) -> Node:
    """Hold leveraged technology while it leads, unless overbought, and when it is oversold."""
    return first_match(
        (TECHNOLOGY_LEADS, if_(TECHNOLOGY_IS_OVERBOUGHT, "BIL", "TECL")),
        (TECHNOLOGY_IS_OVERSOLD, "TECL"),
        otherwise=otherwise,
    )
