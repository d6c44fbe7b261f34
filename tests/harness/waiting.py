"""Waiting for a condition, never for a time."""

import time

PATIENCE_S = 30.0
STEP_S = 0.01


def wait_until(condition, what, timeout_s: float = PATIENCE_S):
    """Returns the first true value of `condition()`. `what` is a text, or a function that makes one."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what() if callable(what) else what}")
        time.sleep(STEP_S)
