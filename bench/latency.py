"""From the publish of one changed 1 KiB file to its being active at a subscribed agent."""

import os
import statistics
import subprocess
import time

from bench.run import BIN, Agent, Run, Server
from tests.harness import rgw

ROUNDS = 40


def measure(run: Run, server: Server, metric: str) -> None:
    agent = Agent(run, server, "--subscribe", "bench/small", name=f"agent-{metric.split()[0]}")
    source = run.dir / f"source-{metric.split()[0]}"
    source.mkdir()
    active = agent.root / "bench" / "small" / "latest" / "value"
    env = {**os.environ, "AETHERFS_CACHE_DIR": str(run.dir / "latency-cache")}
    totals, publishes = [], []
    for number in range(ROUNDS + 1):
        text = f"{number:08d}" * 128
        (source / "value").write_text(text)
        begin = time.perf_counter()
        subprocess.run([BIN / "aetherfs", "publish", "--server", server.address, "--quiet", "bench/small", source],
                       check=True, env=env,
                       stdout=subprocess.DEVNULL)
        published = time.perf_counter()
        while True:
            try:
                if active.read_text() == text:
                    break
            except FileNotFoundError:
                pass
            if time.perf_counter() - published > 30:
                raise TimeoutError("the agent did not follow: " + agent.log_path.read_text()[-2000:])
            time.sleep(0.0002)
        if number > 0:  # the first one makes the dataset
            totals.append((time.perf_counter() - begin) * 1e3)
            publishes.append((published - begin) * 1e3)
    run.figure(metric, statistics.median(totals), "ms", "publish alone", statistics.median(publishes),
               statistics.median(totals) / statistics.median(publishes), p90=sorted(totals)[int(ROUNDS * 0.9)])
    agent.stop()


def latency(run: Run) -> None:
    server = Server(run, f"file://{run.dir}/store")
    measure(run, server, "embedded store, publish to active, median")
    server.stop()
    with rgw.running() as gateway:
        server = Server(run, gateway.store(), env=gateway.environment(), name="server-s3")
        measure(run, server, "rgw store, publish to active, median")
        server.stop()
