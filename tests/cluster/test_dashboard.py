"""The dashboard asks for what servers and agents tell."""

import json
import pathlib
import re

from tests.harness.cluster import Cluster
from tests.harness.publications import Publications

DASHBOARD = pathlib.Path(__file__).parents[2] / "docs/grafana/aetherfs.json"


def names_asked_for() -> set[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return {name for query in queries for name in re.findall(r"\baetherfs_\w+", query)}


def test_every_metric_of_the_dashboard_is_told_by_a_server_or_an_agent():
    with Cluster() as cluster:
        digest = Publications(cluster).publish()
        (agent,) = cluster.new_agents(1, "--subscribe", "data")
        cluster.wait_all_active([agent], "data", digest)
        told = {name.partition("{")[0] for process in (*cluster.servers, agent) for name in process.metrics()}
        asked = names_asked_for()
        assert asked and not asked - told, asked - told
