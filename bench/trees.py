"""Many files: a publish that finds nothing to do beside rsync, and 100,000 small files beside tar, zstd and curl."""

import pathlib

from bench.run import Run, Server
from bench.throughput import nginx


def small_tree(directory: pathlib.Path, files: int, size: int) -> None:
    import random
    source = random.Random(3)
    for d in range((files + 999) // 1000):
        sub = directory / f"dir-{d:04d}"
        sub.mkdir(parents=True)
        for f in range(min(1000, files - d * 1000)):
            half = source.randbytes(size // 2)
            (sub / f"file-{f:04d}.dat").write_bytes(half + half.hex().encode()[:size - size // 2])


def republish_unchanged(run: Run) -> None:
    files = int(100_000 * run.scale)
    source, copy = run.dir / "source", run.dir / "copy"
    run.say(f"making {files} files")
    small_tree(source, files, 1024)
    run.command("rsync", "-a", f"{source}/", f"{copy}/")
    server = Server(run, f"file://{run.dir}/store")
    run.cli("publish", "--server", server.address, "--quiet", "bench/tree", source)
    uploaded = []

    def ours() -> None:
        import json
        result = json.loads(run.cli("publish", "--server", server.address, "-o", "json", "bench/tree", source))
        if not result["unchanged"]:
            raise RuntimeError(f"a publish of the same tree was not recognised: {result}")
        uploaded.append(result["uploaded_bytes"])

    times = run.in_turn({"aetherfs": ours, "rsync -a": lambda: run.command("rsync", "-a", f"{source}/", f"{copy}/")})
    run.compare("wall time", times)
    run.figure("uploaded bytes", max(uploaded), "bytes")


def small_files(run: Run) -> None:
    files = int(100_000 * run.scale)
    source, out = run.dir / "source", run.dir / "out"
    out.mkdir()
    run.say(f"making {files} files of 1 KiB")
    small_tree(source, files, 1024)
    server = Server(run, f"file://{run.dir}/store")
    (run.dir / "www").mkdir()
    port = nginx(run, run.dir / "www")
    count = iter(range(1000))

    def ours() -> None:
        name = f"bench/small{next(count)}"
        run.cli("publish", "--server", server.address, "--quiet", name, source)
        run.cli("pull", "--server", server.address, "--quiet", name, out / "ours")

    def tar() -> None:
        (out / "tar").mkdir()
        run.command("sh", "-c", f"tar -C {source} -cf - . | zstd -q -3 -T2 -o {run.dir}/www/tree.tar.zst")
        run.command("sh", "-c",
                    f"curl -sSf http://127.0.0.1:{port}/tree.tar.zst | zstd -q -d | tar -C {out}/tar -xf -")

    def before(_: str) -> None:
        run.remove(*out.iterdir(), run.dir / "cli-cache", run.dir / "www" / "tree.tar.zst")
        for dataset in (run.dir / "store" / "datasets").glob("*"):
            run.remove(dataset)

    times = run.in_turn({"aetherfs": ours, "tar + zstd + curl + untar": tar}, before)
    run.compare("publish and pull", times)
