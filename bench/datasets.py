"""The pairs of successive real versions that bench/datasets.txt names, and what the least update of each is."""

import concurrent.futures
import dataclasses
import filecmp
import json
import os
import pathlib
import subprocess
import tempfile

from bench.run import ROOT, Run

LIST = ROOT / "bench" / "datasets.txt"
CACHE = ROOT / "build" / "datasets"
ZSTD_FLAGS = ["-19", "--long=27"]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two versions of one dataset, as directories that are never written to."""
    package: str
    transform: str
    old_version: str
    new_version: str

    @property
    def name(self) -> str:
        return f"{self.package} ({self.transform})" if self.transform else self.package

    @property
    def old(self) -> pathlib.Path:
        return self.directory(self.old_version)

    @property
    def new(self) -> pathlib.Path:
        return self.directory(self.new_version)

    def directory(self, version: str) -> pathlib.Path:
        return CACHE / self.package / "-".join(filter(None, (version, self.transform)))

    @property
    def dataset(self) -> str:
        """The name as a dataset's: npm's scopes have an @, which references use for digests."""
        plain = self.package.removeprefix("@").replace("/", "-").replace(".", "-")
        return "-".join(filter(None, (plain, self.transform)))

    def changed(self) -> list[str]:
        """Paths of the new version whose contents the old one does not have at that path."""
        paths = []
        for directory, _, names in os.walk(self.new):
            for name in names:
                path = pathlib.Path(directory, name).relative_to(self.new)
                before = self.old / path
                if not before.is_file() or not filecmp.cmp(before, self.new / path, shallow=False):
                    paths.append(str(path))
        return sorted(paths)


def pairs(run: Run) -> list[Pair]:
    """Those that --dataset asks for, or all; fetched when they are not there."""
    found, last = [], {}
    for line in LIST.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        package, version, _, transform = (*line.split(), "")[:4]
        if run.datasets and package not in run.datasets:
            continue
        before = last.get((package, transform))
        if before:
            found.append(Pair(package, transform, before, version))
        last[package, transform] = version
    if missing := set(run.datasets) - {pair.package for pair in found}:
        raise SystemExit(f"bench/datasets.txt has no two versions of {', '.join(sorted(missing))}")
    for pair in found:
        if not (pair.old.is_dir() and pair.new.is_dir()):
            run.say(f"fetching {pair.package}")
            run.command(ROOT / "scripts" / "fetch-datasets", pair.package)
    return found


def zstd_bytes(new: pathlib.Path, old: pathlib.Path | None) -> int:
    patch = [f"--patch-from={old}"] if old else []
    process = subprocess.Popen(["zstd", "-q", "-c", *ZSTD_FLAGS, *patch, str(new)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    size = 0
    while piece := process.stdout.read(1 << 20):
        size += len(piece)
    errors = process.stderr.read()
    if process.wait() != 0:
        raise RuntimeError(f"zstd {new} from {old}: {errors.decode()[-500:]}")
    return size


def zstd_sum(run: Run, pair: Pair) -> dict:
    """What the update would cost, had somebody made the best patch of each file by hand: per changed or new
    file `zstd -19 --long=27 --patch-from` its old contents, or the file compressed alone where that is less.
    Takes minutes for large files, so it is kept beside the data."""
    version = run.command("zstd", "--version").split(" v")[1].split(",")[0]
    path = CACHE / "zstd-sums" / f"{pair.dataset}-{pair.old_version}-{pair.new_version}-zstd-{version}.json"
    known = {f["path"]: f for f in json.loads(path.read_text())} if path.exists() else {}
    changed = pair.changed()
    missing = [name for name in changed if name not in known]

    def one(name: str) -> dict:
        alone = zstd_bytes(pair.new / name, None)
        old = pair.old / name
        patch = zstd_bytes(pair.new / name, old) if old.is_file() and old.stat().st_size > 0 else None
        return {"path": name, "bytes": (pair.new / name).stat().st_size, "alone": alone, "patch": patch}

    if missing:
        run.say(f"{pair.name}: zstd {' '.join(ZSTD_FLAGS)} of {len(missing)} changed files; kept for the next time")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        # Kept after each file, so that a run that is stopped has not computed in vain.
        for done in concurrent.futures.as_completed([pool.submit(one, name) for name in missing]):
            known[done.result()["path"]] = done.result()
            keep(path, sorted(known.values(), key=lambda f: f["path"]))
    files = [known[name] for name in changed]
    return {
        "sum": sum(f["alone"] if f["patch"] is None else min(f["alone"], f["patch"]) for f in files),
        "alone_sum": sum(f["alone"] for f in files),
        "changed_files": len(files),
        "changed_bytes": sum(f["bytes"] for f in files),
    }


def keep(path: pathlib.Path, files: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as f:
        json.dump(files, f, indent=1)
    os.replace(f.name, path)
