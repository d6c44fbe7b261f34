"""What several servers cost a single consumer: warm beside one server alone, cold beside a download from S3."""

import urllib.parse
import xml.etree.ElementTree

from bench.cluster import Cluster, consume
from bench.run import Run, write_random
from tests.harness import rgw

MIB = 1 << 20
SIZE = 256 * MIB
RANGE = 16 * MIB
AT_ONCE = 4
REFERENCE = "bench/cache"

# What is to be reached: of the baseline's rate.
WARM, COLD = 0.8, 0.8
WARM_UPS = 3


def make_source(run: Run):
    source = run.dir / "source"
    source.mkdir()
    for number in range(8):
        write_random(source / f"part-{number}", int(SIZE * run.scale) // 8, seed=400 + number)
    return source


def warm(run: Run, source) -> None:
    store = f"file://{run.dir}/store"
    alone = Cluster(run, store, 1, name="alone")
    three = Cluster(run, store, 3)
    alone.publish(REFERENCE, source)
    for _ in range(WARM_UPS):
        consume(alone, REFERENCE)
        consume(three, REFERENCE)
    before = three.read_from_store()
    times = run.in_turn({
        "aetherfs": lambda: consume(three, REFERENCE),
        "one server": lambda: consume(alone, REFERENCE),
    })
    ratio = run.compare("wall time of a single consumer, three servers, warm", times)["one server"]
    run.judge(f"{ratio:.2f} of the rate from one server, at least {WARM}", ratio >= WARM)
    run.say(f"read from the store while warm: {three.read_from_store() - before:.0f} bytes")
    alone.stop()
    three.stop()


class S3:
    """Plain requests of curl's, signed."""

    def __init__(self, run: Run, gateway, store: str):
        self.run, self.endpoint = run, gateway.endpoint
        self.bucket, _, self.prefix = store.partition("?")[0].removeprefix("s3://").partition("/")
        keys = gateway.environment()
        user = f"{keys['AWS_ACCESS_KEY_ID']}:{keys['AWS_SECRET_ACCESS_KEY']}"
        self.signed = {"aws-sigv4": "aws:amz:us-east-1:s3", "user": user, "noproxy": "*",
                       "header": f"x-amz-content-sha256: {rgw.SHA256_OF_NOTHING}"}

    def curl(self, transfers: list[dict], *flags) -> str:
        config = "\nnext\n".join("fail\nsilent\nshow-error\n" + "\n".join(
            f'{name} = "{value}"' for name, value in {**self.signed, **transfer}.items()) for transfer in transfers)
        path = self.run.dir / "curl.config"
        path.write_text(config + "\n")
        return self.run.command("curl", *flags, "--config", path)

    def blocks(self) -> dict:
        """URL -> size, of all blocks of the dataset."""
        prefix = f"{self.prefix}/datasets/{REFERENCE.replace('/', '%2F')}/blocks/"
        query = urllib.parse.urlencode({"list-type": "2", "prefix": prefix}, quote_via=urllib.parse.quote, safe="")
        page = xml.etree.ElementTree.fromstring(self.curl([{"url": f"{self.endpoint}/{self.bucket}?{query}"}]))
        space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
        return {f"{self.endpoint}/{self.bucket}/{urllib.parse.quote(entry.find(space + 'Key').text)}":
                int(entry.find(space + "Size").text) for entry in page.iter(space + "Contents")}

    def download(self, blocks: dict) -> None:
        """Every byte, in ranges, several at once, to nowhere."""
        transfers = [{"url": url, "range": f"{begin}-{min(size, begin + RANGE) - 1}", "output": "/dev/null"}
                     for url, size in blocks.items() for begin in range(0, size, RANGE)]
        self.curl(transfers, "--parallel", "--parallel-max", AT_ONCE)


def cold(run: Run, source) -> None:
    with rgw.running() as gateway:
        store = gateway.store()
        cluster = Cluster(run, store, 3, env=gateway.environment(), name="s3-server")
        cluster.publish(REFERENCE, source)
        s3 = S3(run, gateway, store)
        blocks = s3.blocks()

        def before(name: str) -> None:
            if name == "aetherfs":
                cluster.restart_cold()

        times = run.in_turn({
            "aetherfs": lambda: consume(cluster, REFERENCE),
            "curl from the RADOS Gateway": lambda: s3.download(blocks),
        }, before)
        ratio = run.compare("wall time of a single consumer, three servers, cold, RADOS Gateway", times,
                            bytes=sum(blocks.values()))["curl from the RADOS Gateway"]
        run.judge(f"{ratio:.2f} of the rate of curl from S3, at least {COLD}", ratio >= COLD)
        cluster.stop()


def cache(run: Run) -> None:
    source = make_source(run)
    warm(run, source)
    cold(run, source)
