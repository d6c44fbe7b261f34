"""Fixtures of integration, fault and cluster tests."""

import signal

import pytest

from tests.harness import rgw as rgw_module
from tests.harness.world import World


def pytest_configure():
    """A SIGTERM is taken as Ctrl-C is: what tests started is ended on the way out."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def gateway():
    """A real S3 server, one for the whole run."""
    with rgw_module.running() as running:
        yield running


@pytest.fixture
def world():
    """Server, agent and command line over a local directory."""
    with World() as made:
        yield made


@pytest.fixture(params=["file", "s3"])
def any_world(request):
    """As `world`, once over a local directory and once over S3."""
    if request.param == "file":
        with World() as made:
            yield made
    else:
        with World.over(request.getfixturevalue("gateway")) as made:
            yield made


@pytest.fixture
def s3_world(gateway):
    with World.over(gateway) as made:
        yield made
