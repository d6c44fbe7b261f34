"""Fixtures of integration and fault tests."""

import pytest

from tests.harness import rgw as rgw_module
from tests.harness.world import World


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
