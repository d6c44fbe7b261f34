"""Servers that are killed, stand still or are replaced while consumers fetch."""

import collections
import contextlib
import json
import shutil
import threading

import pytest

from tests.harness import trees, versions
from tests.harness.cluster import Cluster
from tests.harness.processes import DONE
from tests.harness.publications import Publications
from tests.harness.waiting import wait_until
from tests.harness.watcher import Watcher

SIZE_MIB = 24
AGENTS = 12
# Slow enough that something can happen in the middle.
SERVER_RATE = "400mbit"


@pytest.fixture
def cluster():
    with Cluster() as made:
        yield made


def start_fan_out(cluster):
    """Agents that fetch from cold servers, not done yet, but well on their way."""
    for server in cluster.servers:
        cluster.network.limit(server.host, SERVER_RATE)
    where = {"servers": cluster.addresses, "host": cluster.client_host}
    agents = [cluster.new_agent("--subscribe", "data", name=f"agent{i}", **where) for i in range(AGENTS)]
    for agent in agents:
        agent.start(wait="")
    sent = SIZE_MIB * AGENTS << 18  # a quarter of it
    wait_until(lambda: cluster.total("aetherfs_server_downloaded_bytes_total") > sent, "the fan-out is under way")
    return agents


def finish_fan_out(cluster, agents, tree) -> None:
    for agent in agents:
        agent.wait_for("/readyz", 90)
    cluster.assert_all_hold(agents, "data", tree)


def follow_one_more(cluster, agents, published, seed: int) -> None:
    """A version after the trouble reaches everybody, and the journal has all that was acknowledged."""
    tree = trees.make_noise(cluster.path(f"source{seed}"), 1, seed)
    digest = cluster.cli.publish("data", tree)["digest"]
    cluster.wait_all_active(agents, "data", digest)
    cluster.assert_all_hold(agents, "data", tree)
    for server in cluster.servers:
        assert [seen for _, seen in cluster.history("data", server)] == [*published, digest]


def test_one_of_three_servers_is_killed_during_fan_out(cluster):
    tree = trees.make_noise(cluster.path("source"), SIZE_MIB)
    digest = cluster.cli.publish("data", tree)["digest"]
    victim = cluster.main_owner()
    agents = start_fan_out(cluster)
    victim.kill()
    done = sum(agent.get("/readyz")[0] == 200 for agent in agents)
    assert done < AGENTS, "it was killed while some still fetched"
    finish_fan_out(cluster, agents, tree)
    victim.start()
    cluster.wait_formed()
    follow_one_more(cluster, agents, [digest], 2)
    # It serves again what it has no longer in memory.
    cluster.cli_of(victim).pull(f"data@{digest}", cluster.path("again"))
    trees.assert_same(tree, cluster.path("again"))


def test_the_owner_stands_still_during_fan_out_and_goes_on(cluster):
    tree = trees.make_noise(cluster.path("source"), SIZE_MIB)
    first = cluster.cli.publish("data", tree)["digest"]
    owner = cluster.main_owner()
    others = [server for server in cluster.servers if server is not owner]
    agents = start_fan_out(cluster)
    owner.freeze()
    finish_fan_out(cluster, agents, tree)
    wait_until(lambda: not any(cluster.sees(other, owner) for other in others), "the others do without it")

    # Its fellows publish without it ...
    newer = trees.make_noise(cluster.path("newer"), 2, seed=2)
    second = cluster.cli_of(others[0]).publish("data", newer)["digest"]
    cluster.wait_all_active(agents, "data", second)
    cluster.assert_all_hold(agents, "data", newer)
    # ... and it knows when it goes on.
    owner.thaw()
    cluster.wait_formed()
    wait_until(lambda: cluster.history("data", owner)[-1][1] == second, "it has caught up")
    cluster.cli_of(owner).pull("data", cluster.path("from-owner"))
    trees.assert_same(newer, cluster.path("from-owner"))
    follow_one_more(cluster, agents, [first, second], 3)


class Load:
    """Pulls without end, by several threads: every one must succeed, and bring a version that was current when
    it began or a later one."""

    PULLERS = 3

    def __init__(self, cluster, published):
        self.cluster, self.published = cluster, published
        self.pulls = collections.Counter()
        self.failures = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(self.PULLERS)]
        self.threads.append(threading.Thread(target=self.run_publisher))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    @contextlib.contextmanager
    def noted(self, who):
        try:
            yield
        except Exception as error:
            self.failures.append(f"{who}: {error}")
            self.stopping.set()

    def run(self, number: int) -> None:
        while not self.stopping.is_set():
            with self.noted(f"puller {number}"):
                oldest = self.published.newest
                target = self.cluster.path(f"pulled{number}")
                self.cluster.cli.pull("data", target)
                assert versions.check(target) >= oldest
                # All the bytes each time, so that there is a download to disturb.
                big = self.cluster.path(f"big{number}-{self.pulls[number]}")
                self.cluster.cli.pull("big", big)
                trees.assert_same(self.cluster.path("big"), big)
                shutil.rmtree(big)
                self.pulls[number] += 1

    def run_publisher(self) -> None:
        while not self.stopping.is_set():
            with self.noted("publisher"):
                number, source = self.published.write_next()
                finished = self.cluster.cli.run("publish", "data", source, "-o", "json", status=DONE)
                self.published.digests[number] = json.loads(finished.stdout)["digest"]
                self.pulls["publisher"] += 1

    def wait_for_more(self) -> None:
        """Until everybody has been all the way round at least once more."""
        before = dict(self.pulls)
        workers = [*range(self.PULLERS), "publisher"]

        def done():
            return self.failures or all(self.pulls[worker] > before.get(worker, 0) + 1 for worker in workers)

        wait_until(done, lambda: f"the load goes on: {self.pulls}", 60)
        assert not self.failures, self.failures[0]


def test_a_rolling_restart_under_load_fails_no_request_of_a_client(cluster):
    published = Publications(cluster)
    first = published.publish()
    big = trees.make_noise(cluster.path("big"), 8)
    cluster.cli.publish("big", big)
    agents = cluster.new_agents(2, "--subscribe", "data")
    with Watcher(agents[0].link("data"), cluster.path("report")) as watcher:
        cluster.wait_all_active(agents, "data", first)
        with Load(cluster, published) as load:
            load.wait_for_more()
            for server in cluster.servers:
                assert server.terminate() == 0
                load.wait_for_more()
                server.start()
                cluster.wait_formed()
                load.wait_for_more()
        assert not load.failures, load.failures[0]
        last = published.publish()
        cluster.wait_all_active(agents, "data", last)
        report = watcher.finish()
    assert report["mixture"] is None, report["mixture"]
    assert report["versions"] == sorted(report["versions"]) and report["versions"][-1] == published.newest
    cluster.assert_all_hold(agents, "data", published.newest)
    for server in cluster.servers:
        published.check_history(server)
    assert all(agent.metric("aetherfs_agent_integrity_failures_total") == 0 for agent in agents)
