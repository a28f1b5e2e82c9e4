"""The lines of docs/python.md run as they stand, on a registered model, and leave nothing but their video."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml
from PIL import Image
from training_world import make_pipeline

from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.synthetic.world import film
from mimicmotion.video.files import iter_frames
from stages.adapters.mlflow.client import mlflow_client
from stages.adapters.mlflow.registry import MlflowRegistry

ROOT = Path(__file__).resolve().parents[1]


def video_of(code: str, folder: Path) -> list[np.ndarray]:
    """Run the lines in a folder; the frames of the one file that they leave there."""
    before = {path.name for path in folder.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in folder.iterdir()} - before == {"python.mp4"}
    frames = list(iter_frames(folder / "python.mp4"))
    (folder / "python.mp4").unlink()
    return frames


def test_the_lines_make_a_video_and_libraries_say_nothing(tmp_path, monkeypatch):
    shown = film(900_001, 3)
    Image.fromarray(shown.frames[0]).save(tmp_path / "dancer.png")
    info = PosesInfo(video_id="v", width_px=128, height_px=192, fps=12, num_frames=3, models={})
    box = np.array([20, 20, 100, 180], np.float32)
    people = [
        [(0, Person(box, 0.9, points.astype(np.float32), np.ones(133, np.float32)))]
        for points in shown.keypoints
    ]
    pq.write_table(poses_table(info, people), tmp_path / "out.poses.parquet")
    checkpoint = tmp_path / "checkpoint"
    make_pipeline().save_pretrained(checkpoint)
    facts = {"sizes_px": [[64, 64]], "num_frames": 4, "fps": 6, "motion_bucket": 127}
    (checkpoint / "training.json").write_text(json.dumps(facts))
    client = mlflow_client(f"sqlite:///{tmp_path}/workspace/demo/mlflow.db")
    artifacts = (tmp_path / "workspace" / "demo" / "mlartifacts").as_uri()
    run = client.create_run(client.create_experiment("tests", artifacts))
    registry = MlflowRegistry(client, run.info.run_id)
    registry.set_alias(
        "mimicmotion-demo", "candidate", registry.register("mimicmotion-demo", checkpoint, {}, "")
    )
    code, folder = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text(), re.M | re.S)
    assert len([line for line in code.splitlines() if line]) <= 12
    model, loaded = "mlflow.pyfunc.load_model(", [line for line in code.splitlines() if "mlflow." in line]
    assert [model in line for line in loaded] == [False, True]
    by_registry = video_of(code, tmp_path)
    assert (len(by_registry), by_registry[0].shape) == (3, (64, 64, 3))
    by_folder = video_of(code.replace("\n".join(loaded), folder), tmp_path)
    np.testing.assert_array_equal(by_folder, by_registry)
    (described,) = (tmp_path / "workspace").rglob("MLmodel")
    signature = yaml.safe_load(described.read_text())["signature"]
    assert [one["name"] for one in json.loads(signature["inputs"])] == ["image", "reference_pose", "poses"]
    assert len(json.loads(signature["params"])) == 6
