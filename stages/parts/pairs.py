"""Pairs of a picture and a driving film without a true one: animated beside the clips and judged.

``animate.pairs`` names their list, the CSV that ``mimicmotion animate --pairs`` takes. Their scores are in a
table of their own, under ``evaluate.pairs_protocol``.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mimicmotion.errors import InputError, MissingSourceError, RejectedItem
from stages.engine.contract import WHOLE, Dataset, Item
from stages.engine.keys import content_sha256

if TYPE_CHECKING:
    from mimicmotion.animation.checkpoint import CheckpointFacts
    from mimicmotion.animation.request import AnimationRequest, PreparedRequest
    from mimicmotion.metrics.film.looks import FilmTools
    from mimicmotion.pose.calibration import Calibration

_PREFIX = "pair-"


def is_pair(item_id: str) -> bool:
    """Whether an item of ``animate`` is a pair and no clip."""
    return item_id.startswith(_PREFIX)


def counted(animations: Dataset) -> str:
    """How many pairs were animated of how many, and which were not."""
    kept, lost = sum(map(is_pair, animations.ids)), lost_pairs(animations)
    rejected = f"; rejected: {', '.join(lost)}" if lost else ""
    return f"{kept} of {kept + len(lost)} pairs{rejected}"


def lost_pairs(animations: Dataset) -> list[str]:
    """Names of the pairs that were rejected."""
    return sorted(label for item_id, label in animations.rejected.items() if is_pair(item_id))


def read_requests(pairs: Path, wishes: Mapping[str, Any]) -> "list[AnimationRequest]":
    """The rows of the list, each checked; nothing is written.

    Raises:
        InputError: rows are wrong; names all of them.
    """
    from mimicmotion.animation.pairs import read_pairs

    with TemporaryDirectory() as folder:
        return read_pairs(pairs, Path(folder), wishes)


def pair_items(requests: "list[AnimationRequest]", weights: Dataset) -> Iterator[Item]:
    """One item per pair, keyed by the content of its files."""
    from mimicmotion.animation.pairs import FILES

    for request in requests:
        name = request.out.stem
        files = {one: path.absolute() for one in FILES if (path := getattr(request, one)) is not None}
        fields = request.model_dump(mode="json", exclude={*FILES, "out"})
        yield Item(
            id=_PREFIX + sha256(name.encode()).hexdigest()[:16],
            inputs={
                "checkpoint": weights.item_key(WHOLE),
                "request": json.dumps([name, fields], sort_keys=True),
                **{one: content_sha256(path) for one, path in files.items()},
            },
            payload={
                "request": {**fields, **{one: str(path) for one, path in files.items()}},
                "checkpoint": weights.path(WHOLE, "checkpoint"),
                "name": name,
            },
            label=name,
            num_frames=_most_frames(request) * request.tries,
        )


def _most_frames(request: "AnimationRequest") -> int:
    """Frames of the result, by the length that the driving film states; 0 where poses alone drive it."""
    from mimicmotion.animation.driving import MAX_DEFAULT_FPS
    from mimicmotion.video.sources import stated_length_s

    length_s = stated_length_s(request.video) if request.video else 0.0
    return round(length_s * (request.fps or MAX_DEFAULT_FPS))


def prepared_pair(
    item: Item,
    folder: Path,
    facts: "CheckpointFacts",
    tools: "FilmTools",
    tile: int | None,
    calibration: "Calibration | None",
) -> "tuple[AnimationRequest, PreparedRequest]":
    """What a pair asks for, ready for the network.

    Raises:
        RejectedItem: ``unusable_pair``: its files cannot be used, or show nobody.
        MissingSourceError: one of them cannot be reached from this machine.
    """
    from mimicmotion.animation.pairs import FILES
    from mimicmotion.animation.request import AnimationRequest, prepare
    from mimicmotion.pose.models.estimator import CalibratedEstimator

    found = tools.estimator
    finder = found.estimator if isinstance(found, CalibratedEstimator) else found
    for path in filter(None, map(item.payload["request"].get, FILES)):
        if not Path(path).exists():
            raise MissingSourceError(f"{item.label}: {path} cannot be reached from this machine")
    try:
        request = AnimationRequest(out=folder / "pair.mp4", **item.payload["request"])
        return request, prepare(request, facts, facts.style, finder, tile, calibration)
    except InputError as error:
        raise RejectedItem("unusable_pair", f"{item.label}: {error}") from error
