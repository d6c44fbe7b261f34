"""Datasets whose every file says which version it belongs to, so that a mixture shows."""

import functools
import hashlib
import os
import pathlib

FILES = 8
FILE_SIZE = 40_000


@functools.lru_cache(maxsize=8 * FILES)
def _content(number: int, name: str) -> bytes:
    header = f"version {number} of {name}\n".encode()
    pieces, size = [header], len(header)
    counter = 0
    while size < FILE_SIZE:
        block = hashlib.sha512(f"{number}/{name}/{counter}".encode()).digest() * 8
        pieces.append(block)
        size += len(block)
        counter += 1
    return b"".join(pieces)


def names(number: int) -> list:
    # One file's name changes with every version; the others' do not.
    return [f"part/{i}" for i in range(FILES)] + [f"only-in-{number}"]


def write(root: pathlib.Path, number: int) -> pathlib.Path:
    """Makes the directory hold this version and nothing else."""
    root = pathlib.Path(root)
    (root / "part").mkdir(parents=True, exist_ok=True)
    for old in root.glob("only-in-*"):
        old.unlink()
    for name in names(number):
        (root / name).write_bytes(_content(number, name))
    # Unchanging bytes too, so that updates have something to keep.
    constant = root / "constant"
    if not constant.exists():
        constant.write_bytes(_content(0, "constant"))
    return root


class Mixture(AssertionError):
    """What a consumer must never see."""


def check(directory) -> int:
    """The version that a directory holds, every byte of it. Raises Mixture, or OSError if it went away."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return _check(handle, directory)
    finally:
        os.close(handle)


def _read(handle: int, name: str) -> bytes:
    with open(os.open(name, os.O_RDONLY, dir_fd=handle), "rb") as file:
        return file.read()


def _check(handle: int, directory) -> int:
    first = _read(handle, "part/0")
    try:
        number = int(first.split(b" ", 2)[1])
    except (IndexError, ValueError):
        raise Mixture(f"{directory}/part/0 begins {first[:40]!r}") from None
    present = set(os.listdir(handle))
    expected = {"part", "constant", f"only-in-{number}"}
    if present != expected:
        # A directory that is being removed has fewer; the caller tells that from a mixture by looking again.
        raise Mixture(f"{directory} of version {number} holds {sorted(present)}")
    for name in names(number):
        if _read(handle, name) != _content(number, name):
            raise Mixture(f"{directory}/{name} is not of version {number}, which part/0 is")
    if _read(handle, "constant") != _content(0, "constant"):
        raise Mixture(f"{directory}/constant differs")
    return number
