"""Weights of others that configs name, from the table ``known.yaml`` beside this file."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

from mimicmotion.settings import Section


class KnownFile(Section):
    """One file of a source.

    Attributes:
        path: inside the source, and inside the folder where the weights are one.
        size_bytes, sha256: of the published file, where known.
    """

    path: str
    size_bytes: int | None = None
    sha256: str | None = None


class KnownWeights(Section):
    """Weights that a config can name.

    Attributes:
        name: of the file, or of the folder.
        page: where a person reads about it.
        licence: as the publisher states it.
        repository: of huggingface.co; None where there is no address to download from.
        revision: commit of the repository; without it each file needs its sha256.
        gated: whether the publisher asks for an account and consent first.
        note: what else to know.
        num_frames: slots of the clips that a released network was trained with.
        files: a single one for a file, several for a folder.
    """

    name: str
    page: str
    licence: str
    repository: str | None = None
    revision: str | None = None
    gated: bool = False
    note: str = ""
    num_frames: int | None = None
    files: tuple[KnownFile, ...]

    @property
    def is_folder(self) -> bool:
        """Whether the weights are a folder of files."""
        return len(self.files) > 1

    def place(self, file: KnownFile, path: Path) -> Path:
        """Where a file lies when the config names ``path``."""
        return path / file.path if self.is_folder else path


@cache
def all_known() -> tuple[KnownWeights, ...]:
    """The table."""
    rows = yaml.safe_load(Path(__file__).with_name("known.yaml").read_text(encoding="utf-8"))
    return tuple(KnownWeights.model_validate({"files": [{"path": row["name"]}], **row}) for row in rows)


def known_weights(path: Path, known: Iterable[KnownWeights] | None = None) -> KnownWeights | None:
    """What is known of weights that a config names, by the name of the file or of a folder around it."""
    names = {part: depth for depth, part in enumerate(path.parts)}
    found = [weights for weights in known or all_known() if weights.name in names]
    return max(found, key=lambda weights: names[weights.name], default=None)


def named_path(path: Path, weights: KnownWeights) -> Path:
    """The file or folder of the weights themselves, where the config names a part of it."""
    depth = path.parts.index(weights.name) + 1
    return Path(*path.parts[:depth])
