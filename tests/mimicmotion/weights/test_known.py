"""What is known of weights, found by their names."""

import re
from pathlib import Path

from mimicmotion.weights.known import all_known, known_weights, named_path

SVD = "stable-video-diffusion-img2vid-xt-1-1"


def test_weights_are_found_by_file_and_by_folder() -> None:
    found = known_weights(Path("/weights/yolox_l.onnx"))
    assert found is not None
    assert (found.repository, found.is_folder) == ("yzd-v/DWPose", False)
    assert found.place(found.files[0], Path("/weights/yolox_l.onnx")) == Path("/weights/yolox_l.onnx")
    part = Path("/weights") / SVD / "vae"
    folder = known_weights(part)
    assert folder is not None
    assert folder.name == SVD
    assert named_path(part, folder) == Path("/weights") / SVD
    assert (
        folder.place(folder.files[0], named_path(part, folder)) == Path("/weights") / SVD / "model_index.json"
    )
    assert known_weights(Path("/weights/mine.onnx")) is None


def test_every_source_is_complete() -> None:
    for weights in all_known():
        assert weights.licence
        assert weights.page.startswith("https://")
        assert weights.files
        assert weights.is_folder or weights.files[0].path == weights.name
        assert all(file.sha256 is None or len(file.sha256) == 64 for file in weights.files)
        assert weights.repository is None or weights.page.endswith(weights.repository)
        assert weights.revision is None or re.fullmatch("[0-9a-f]{40}", weights.revision)


def test_what_is_downloaded_is_of_one_commit_or_of_known_content() -> None:
    free = {
        weights.name
        for weights in all_known()
        if weights.repository and not weights.revision and any(file.sha256 is None for file in weights.files)
    }
    assert free == {"MimicMotion_1.pth"}  # `weights fetch` says so, and which content came
