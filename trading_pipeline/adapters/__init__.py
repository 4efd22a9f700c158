"""The world behind the ports: Alpaca, storage, clocks. Everything that can fail for a passing reason lives here."""
