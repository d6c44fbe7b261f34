"""The public contracts as Python: stubs made from proto/ when first used, as any other language would."""

import functools
import importlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types

import grpc

from tests.harness.processes import ROOT

PACKAGES = ("agent", "block", "dataset")


@functools.cache
def stubs() -> types.SimpleNamespace:
    """agent, block, dataset: the messages of each; agent_rpc, …: its services."""
    out = pathlib.Path(tempfile.mkdtemp(prefix="aetherfs-stubs-"))
    plugin = shutil.which("grpc_python_plugin")
    protos = [f"aetherfs/{name}/v1/{name}.proto" for name in PACKAGES]
    subprocess.run(
        ["protoc", "-I", ROOT / "proto", f"--python_out={out}", f"--grpc_python_out={out}"]
        + [f"--plugin=protoc-gen-grpc_python={plugin}", *protos],
        check=True,
    )
    sys.path.insert(0, str(out))
    try:
        found = {}
        for name in PACKAGES:
            found[name] = importlib.import_module(f"aetherfs.{name}.v1.{name}_pb2")
            found[f"{name}_rpc"] = importlib.import_module(f"aetherfs.{name}.v1.{name}_pb2_grpc")
    finally:
        sys.path.remove(str(out))
        shutil.rmtree(out)
    return types.SimpleNamespace(**found)


class Client:
    """A channel and its stubs: `with Client(server.address) as client: client.dataset.Lookup(...)`."""

    def __init__(self, address: str):
        target = address.replace("unix://", "unix:")
        # A server that was killed is back at once here; do not wait a second for it.
        backoff = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 100)]
        # A call may still go to a connection whose other end is gone; it is sent again.
        policy = {"maxAttempts": 5, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2}
        policy["retryableStatusCodes"] = ["UNAVAILABLE"]
        service = ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]}))
        self.channel = grpc.insecure_channel(target, options=[*backoff, service, ("grpc.use_local_subchannel_pool", 1)])
        rpc = stubs()
        self.agent = rpc.agent_rpc.AgentAPIStub(self.channel)
        self.dataset = rpc.dataset_rpc.DatasetAPIStub(self.channel)
        self.block = rpc.block_rpc.BlockAPIStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def digest(self, dataset: str, tag: str = "latest", timeout_s: float = 20):
        """What a tag points at; None if there is no such thing."""
        try:
            request = stubs().dataset.LookupRequest(dataset=dataset, tag=tag)
            return self.dataset.Lookup(request, timeout=timeout_s, wait_for_ready=True).snapshot.digest
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise

    def history(self, dataset: str, limit: int = 1000) -> list:
        """The journal, newest first."""
        request = stubs().dataset.HistoryRequest(dataset=dataset, limit=limit)
        return list(self.dataset.History(request, timeout=20, wait_for_ready=True).changes)

    def subscription(self, reference: str, timeout_s: float = 20):
        """An agent's word on one subscription; None if it has none."""
        canonical = reference if ":" in reference else f"{reference}:latest"
        answer = self.agent.Status(stubs().agent.StatusRequest(), timeout=timeout_s, wait_for_ready=True)
        for status in answer.subscriptions:
            if status.subscription.reference == canonical:
                return status
        return None
