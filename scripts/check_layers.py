"""Prints every include that goes against the order of layers in aetherfs/CMakeLists.txt."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^#include "aetherfs/([a-z]+)/', re.MULTILINE)


def main() -> None:
    listed = re.search(r"foreach\(layer ([a-z0-9_ ]+)\)", (ROOT / "aetherfs/CMakeLists.txt").read_text())
    order = {name: rank for rank, name in enumerate(listed.group(1).split())}
    for path in sorted((ROOT / "aetherfs").rglob("*.[ch]*")):
        if path.suffix not in (".cc", ".h"):
            continue
        layer = path.relative_to(ROOT / "aetherfs").parts[0]
        if layer not in order:
            print(f"{path.relative_to(ROOT)}: the layer '{layer}' is not in aetherfs/CMakeLists.txt")
            continue
        for used in INCLUDE.findall(path.read_text()):
            # Generated headers have a version in their path: aetherfs/block/v1/...
            if used in order and order[used] > order[layer]:
                print(f"{path.relative_to(ROOT)}: '{layer}' comes before '{used}' and must not use it")


if __name__ == "__main__":
    main()
