"""A network that is cut, and news that must get through it or around it."""

import threading

import pytest

from tests.harness import trees
from tests.harness.cluster import POLL_NEVER, Cluster
from tests.harness.processes import CONFLICT, DONE, UNAVAILABLE
from tests.harness.publications import Publications
from tests.harness.waiting import wait_until

PUBLISHES = 8
# What is pushed takes milliseconds; a busy machine gets this long, and a poll of POLL_NEVER comes too late.
PUSHED_WITHIN_S = 5
# Polling every second and what follows from it.
POLLED_WITHIN_S = 15


@pytest.fixture
def cluster():
    with Cluster() as made:
        yield made


def agents_of_each(cluster):
    """One agent per server that knows no other one."""
    return [cluster.new_agents(1, "--subscribe", "data", servers=server.address)[0] for server in cluster.servers]


def test_a_publish_at_one_server_is_heard_at_the_others_at_once():
    with Cluster(poll=POLL_NEVER) as cluster:
        published = Publications(cluster)
        digest = published.publish()
        agents = agents_of_each(cluster)
        cluster.wait_all_active(agents, "data", digest)
        # Several, as one could come just before the poll that there is once in a while.
        for i in range(PUBLISHES):
            digest = published.publish(cluster.cli_of(cluster.servers[i % 3]))
            cluster.wait_all_active(agents, "data", digest, PUSHED_WITHIN_S)
            cluster.assert_all_hold(agents, "data", published.newest)
        assert cluster.total("aetherfs_announcements_received_total") >= 2 * PUBLISHES
        for server in cluster.servers:
            published.check_history(server)


def test_a_cut_between_two_servers_that_reach_all_else_harms_nobody(cluster):
    one, other, third = cluster.servers
    published = Publications(cluster)
    published.publish()
    tree = trees.make_noise(cluster.path("big"), 16)
    cluster.cli.publish("big", tree)
    agents = agents_of_each(cluster)
    cluster.restart_cold()

    # What they have not noticed yet, then what they know.
    cluster.cut(one, other)
    for server in cluster.servers:
        cluster.cli_of(server).pull("big", cluster.path(f"early-{server.name}"))
        trees.assert_same(tree, cluster.path(f"early-{server.name}"))
    cluster.wait_parted(one, other)
    assert cluster.sees(one, third) and cluster.sees(third, one)
    assert cluster.sees(other, third) and cluster.sees(third, other)
    for i, server in enumerate(cluster.servers):
        newer = trees.make_noise(cluster.path(f"big-{server.name}"), 4, seed=i + 2)
        cluster.cli_of(server).publish(f"big-{server.name}", newer)
        for reader in cluster.servers:
            target = cluster.path(f"{server.name}-to-{reader.name}")
            cluster.cli_of(reader).pull(f"big-{server.name}", target)
            trees.assert_same(newer, target)
        # Heard by polling where it cannot be pushed.
        digest = published.publish(cluster.cli_of(server))
        cluster.wait_all_active(agents, "data", digest, POLLED_WITHIN_S)
        cluster.assert_all_hold(agents, "data", published.newest)

    cluster.heal(one, other)
    cluster.wait_formed()
    digest = published.publish(cluster.cli_of(one))
    cluster.wait_all_active(agents, "data", digest, POLLED_WITHIN_S)
    for server in cluster.servers:
        published.check_history(server)


def test_with_all_peers_cut_off_from_each_other_news_come_with_the_poll_interval(cluster):
    published = Publications(cluster)
    digest = published.publish()
    agents = agents_of_each(cluster)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        cluster.cut(cluster.servers[a], cluster.servers[b])
    for i in range(3):
        digest = published.publish(cluster.cli_of(cluster.servers[i]))
        cluster.wait_all_active(agents, "data", digest, POLLED_WITHIN_S)
        cluster.assert_all_hold(agents, "data", published.newest)


class Publisher:
    """Publishes at one server, as fast as it goes."""

    def __init__(self, cluster, server):
        self.cluster, self.cli, self.name = cluster, cluster.cli_of(server), server.name
        self.acknowledged = {}  # digest -> tree
        self.refused = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        for i in range(PUBLISHES):
            source = trees.write(self.cluster.path(f"{self.name}-{i}"), {"text": f"{i} of {self.name}\n" * 1000})
            finished = self.cli.run("publish", "data", source, "-o", "json")
            if finished.status == DONE:
                self.acknowledged[finished.json["digest"]] = source
            else:
                self.refused.append(finished)

    def finish(self) -> None:
        self.thread.join()
        for finished in self.refused:
            assert finished.status in (CONFLICT, UNAVAILABLE) and finished.stderr.strip(), f"not a clear refusal: {finished}"


def test_two_publishers_of_one_tag_on_two_sides_of_a_cut(cluster):
    one, other, _ = cluster.servers
    first = cluster.cli.publish("data", trees.write(cluster.path("source"), {"text": "first"}))["digest"]
    agents = agents_of_each(cluster)
    cluster.wait_all_active(agents, "data", first)
    cluster.cut(one, other)
    publishers = [Publisher(cluster, server) for server in (one, other)]
    for publisher in publishers:
        publisher.finish()
    acknowledged = {digest: tree for publisher in publishers for digest, tree in publisher.acknowledged.items()}
    # Each side reaches the store, so each gets through; but whatever was refused was refused clearly.
    assert all(publisher.acknowledged for publisher in publishers)

    def histories():
        return [cluster.history("data", server) for server in cluster.servers]

    wait_until(lambda: (h := histories())[0] == h[1] == h[2], lambda: f"all agree: {histories()}", POLLED_WITHIN_S)
    changes = histories()[0]
    assert [seq for seq, _ in changes] == list(range(1, len(changes) + 1))
    seen = [digest for _, digest in changes]
    assert sorted(seen) == sorted([first, *acknowledged]), "all that was acknowledged, once, and nothing else"
    cluster.wait_all_active(agents, "data", seen[-1], POLLED_WITHIN_S)
    cluster.assert_all_hold(agents, "data", acknowledged[seen[-1]])

    # Of two that both expect to be the first, one is, and the other is told.
    source = trees.write(cluster.path("source"), {"text": "expected"})
    processes = [
        cluster.cli_of(server).start("publish", "data:fresh", source, "--expect-absent", "-m", server.name)
        for server in (one, other)
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    statuses = [process.returncode for process in processes]
    assert sorted(statuses) == [DONE, CONFLICT], errors
    cluster.heal(one, other)
    cluster.wait_formed()
    assert histories()[0] == histories()[1] == histories()[2]


def test_a_server_cut_off_from_store_and_peers_refuses_publishes_serves_what_it_has_and_catches_up(gateway):
    with Cluster(gateway=gateway) as cluster:
        lonely, fellow, _ = cluster.servers
        published = Publications(cluster)
        first = published.publish()
        agents = agents_of_each(cluster)
        cluster.wait_all_active(agents, "data", first)
        for host in (cluster.store_host, *(server.host for server in cluster.servers[1:])):
            cluster.network.cut(lonely.host, host)

        source = trees.write(cluster.path("refused"), {"text": "refused"})
        refused = cluster.cli_of(lonely).run("publish", "data", source, "--patience", "5s", status=UNAVAILABLE)
        assert refused.stderr.strip()
        second = published.publish(cluster.cli_of(fellow))
        cluster.wait_all_active(agents[1:], "data", second)
        assert cluster.current(agents[0]) == first
        cluster.assert_all_hold(agents[:1], "data", 1)
        # The version that it has, to whoever asks.
        cluster.cli_of(lonely).pull("data", cluster.path("stale"))
        trees.assert_same(agents[0].link("data").resolve(), cluster.path("stale"))

        cluster.network.rejoin(lonely.host)
        cluster.wait_all_active(agents, "data", second)
        cluster.wait_formed()
        third = published.publish(cluster.cli_of(lonely))
        cluster.wait_all_active(agents, "data", third)
        cluster.assert_all_hold(agents, "data", published.newest)
        for server in cluster.servers:
            published.check_history(server)
