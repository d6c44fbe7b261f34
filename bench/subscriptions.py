"""10,000 idle Subscribe streams on one server: its memory, and how soon all of them hear of a publish."""

import statistics
import subprocess
import time

from bench.run import BIN, Run, Server

STREAMS = 10_000


def subscriptions(run: Run) -> None:
    streams = int(STREAMS * run.scale)
    source = run.dir / "source"
    source.mkdir()
    server = Server(run, f"file://{run.dir}/store")
    seconds, resident = [], []
    for number in range(run.rounds):
        (source / "value").write_text(f"before {number}")
        run.cli("publish", "--server", server.address, "--quiet", "bench/stream", source)
        client = subprocess.Popen([BIN / "bench-subscribers", server.address, "bench/stream", str(streams)],
                                  stdout=subprocess.PIPE, text=True)
        try:
            if client.stdout.readline().strip() != "ready":
                raise RuntimeError("the subscribers did not come up")
            resident.append(server.status_kib("VmRSS") / 1024)
            (source / "value").write_text(f"after {number}")
            begin = time.perf_counter()
            run.cli("publish", "--server", server.address, "--quiet", "bench/stream", source)
            if client.stdout.readline().strip() != "notified":
                raise RuntimeError("not all subscribers were told")
            seconds.append(time.perf_counter() - begin)
            client.wait(30)
        finally:
            client.kill()
            client.wait()
        run.say(f"round {number}: {resident[-1]:.0f} MiB, {seconds[-1]:.3f} s")
    run.figure(f"server RSS with {streams} idle streams", max(resident), "MiB")
    run.figure("publish to all notified, publish included", statistics.median(seconds), "s")
