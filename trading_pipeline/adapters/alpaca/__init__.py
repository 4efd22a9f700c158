"""Alpaca behind the ports, through the alpaca-py clients."""
