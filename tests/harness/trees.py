"""Directory trees: made from a seed, written, read back, compared."""

import hashlib
import os
import pathlib
import random
import stat

# mtimes are kept to the nanosecond; a whole second would not show it.
MTIME_NS = 1_700_000_000_123_456_789


def read(root: pathlib.Path, modes: bool = True, mtimes: bool = True) -> dict:
    """path -> what it is. Directories too, so that empty ones count. The root itself is left out."""
    found = {}
    root = pathlib.Path(root)
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = pathlib.Path(directory) / name
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                entry = ("symlink", os.readlink(path))
            elif stat.S_ISDIR(info.st_mode):
                entry = ("directory",)
            else:
                entry = ("file", hashlib.sha256(path.read_bytes()).hexdigest())
                if modes:
                    entry += (bool(info.st_mode & 0o100),)
                if mtimes:
                    entry += (info.st_mtime_ns,)
            found[str(path.relative_to(root))] = entry
    return found


def differences(left: dict, right: dict) -> list:
    names = sorted(left.keys() | right.keys())
    return [f"{name}: {left.get(name)} / {right.get(name)}" for name in names if left.get(name) != right.get(name)]


def assert_same(left, right, **options) -> None:
    found = differences(read(left, **options), read(right, **options))
    assert not found, f"{left} and {right} differ:\n" + "\n".join(found[:20])


def write(root: pathlib.Path, files: dict) -> pathlib.Path:
    """files: path -> bytes or text. Paths that end in / are empty directories. A file that is so already
    is not touched."""
    root = pathlib.Path(root)
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
    return root


def make_varied(root: pathlib.Path, seed: int = 1) -> pathlib.Path:
    """All that a dataset may hold: sizes around the chunker's limits, modes, links, names, empty things."""
    rng = random.Random(seed)
    text = "".join(rng.choice("abcdefgh \n") for _ in range(300_000))
    write(
        root,
        {
            "empty": b"",
            "one": b"1",
            "text/large.txt": text,
            "text/zeros": bytes(1_000_000),
            "random/16k": rng.randbytes(16 * 1024),
            "random/64k+1": rng.randbytes(64 * 1024 + 1),
            "random/3m": rng.randbytes(3_000_000),
            "ünïcode/日本語.txt": "grüße\n",
            "name with spaces/and 'quotes'": "x",
            "deep/" + "/".join("d" * 20 for _ in range(12)) + "/leaf": "leaf",
            "empty directory/": None,
            **{f"small/{i:03}": f"{i} {rng.random()}\n" for i in range(200)},
        },
    )
    (root / "bin").mkdir()
    (root / "bin/tool").write_text("#!/bin/sh\necho tool\n")
    (root / "bin/tool").chmod(0o755)
    (root / "links").mkdir()
    (root / "links/relative").symlink_to("../one")
    (root / "links/dangling").symlink_to("nowhere")
    (root / "links/directory").symlink_to("../text")
    set_mtimes(root)
    return root


def make_noise(root: pathlib.Path, mebibytes: int, seed: int = 1) -> pathlib.Path:
    """Random bytes: nothing of it is shared or compresses, so what is moved can be told from sizes."""
    rng = random.Random(seed)
    return write(root, {f"file{i}": rng.randbytes(1 << 20) for i in range(mebibytes)})


def set_mtimes(root: pathlib.Path, start_ns: int = MTIME_NS) -> None:
    for i, path in enumerate(sorted(root.rglob("*"))):
        os.utime(path, ns=(start_ns + i, start_ns + i), follow_symlinks=False)


def bits_flipped(path: pathlib.Path, offset: int = -1) -> bytes:
    """Flips one bit of a file in place and returns what was there."""
    before = path.read_bytes()
    at = offset if offset >= 0 else len(before) // 2
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(before[:at] + bytes([before[at] ^ 0x10]) + before[at + 1 :])
    path.chmod(stat.S_IMODE(mode))
    return before
