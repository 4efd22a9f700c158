"""A simulated Alpaca: its own process, its own clock, an account that survives a restart.

Everything it shows is synthetic or replayed, and its account numbers start
with ``SIM``. The real alpaca-py clients talk to it through ``url_override``.
"""
