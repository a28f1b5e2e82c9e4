"""A pipeline of two fake stages whose scores are known, so that the real ablation compares them."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.engine.contract import Context, Dataset, DatasetStage
from stages.parts.scored import SCORES_SCHEMA

HARDNESS = {"clip-a": 18.0, "clip-b": 22.0, "clip-c": 30.0}
"""What each clip scores without any gain."""


class Train(DatasetStage):
    """Learns as much as its field says, with a little luck."""

    name: ClassVar[str] = "train"
    version: ClassVar[int] = 1
    schema: ClassVar[pa.Schema] = pa.schema([("gain", pa.float64())])

    gain: float = Field(0.0, description="What it learns.")
    seed: int = Field(0, description="Its luck.")

    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        luck = np.random.default_rng(self.seed).normal(0, 0.01)
        return pa.table({"gain": [self.gain + luck]}, schema=self.schema)


class Evaluate(DatasetStage):
    """Scores of three clips, which differ far more than the arms do."""

    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("train",)
    schema: ClassVar[pa.Schema] = SCORES_SCHEMA

    bonus: float = Field(0.0, description="Added without any training.")

    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        (gain,) = inputs["train"].table()["gain"].to_pylist()
        rows = [row(clip, "model", value + gain + self.bonus) for clip, value in HARDNESS.items()]
        rows += [row(clip, "copy_reference", 10.0) for clip in HARDNESS]
        return pa.Table.from_pylist(rows, schema=self.schema)


def row(clip_id: str, method: str, value: float) -> dict:
    return {
        "split": "test",
        "clip_id": clip_id,
        "method": method,
        "metric": "psnr",
        "is_primary": True,
        "value": value,
        "count": 10,
        "num_videos": 1,
        "protocol": "native",
    }


STAGES = {"train": "fake_study:Train", "evaluate": "fake_study:Evaluate"}
"""What replaces ``stages.engine.config.STAGES``."""
