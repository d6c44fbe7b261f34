"""HTTP pages, metrics and signals of server and agent."""

import signal
import urllib.error
import urllib.request

import grpc
import pytest

from tests.harness import trees
from tests.harness.api import stubs
from tests.harness.processes import DONE
from tests.harness.waiting import wait_until


def test_pages_answer(any_world):
    world = any_world
    for daemon in (world.server, world.agent):
        wait_until(lambda: daemon.get("/readyz")[0] == 200, f"{daemon.name} is ready")
        for page in ("/healthz", "/readyz", "/version", "/metrics"):
            status, body = daemon.get(page)
            assert status == 200 and body, (daemon.name, page)
        assert daemon.get("/nowhere")[0] == 404
        for line in daemon.get("/metrics")[1].splitlines():
            assert line.startswith(("#", "aetherfs_", "process_")), line


def test_metrics_count_what_happens(any_world):
    world = any_world
    source = trees.make_varied(world.path("source"))
    before = world.server.get("/metrics")[1]
    world.cli.publish("data", source)
    world.cli.pull("data", world.path("target"))
    after = world.server.get("/metrics")[1]
    assert before != after
    for word in ("bytes", "seconds"):
        assert word in after


def test_health_and_reflection_are_served(world):
    # The standard services, as raw calls: Debian has no Python package for them.
    world.server
    channel = world.client().channel
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"", timeout=10) == b"\x08\x01", "SERVING"
    reflect = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    answer = b"".join(reflect(iter([b"\x3a\x00"]), timeout=10))  # list_services: ""
    for service in (b"aetherfs.dataset.v1.DatasetAPI", b"aetherfs.block.v1.BlockAPI"):
        assert service in answer


@pytest.mark.parametrize("which", ["server", "agent"])
def test_sigterm_ends_with_0(world, which):
    world.agent
    daemon = getattr(world, which)
    assert daemon.terminate() == 0


def test_a_second_sigterm_ends_at_once(world):
    server = world.server
    client = world.client()
    # A stream that nobody ends keeps the drain waiting.
    stream = client.dataset.Subscribe(stubs().dataset.SubscribeRequest(dataset="data"), wait_for_ready=True)
    assert next(stream).state.absent
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.get("/readyz")[0] != 200 or not server.running(), "not ready any more")
    if server.running():
        server.process.send_signal(signal.SIGTERM)
    server.process.wait(10)
    with pytest.raises(grpc.RpcError):
        next(stream)


def test_sighup_is_survived(world):
    for daemon in (world.server, world.agent):
        daemon.process.send_signal(signal.SIGHUP)
    digest = world.cli.publish("data", trees.write(world.path("source"), {"a": "1"}))["digest"]
    assert world.client().digest("data") == digest
    assert world.server.running() and world.agent.running()


def test_draining_lets_a_running_publish_finish(world):
    source = trees.write(world.path("source"), {"large": bytes(i % 251 for i in range(1 << 20)) * 48})
    publish = world.cli.start("publish", "data", source, "-o", "json", "--patience", "3s")
    wait_until(lambda: any(world.store_directory.rglob("blocks/*")) or publish.poll() is not None, "uploading")
    world.server.process.send_signal(signal.SIGTERM)
    # Either it got through, or it says that it did not: then a server that is back has nothing of it.
    out, err = publish.communicate(timeout=90)
    assert world.server.process.wait(40) == 0
    world.server.start()
    if publish.returncode == DONE:
        assert world.client().digest("data") is not None
    else:
        assert world.client().digest("data") is None, err


def test_address_in_use_is_said_and_ends_with_an_error(world):
    first = world.server
    second = world.new_server()
    second.address = first.address
    second.start(wait="")
    assert second.process.wait(30) not in (0, None)
    assert first.address.split(":")[1] in second.log()


def test_pages_are_for_reading_only(world):
    request = urllib.request.Request(f"http://127.0.0.1:{world.server.http_port}/metrics", data=b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 405
