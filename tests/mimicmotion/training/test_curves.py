"""Curves and pictures that outlive a killed run, and their published form."""

import numpy as np
import pyarrow.parquet as pq
from training_world import RecordedReport

from mimicmotion.training.curves import Curves, publish_curves


def published(recorded, folder):
    publish_curves(recorded, folder)
    return [tuple(row.values()) for row in pq.read_table(folder / "curves.parquet").to_pylist()]


def test_a_resumed_run_publishes_what_it_recorded_before(tmp_path):
    report, folder = RecordedReport(), tmp_path / "recorded"
    first = Curves(report, folder)
    first.begin(0)
    for step in (1, 2, 3):
        first.metrics({"loss": float(step), "speed/samples_per_s": 5.0, "memory/peak_gb": 1.0}, step)
    first.image("samples", np.zeros((8, 8, 3), np.uint8), 2)
    with (folder / "curves.jsonl").open("a") as file:
        file.write('{"step": 4, "val')  # killed here
    second = Curves(report, folder)
    second.begin(2)
    second.metrics({"loss": 30.0}, 3)
    second.metrics({"loss": 31.0}, 3)  # reported twice: the last counts
    assert published(folder, tmp_path / "out") == [(1, "loss", 1.0), (2, "loss", 2.0), (3, "loss", 31.0)]
    assert (tmp_path / "out" / "pictures" / "samples" / "step-00000002.png").is_file()
    assert report.values["speed/samples_per_s"] == [(1, 5.0), (2, 5.0), (3, 5.0)]


def test_a_run_that_begins_anew_forgets_the_last(tmp_path):
    curves = Curves(RecordedReport(), tmp_path / "recorded")
    curves.metrics({"loss": 1.0}, 7)
    curves.image("samples", np.zeros((8, 8, 3), np.uint8), 7)
    curves.begin(0)
    assert published(tmp_path / "recorded", tmp_path / "out") == []
    assert not (tmp_path / "out" / "pictures").exists()
