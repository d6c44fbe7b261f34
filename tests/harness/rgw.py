"""A Ceph RADOS Gateway for as long as a test session lasts, by scripts/rgw."""

import contextlib
import dataclasses
import itertools
import pathlib
import shutil
import subprocess
import tempfile
import urllib.parse

from tests.harness.ports import free_port
from tests.harness.processes import ROOT

START_TIMEOUT_S = 180
START_ATTEMPTS = 3
BUCKET = "aetherfs-test"
SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@dataclasses.dataclass
class Gateway:
    settings: dict  # as scripts/rgw printed them

    @property
    def endpoint(self) -> str:
        return self.settings["AETHERFS_TEST_S3_ENDPOINT"]

    def environment(self) -> dict:
        """Credentials and endpoint, for processes that use the gateway."""
        return dict(self.settings)

    def make_bucket(self) -> None:
        user = f"{self.settings['AWS_ACCESS_KEY_ID']}:{self.settings['AWS_SECRET_ACCESS_KEY']}"
        signed = ["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", user, "-H", f"x-amz-content-sha256: {SHA256_OF_NOTHING}"]
        command = ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", *signed, "-X", "PUT"]
        subprocess.run([*command, f"{self.endpoint}/{BUCKET}"], check=True, timeout=60)

    _stores = itertools.count(1)

    def store(self, endpoint: str = "") -> str:
        """A store URL with a prefix that nobody else uses."""
        where = urllib.parse.urlencode({"endpoint": endpoint or self.endpoint, "region": "us-east-1", "path-style": "true"})
        return f"s3://{BUCKET}/store-{next(self._stores)}?{where}"


def start(directory: pathlib.Path) -> subprocess.CompletedProcess:
    """Its ports are chosen before it takes them, so somebody else may be first: then on others."""
    for _ in range(START_ATTEMPTS):
        started = subprocess.run(
            [ROOT / "scripts/rgw", "start", directory, str(free_port())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
        )
        if started.returncode == 0:
            break
        subprocess.run([ROOT / "scripts/rgw", "stop", directory], stdin=subprocess.DEVNULL, check=False)
        shutil.rmtree(directory, ignore_errors=True)
    return started


@contextlib.contextmanager
def running():
    # Its Unix sockets lie there, and their paths must be short.
    parent = pathlib.Path(tempfile.mkdtemp(prefix="rgw-", dir="/tmp"))
    directory = parent / "d"
    try:
        started = start(directory)
        assert started.returncode == 0, f"scripts/rgw failed:\n{started.stdout}\n{started.stderr}"
        lines = [line.removeprefix("export ") for line in started.stdout.splitlines() if "=" in line]
        gateway = Gateway(dict(line.split("=", 1) for line in lines))
        gateway.make_bucket()
        yield gateway
    finally:
        subprocess.run([ROOT / "scripts/rgw", "stop", directory], stdin=subprocess.DEVNULL, check=False)
        shutil.rmtree(parent, ignore_errors=True)
