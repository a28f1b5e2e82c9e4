"""Annotations of COCO-WholeBody's form, made up and real."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.metrics.confidence.annotations import annotated_pictures
from mimicmotion.pose.layout import FACE, LEFT_HAND
from mimicmotion.video.picture_files import write_picture


def annotation(**more):
    parts = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
    points = {name: [place for point in range(num) for place in (point, 2, 1)] for name, num in parts.items()}
    return {"image_id": 7, "iscrowd": 0, "bbox": [0, 0, 10, 20], **points, **more}


def write(folder, annotations):
    write_picture(folder / "a.png", np.zeros((30, 40, 3), np.uint8))
    content = {"images": [{"id": 7, "file_name": "a.png"}], "annotations": annotations}
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def test_points_lie_in_our_order_with_what_is_known(tmp_path):
    hidden = {"lefthand_kpts": [0] * 63}
    file = write(tmp_path, [annotation(**hidden), annotation(iscrowd=1), annotation(area=50.0)])
    ((name, found),) = annotated_pictures(file, tmp_path)
    assert (name, found.picture.shape) == ("a.png", (30, 40, 3))
    assert found.keypoints.shape == (2, 133, 2)
    assert found.keypoints[0, FACE][5].tolist() == [5, 2]
    assert not found.known[0, LEFT_HAND].any()
    assert found.known[1].all()
    assert found.areas.tolist() == [106.0, 50.0]


@pytest.mark.parametrize("name", ["face_kpts", "bbox"])
def test_another_form_is_named(tmp_path, name):
    without = annotation()
    del without[name]
    with pytest.raises(InputError, match=rf"no annotation file of COCO-WholeBody's form.*KeyError: '{name}'"):
        next(annotated_pictures(write(tmp_path, [without]), tmp_path))


def test_real_annotations_are_read():
    folder = Path(os.environ.get("MIMICMOTION_REAL_DATA", "none")) / "wholebody_gt"
    if not folder.is_dir():
        pytest.skip("set MIMICMOTION_REAL_DATA to a folder with wholebody_gt")
    pictures = dict(annotated_pictures(folder / "test_coco_wholebody.json", folder))
    assert len(pictures) == 4
    assert sum(len(one.keypoints) for one in pictures.values()) == 12  # two of 14 have no point
