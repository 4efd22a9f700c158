"""History and statistics of strategies: pure functions over whole ranges of sessions."""
