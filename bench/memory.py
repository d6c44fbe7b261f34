"""Peak resident memory of server, agent and command line for a 4 GiB dataset, and of an idle agent."""

import os
import subprocess

from bench.run import BIN, Agent, Run, Server, http_ok, wait_until, write_random

CACHE_BUDGET_MIB = 256


def peak_of_command(argv: list, env: dict) -> float:
    """Peak RSS in MiB of one command."""
    process = subprocess.Popen([str(a) for a in argv], stdout=subprocess.DEVNULL, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"{argv}: status {status}")
    return usage.ru_maxrss / 1024


def memory(run: Run) -> None:
    size = int((4 << 30) * run.scale)
    source = run.dir / "source"
    source.mkdir()
    run.say(f"making {size >> 20} MiB in 4 files")
    for i in range(4):
        write_random(source / f"part-{i}", size // 4, seed=200 + i)
    server = Server(run, f"file://{run.dir}/store", "--cache-memory", f"{CACHE_BUDGET_MIB}MiB")
    idle = Agent(run, server, name="idle-agent")
    wait_until(lambda: http_ok(idle.http_port, "/readyz"), "idle agent ready")
    run.figure("agent idle RSS", idle.status_kib("VmRSS") / 1024, "MiB")
    idle.stop()

    env = {**os.environ, "AETHERFS_CACHE_DIR": str(run.dir / "cli-cache")}
    cli = [BIN / "aetherfs"]
    publish = peak_of_command([*cli, "publish", "--server", server.address, "--quiet", "bench/big", source], env)
    run.figure("cli publish peak RSS", publish, "MiB")
    run.remove(source)
    pull = peak_of_command([*cli, "pull", "--server", server.address, "--quiet", "bench/big", run.dir / "out"], env)
    run.figure("cli pull peak RSS", pull, "MiB")
    run.remove(run.dir / "out")
    agent = Agent(run, server, "--subscribe", "bench/big", name="agent")
    wait_until(lambda: http_ok(agent.http_port, "/readyz"), "agent has the dataset", 600)
    run.figure("agent peak RSS", agent.status_kib("VmHWM") / 1024, "MiB")
    run.figure("server peak RSS beyond its cache budget", server.status_kib("VmHWM") / 1024 - CACHE_BUDGET_MIB, "MiB")
