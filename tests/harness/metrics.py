"""What /metrics says, as numbers."""


def parse(page: str) -> dict:
    """The whole page: name{labels} -> value."""
    lines = [line.rpartition(" ") for line in page.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def total(found: dict, name: str, labels: str = "") -> float:
    """The sum over all lines of a metric whose labels contain the text."""
    return sum(value for line, value in found.items() if line.partition("{")[0] == name and labels in line)
