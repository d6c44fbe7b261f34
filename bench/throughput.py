"""Bulk: publish and pull of 1 GiB beside casync, restic and curl from nginx."""

import pathlib

from bench.run import Daemon, Run, Server, free_port, http_ok, wait_until, write_random, write_text

MIB = 1 << 20


def nginx(run: Run, root: pathlib.Path) -> int:
    port = free_port()
    config = run.dir / "nginx.conf"
    config.write_text(f"""
daemon off; pid {run.dir}/nginx.pid; error_log {run.dir}/nginx-error.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path {run.dir}/nginx-body; proxy_temp_path {run.dir}/nginx-proxy;
  fastcgi_temp_path {run.dir}/nginx-fastcgi; uwsgi_temp_path {run.dir}/nginx-uwsgi;
  scgi_temp_path {run.dir}/nginx-scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; autoindex on; }}
}}
user root;
""")
    run.daemons.append(Daemon(run, "nginx", ["/usr/sbin/nginx", "-c", config, "-e", run.dir / "nginx-error.log"]))
    wait_until(lambda: http_ok(port, "/"), "nginx")
    return port


def half_random_half_text(run: Run, directory: pathlib.Path, total: int) -> None:
    directory.mkdir()
    for i in range(8):
        write_random(directory / f"random-{i}.bin", total // 16, seed=i)
        write_text(directory / f"text-{i}.csv", total // 16, seed=i)


def publish(run: Run) -> None:
    size = int(1024 * MIB * run.scale)
    source = run.dir / "source"
    run.say(f"making {size >> 20} MiB, half random, half text")
    half_random_half_text(run, source, size)
    server = Server(run, f"file://{run.dir}/store")
    restic_env = {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(run.dir / "restic-cache")}
    count = iter(range(1000))

    def before(name: str) -> None:
        # Everybody begins with nothing: no store, no cache of file stats, no chunks to find again.
        run.remove(run.dir / "casync.store", run.dir / "casync.caidx", run.dir / "restic", run.dir / "restic-cache",
                   run.dir / "cli-cache")
        for dataset in (run.dir / "store" / "datasets").glob("*"):
            run.remove(dataset)
        if name == "restic backup":
            run.command("restic", "-q", "-r", run.dir / "restic", "init", env=restic_env)

    times = run.in_turn({
        "aetherfs": lambda: run.cli("publish", "--server", server.address, "--quiet", f"bench/p{next(count)}", source),
        "casync make": lambda: run.command("casync", "make", "--store", run.dir / "casync.store",
                                           run.dir / "casync.caidx", source),
        "restic backup": lambda: run.command("restic", "-q", "-r", run.dir / "restic", "backup", source,
                                             env=restic_env),
    }, before)
    run.compare("wall time", times)


def pull(run: Run) -> None:
    size = int(1024 * MIB * run.scale)
    source, out = run.dir / "source", run.dir / "out"
    source.mkdir()
    out.mkdir()
    run.say(f"making {size >> 20} MiB of random bytes in 16 files")
    for i in range(16):
        write_random(source / f"part-{i:02d}", size // 16, seed=100 + i)
    server = Server(run, f"file://{run.dir}/store")
    run.cli("publish", "--server", server.address, "--quiet", "--no-delta", "bench/pull", source)
    run.command("casync", "make", "--store", run.dir / "www.castr", run.dir / "data.caidx", source)
    port = nginx(run, run.dir)
    names = [f"part-{i:02d}" for i in range(16)]

    def curl() -> None:
        (out / "curl").mkdir()
        argv = []
        for name in names:
            argv += ["-o", out / "curl" / name, f"http://127.0.0.1:{port}/source/{name}"]
        run.command("curl", "-sSf", *argv)

    def before(_: str) -> None:
        run.remove(*out.iterdir(), run.dir / "cli-cache")

    times = run.in_turn({
        "aetherfs": lambda: run.cli("pull", "--server", server.address, "--quiet", "bench/pull", out / "ours"),
        "curl from nginx": curl,
        "casync extract over HTTP": lambda: run.command(
            "casync", "extract", "--store", f"http://127.0.0.1:{port}/www.castr",
            f"http://127.0.0.1:{port}/data.caidx", out / "casync"),
    }, before)
    run.compare("wall time", times)
