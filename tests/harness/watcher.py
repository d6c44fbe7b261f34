"""A consumer that looks all the time: a process of its own that reads a subscription's tree again and
again and stops at the first mixture. It reads as real consumers do: resolve the symlink, open, read.

Run as: python3 -m tests.harness.watcher LINK REPORT
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys

from tests.harness import versions
from tests.harness.processes import ROOT
from tests.harness.waiting import wait_until


class Watcher:
    def __init__(self, link: pathlib.Path, report: pathlib.Path):
        self.link, self.report = pathlib.Path(link), pathlib.Path(report)
        self.process = None

    def __enter__(self):
        command = ["/usr/bin/python3", "-B", "-m", "tests.harness.watcher", str(self.link), str(self.report)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
        wait_until(self.report.exists, "the watcher has begun")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def finish(self) -> dict:
        """Ends it; its report: looks, versions seen (each once, in the order seen), mixture or None."""
        self.__exit__()
        return json.loads(self.report.read_text())


def look(link: str):
    """The version that the link shows, or None while there is none. A version may be removed while it is
    being read, but only once the link has moved on."""
    while True:
        try:
            target = os.path.realpath(link, strict=True)
        except FileNotFoundError:
            return None
        try:
            return versions.check(target)
        except (OSError, versions.Mixture):
            with contextlib.suppress(FileNotFoundError):
                if os.path.realpath(link, strict=True) == target:
                    raise


def main(link: str, report: str) -> None:
    state = {"looks": 0, "versions": [], "mixture": None}
    running = True

    def stop(*_):
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    os.nice(10)  # it looks as often as it can, and takes no time from those whom it watches

    def save():
        with open(report + ".new", "w") as file:
            json.dump(state, file)
        os.rename(report + ".new", report)

    save()
    while running:
        try:
            version = look(link)
        except (OSError, versions.Mixture) as error:
            state["mixture"] = str(error)
            break
        state["looks"] += 1
        if version is not None and (not state["versions"] or state["versions"][-1] != version):
            state["versions"].append(version)
    save()


if __name__ == "__main__":
    main(*sys.argv[1:])
