"""Many consumers at once: the store is read once."""

import contextlib
import shutil

import pytest

from tests.harness import trees
from tests.harness.cluster import POLL_NEVER, Cluster
from tests.harness.processes import DONE
from tests.harness.tcp_proxy import TcpProxy

CONSUMERS = 100
SIZE_MIB = 8
# Journals, and the probe of create-if-absent, of each server.
SMALL_READS = 64 * 1024
AMPLIFICATION = 1.05


@pytest.fixture
def cluster():
    # With no polls in between that would be read, too.
    with Cluster(poll=POLL_NEVER) as made:
        yield made


def test_with_all_caches_cold_a_hundred_consumers_at_once_read_the_store_once(cluster):
    tree = trees.make_noise(cluster.path("source"), SIZE_MIB)
    cluster.cli.publish("data", tree)
    stored = cluster.stored_bytes("data")
    assert stored >= SIZE_MIB << 20
    cluster.restart_cold()
    before = cluster.read_from_store()
    cli = cluster.cli
    targets = [cluster.path(f"target{i}") for i in range(CONSUMERS)]
    processes = [cli.start("pull", "data", target) for target in targets]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [DONE] * CONSUMERS, ended
    read = cluster.read_from_store() - before
    for target in targets:
        trees.assert_same(tree, target)
        shutil.rmtree(target)
    assert stored * 0.99 < read < stored * AMPLIFICATION + 3 * SMALL_READS, f"{read} of {stored} bytes"
    # And once they are warm, not at all.
    cluster.cli.pull("data", cluster.path("warm"))
    assert cluster.read_from_store() - before < read + 3 * SMALL_READS


def test_an_update_reaches_many_agents_and_reads_the_store_once(cluster):
    cluster.cli.publish("data", trees.make_noise(cluster.path("first"), 1))
    agents = cluster.new_agents(20, "--subscribe", "data")
    tree = trees.make_noise(cluster.path("second"), SIZE_MIB, seed=2)
    before, stored = cluster.read_from_store(), cluster.stored_bytes("data")
    digest = cluster.cli.publish("data", tree)["digest"]
    cluster.wait_all_active(agents, "data", digest)
    cluster.assert_all_hold(agents, "data", tree)
    new = cluster.stored_bytes("data") - stored
    # The publish itself reads what it makes deltas from.
    assert cluster.read_from_store() - before < new * AMPLIFICATION + 3 * SMALL_READS


def test_connections_to_servers_that_break_and_flip_bits_bring_every_agent_the_right_bytes(cluster):
    tree = trees.make_noise(cluster.path("source"), SIZE_MIB)
    cluster.cli.publish("data", tree)
    cluster.restart_cold()
    with contextlib.ExitStack() as stack:
        proxies = []
        for server in cluster.servers[:2]:
            port = int(server.address.rpartition(":")[2])
            proxies.append(stack.enter_context(TcpProxy(port, server.host, cluster.client_host)))
        bad_bits, short = proxies
        bad_bits.corrupt(2 << 20)
        short.truncate(3 << 20)
        addresses = ",".join(proxy.address for proxy in proxies)
        agents = cluster.new_agents(6, "--subscribe", "data", servers=addresses)
        cluster.assert_all_hold(agents, "data", tree)
        assert bad_bits.counts()["harmed"] and short.counts()["harmed"]
        # Cut while they follow; they are back when the connection is.
        for proxy in proxies:
            proxy.heal()
            proxy.cut()
        newer = trees.make_noise(cluster.path("newer"), 1, seed=2)
        digest = cluster.cli.publish("data", newer)["digest"]
        for proxy in proxies:
            proxy.heal()
        cluster.wait_all_active(agents, "data", digest)
        cluster.assert_all_hold(agents, "data", newer)
