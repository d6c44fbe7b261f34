"""What was published and acknowledged, and what the servers may therefore say."""

from tests.harness import versions


class Publications:
    """Versions of tests/harness/versions.py of one dataset, one after the other."""

    def __init__(self, world, dataset: str = "data"):
        self.world, self.dataset = world, dataset
        self.digests = {}  # version -> digest, of acknowledged ones
        self.next_version = 1

    @property
    def newest(self) -> int:
        return max(self.digests)

    def write_next(self):
        number = self.next_version
        self.next_version += 1
        return number, versions.write(self.world.path("source"), number)

    def publish(self, cli=None) -> str:
        """One that is not disturbed."""
        number, source = self.write_next()
        self.digests[number] = (cli or self.world.cli).publish(self.dataset, source)["digest"]
        return self.digests[number]

    def check_history(self, server=None) -> None:
        """Every acknowledged publish is in the journal, in order, and every entry is whole."""
        changes = self.world.history(self.dataset, server)
        assert [seq for seq, _ in changes] == list(range(1, len(changes) + 1)), f"no gap, no repetition: {changes}"
        seen = [digest for _, digest in changes]
        at = 0
        for number, digest in sorted(self.digests.items()):
            assert digest in seen[at:], f"version {number}, {digest}, was acknowledged and is lost: {changes}"
            at = seen.index(digest, at) + 1

    def check_every_version_can_be_had(self, count: int) -> None:
        """The newest ones, byte for byte, as nobody would see a block that is missing otherwise."""
        for number, digest in sorted(self.digests.items())[-count:]:
            target = self.world.path("check")
            self.world.cli.pull(f"{self.dataset}@{digest}", target)
            assert versions.check(target) == number
