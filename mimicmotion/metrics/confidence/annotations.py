"""Pictures whose people are known, from an annotation file of COCO-WholeBody's form."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.metrics.confidence.reliability import BODY_SHARE_OF_BOX, TruePicture
from mimicmotion.pose.layout import NUM_KEYPOINTS, WHOLEBODY_FIELDS
from mimicmotion.video.picture_files import read_picture


def annotated_pictures(file: Path, folder: Path) -> Iterator[tuple[str, TruePicture]]:
    """Yield the name of each picture that somebody is annotated in, and the picture with its people.

    Args:
        file: JSON with ``images`` and ``annotations``, whole-body points in ``keypoints``, ``foot_kpts``,
            ``face_kpts``, ``lefthand_kpts`` and ``righthand_kpts``, each x, y and a flag above 0 where known.
        folder: where the pictures lie.

    Raises:
        InputError: the file is of another form, or a picture is missing.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        people: dict[str, list[Mapping[str, Any]]] = {}
        for one in content["annotations"]:
            if not one.get("iscrowd") and any(one["keypoints"][2::3]):
                people.setdefault(names[one["image_id"]], []).append(one)
        points = {name: np.stack([_points(one) for one in found]) for name, found in people.items()}
        areas = {name: np.array([_area(one) for one in found]) for name, found in people.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is no annotation file of COCO-WholeBody's form ({type(error).__name__}: {error}); it "
            f"needs images with id and file_name, and annotations with image_id, area or bbox, and "
            f"{', '.join(WHOLEBODY_FIELDS)}"
        ) from error
    for name in sorted(people):
        known = points[name][..., 2] > 0
        yield name, TruePicture(read_picture(folder / name), points[name][..., :2], known, areas[name])


def _area(annotation: Mapping[str, Any]) -> float:
    return float(annotation.get("area") or np.prod(annotation["bbox"][2:]) * BODY_SHARE_OF_BOX)


def _points(annotation: Mapping[str, Any]) -> np.ndarray:
    parts = [np.reshape(annotation[name], (number, 3)) for name, number in WHOLEBODY_FIELDS.items()]
    points: np.ndarray = np.concatenate(parts).astype(np.float64)
    assert points.shape == (NUM_KEYPOINTS, 3)
    return points
