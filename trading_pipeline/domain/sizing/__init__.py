"""Sizing: how much of what the strategies want is held, by volatility, range, caps and cost; off by default."""
