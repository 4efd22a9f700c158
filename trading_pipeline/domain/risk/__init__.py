"""Pre-trade risk: limits, one pure function a rule, and the decision on every order."""
