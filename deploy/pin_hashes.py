"""Writes ``deploy/constraints.txt``: the versions of ``constraints.txt``, each with the sha256 of its files.

``python deploy/pin_hashes.py https://HOST/simple`` after a change: the address of a package index
that answers in JSON (PEP 691).
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

FOLDER = Path(__file__).parent
PLATFORMS = [
    *(f"manylinux_2_{minor}_{kind}" for kind in ("x86_64", "aarch64") for minor in range(5, 40)),
    *(f"manylinux{name}_{kind}" for kind in ("x86_64", "aarch64") for name in ("1", "2010", "2014")),
    *(
        f"macosx_{major}_{minor}_{kind}"
        for kind in ("arm64", "universal2")
        for major in range(10, 16)
        for minor in range(16)
    ),
]
TAGS = {
    tag
    for version in ((3, 11), (3, 12))
    for tags in (
        cpython_tags(version, platforms=PLATFORMS),
        compatible_tags(version, f"cp3{version[1]}", PLATFORMS),
    )
    for tag in tags
}


def fits(name: str, line: Requirement) -> bool:
    """Whether a file is of a line's version, and for a Python and system that this project runs on."""
    try:
        if name.endswith(".whl"):
            _, version, _, tags = parse_wheel_filename(name)
            return version in line.specifier and not TAGS.isdisjoint(tags)
        return parse_sdist_filename(name)[1] in line.specifier
    except (InvalidWheelFilename, InvalidSdistFilename):
        return False


def digests(index: str, line: Requirement) -> list[str]:
    """The sha256 of the files of one line, as the index publishes them."""
    address = f"{index.rstrip('/')}/{canonicalize_name(line.name)}/"
    asked = Request(address, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urlopen(asked, timeout=120) as answer:
        files = json.load(answer)["files"]
    return [file["hashes"]["sha256"] for file in files if fits(file["filename"], line)]


def written(index: str) -> Iterator[str]:
    """The lines of ``constraints.txt`` with their hashes."""
    lines = [Requirement(line) for line in (FOLDER.parent / "constraints.txt").read_text().splitlines()]
    with ThreadPoolExecutor(8) as pool:
        for line, found in zip(lines, pool.map(partial(digests, index), lines), strict=True):
            if not found:
                sys.exit(f"{line}: the index has no file of it")
            yield " \\\n".join([str(line), *(f"    --hash=sha256:{digest}" for digest in sorted(found))])


if __name__ == "__main__":
    (FOLDER / "constraints.txt").write_text("\n".join(written(sys.argv[1])) + "\n", encoding="utf-8")
