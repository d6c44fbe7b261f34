"""Every scenario ends within a time, and takes its hosts and processes along."""

import signal

import pytest

# Above the longest scenario on a busy machine, below what would use up the suite's time.
SCENARIO_TIMEOUT_S = 180


@pytest.fixture(autouse=True)
def bounded():
    def too_long(*_):
        raise AssertionError(f"not done within {SCENARIO_TIMEOUT_S} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, SCENARIO_TIMEOUT_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
