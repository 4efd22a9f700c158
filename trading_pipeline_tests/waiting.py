"""Waiting for what another thread or process does, without a fixed pause."""

import threading
import time

PATIENCE = 20.0


def eventually(condition, patience=PATIENCE):
    """Wait until ``condition`` holds, at most ``patience`` seconds; return what it returned."""
    pause, deadline = threading.Event(), time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {patience:g} s"
        pause.wait(0.005)
    return found
