"""A dataset's settings, and deltas as servers see them: objects that a publication announces."""

import hashlib
import os

import grpc
import pytest

from tests.harness import trees
from tests.harness.api import stubs
from tests.harness.processes import DONE, NOT_FOUND, USAGE


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def upload_delta(client, dataset: str, data: bytes, digest: str = ""):
    block = stubs().block
    header = block.UploadHeader(
        dataset=dataset, kind=block.OBJECT_KIND_DELTA, digest=digest or digest_of(data), size=len(data)
    )
    parts = [block.UploadRequest(header=header), block.UploadRequest(data=data)]
    return client.block.Upload(iter(parts), timeout=20)


def download_delta(client, dataset: str, digest: str, *ranges) -> bytes:
    block = stubs().block
    request = block.DownloadRequest(
        dataset=dataset,
        kind=block.OBJECT_KIND_DELTA,
        digest=digest,
        ranges=[block.Range(offset=offset, size=size) for offset, size in ranges],
    )
    return b"".join(answer.data for answer in client.block.Download(request, timeout=20))


def lookup(client, dataset: str):
    return client.dataset.Lookup(stubs().dataset.LookupRequest(dataset=dataset), timeout=20)


def publish_with_delta(client, dataset: str, base: str, digest: str, delta: bytes, tag: str = "latest"):
    """Moves `tag` to what is there already, with a delta."""
    proto = stubs().dataset
    announced = proto.Delta(digest=digest_of(delta), size=len(delta), head_size=7, to=digest)
    setattr(announced, "from", base)
    request = proto.PublishRequest(
        dataset=dataset, tags=[tag], digest=digest, nonce=os.urandom(16), deltas=[announced]
    )
    return client.dataset.Publish(request, timeout=20)


def two_versions(world) -> tuple[str, str]:
    """The second has no tag."""
    source = trees.write(world.path("source"), {"a": "1"})
    first = world.cli.publish("data", source)["digest"]
    (source / "a").write_text("2")
    second = world.cli.publish("data", source, "--no-delta", "-t", "other")["digest"]
    return first, second


def test_settings_are_shown_and_changed_and_hold_everywhere(any_world):
    world, cli = any_world, any_world.cli
    cli.run("settings", "data", status=NOT_FOUND)
    cli.publish("data", trees.write(world.path("source"), {"a": "1"}))
    assert cli.run("settings", "data", status=DONE).stdout == "deltas.keep=8\n"
    assert cli.run("settings", "data", "deltas.keep=24", status=DONE).stdout == "deltas.keep=24\n"
    assert "unchanged" in cli.run("settings", "data", "deltas.keep=24", status=DONE).stderr
    assert len(world.client().history("data")) == 2
    assert "set deltas.keep=24" in cli.run("log", "data", status=DONE).stdout

    refused = cli.run("settings", "data", "deltas.keep=many", status=USAGE)
    assert "deltas.keep is a number from 0 to 64, not 'many'" in refused.stderr
    assert "there is no setting 'delta'" in cli.run("settings", "data", "delta=1", status=USAGE).stderr

    other = world.new_server().start()
    request = stubs().dataset.GetSettingsRequest(dataset="data")
    answer = world.client(other).dataset.GetSettings(request, timeout=20, wait_for_ready=True)
    assert dict(answer.settings) == {"deltas.keep": "24"} and answer.seq == 2
    assert cli.run("settings", "data", "deltas.keep=", status=DONE).stdout == "deltas.keep=8\n"


def test_a_delta_is_stored_only_if_its_bytes_have_its_name(any_world):
    any_world.cli.publish("data", trees.write(any_world.path("source"), {"a": "1"}))
    client = any_world.client()
    data = os.urandom(200_000)
    with pytest.raises(grpc.RpcError) as refused:
        upload_delta(client, "data", data[1:] + b"x", digest_of(data))
    assert refused.value.code() == grpc.StatusCode.DATA_LOSS
    block = stubs().block
    request = block.LookupRequest(dataset="data", kind=block.OBJECT_KIND_DELTA, digests=[digest_of(data)])
    assert not client.block.Lookup(request, timeout=20).objects[0].exists

    assert not upload_delta(client, "data", data).already_present
    assert upload_delta(client, "data", data).already_present
    found = client.block.Lookup(request, timeout=20).objects[0]
    assert found.exists and found.size == len(data)
    # From another server, which has only the store.
    other = any_world.client(any_world.new_server().start())
    assert download_delta(other, "data", digest_of(data)) == data
    assert download_delta(other, "data", digest_of(data), (150_000, 50_000), (0, 3)) == data[150_000:] + data[:3]


def test_what_a_publication_says_of_deltas_is_told_to_all(any_world):
    world, client = any_world, any_world.client()
    first, second = two_versions(world)
    delta = os.urandom(8294)
    with pytest.raises(grpc.RpcError) as refused:
        publish_with_delta(client, "data", first, second, delta)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert digest_of(delta) in refused.value.details()
    assert client.digest("data") == first

    upload_delta(client, "data", delta)
    publish_with_delta(client, "data", first, second, delta)
    other = world.client(world.new_server().start())
    for server in (client, other):
        (told,) = lookup(server, "data").deltas
        assert told.digest == digest_of(delta) and told.size == len(delta) and told.head_size == 7
        assert getattr(told, "from") == first and told.to == second
    line = f"delta from {first.removeprefix('sha256:')[:12]} 8.1 KiB"
    assert line in world.cli.run("log", "data", status=DONE).stdout
    assert line.removeprefix("delta ") in world.cli.run("inspect", "data", status=DONE).stdout
    assert digest_of(delta) in world.cli.run("inspect", "data", "-o", "json", status=DONE).stdout

    # Those who need it not are none the worse for it.
    world.cli.pull("data", world.path("target"))
    assert world.path("target/a").read_text() == "2"
    world.cli.run("settings", "data", "deltas.keep=0", status=DONE)
    assert not lookup(client, "data").deltas
