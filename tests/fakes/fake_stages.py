"""A pipeline of four tiny stages, small enough to read: letters -> shouts -> total -> report.

It lives in a module of its own because Ray workers import it by name.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from mimicmotion.errors import RejectedItem, StageError, WeightsError
from stages.engine.config import MlflowSettings, PipelineConfig, RaySettings, Settings
from stages.engine.contract import Context, Dataset, DatasetStage, Item, ItemStage, Report, Stage
from stages.engine.keys import file_sha256

LETTERS_SCHEMA = pa.schema([("letter", pa.string()), ("length", pa.int64())])


class Letters(ItemStage):
    """One item per text file; the first word of a file says what its worker goes through."""

    name: ClassVar[str] = "letters"
    version: ClassVar[int] = 1
    schema: ClassVar[pa.Schema] = LETTERS_SCHEMA
    source_fields: ClassVar[tuple[str, ...]] = ("source",)

    source: Path = Field(description="Folder of text files.")
    factor: int = Field(1, ge=1, description="How often a letter counts.")
    weights: Path | None = Field(None, description="A weight file.")

    def weight_files(self) -> dict[str, Path]:
        return {"weights": self.weights} if self.weights else {}

    def items(self, inputs: Mapping[str, Dataset]) -> Iterator[Item]:
        for path in sorted(self.source.glob("*.txt")):
            sha256 = file_sha256(path)
            yield Item(path.stem, {"text": sha256}, {"path": path}, label=path.name)

    def load(self) -> str:
        return "loaded"

    def process(self, loaded: str, item: Item, folder: Path) -> pa.Table:
        assert loaded == "loaded"
        text = item.payload["path"].read_text()
        _behave(text, item.payload["path"])
        logging.getLogger(__name__).info("%d letters", len(text))
        (folder / "copy.txt").write_text(text * self.factor)
        return pa.table({"letter": list(text), "length": [self.factor] * len(text)}, schema=self.schema)


def _behave(text: str, path: Path) -> None:
    log = path.parent / "log"
    log.mkdir(exist_ok=True)
    with (log / f"{path.stem}.log").open("a") as file:
        file.write(f"{os.getpid()}\n")
    word = text.split(" ", 1)[0]
    if word == "reject":
        raise RejectedItem("bad_text", f"{path.name} asks for it")
    if word == "bug":
        raise KeyError("a bug")
    if word == "away":
        raise OSError(5, "Input/output error")
    if word == "full":
        raise OSError(28, "No space left on device")
    if word == "slow":
        time.sleep(0.5)
    if word == "hang":
        for _ in range(600):  # naps, as a time limit ends Python between two calls only
            time.sleep(0.1)
    if word == "die_late" and len((log / f"{path.stem}.log").read_text().split()) == 1:
        time.sleep(4)
        os.kill(os.getpid(), 9)
    if word == "die" or (word == "die_once" and len((log / f"{path.stem}.log").read_text().split()) == 1):
        os.kill(os.getpid(), 9)


class Shouts(ItemStage):
    """Each text in capitals."""

    name: ClassVar[str] = "shouts"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("letters",)
    schema: ClassVar[pa.Schema] = pa.schema([("shout", pa.string())])

    mark: str = Field("!", description="What ends a shout.")
    pause_s: float = Field(0, description="Seconds that each text takes.")

    def items(self, inputs: Mapping[str, Dataset]) -> Iterator[Item]:
        letters = inputs["letters"]
        for item_id in letters.ids:
            yield Item(
                item_id, {"text": letters.item_key(item_id)}, {"path": letters.path(item_id, "copy.txt")}
            )

    def process(self, loaded: None, item: Item, folder: Path) -> pa.Table:
        time.sleep(self.pause_s)
        return pa.table({"shout": [item.payload["path"].read_text().upper() + self.mark]}, schema=self.schema)


class Chorus(DatasetStage):
    """The shouts of all, which its workers make as a part of it."""

    name: ClassVar[str] = "chorus"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("letters",)
    schema: ClassVar[pa.Schema] = pa.schema([("chorus", pa.string())])
    one_process: ClassVar[bool] = False

    breaks: bool = Field(False, description="Whether to fail once the part is done.")

    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        assert context.map is not None
        shouts = context.map(Shouts(), inputs)
        if self.breaks:
            raise StageError("broken after the part")
        return pa.table({"chorus": [" ".join(shouts.table()["shout"].to_pylist())]}, schema=self.schema)


class Total(DatasetStage):
    """How many letters there are, with a training loop that only counts its workers."""

    name: ClassVar[str] = "total"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("letters",)
    optional_reads: ClassVar[tuple[str, ...]] = ("shouts",)
    schema: ClassVar[pa.Schema] = pa.schema([("total", pa.int64()), ("reads", pa.string())])
    one_process: ClassVar[bool] = False

    offset: int = Field(0, description="Added to the number.")
    trains: bool = Field(False, description="Whether to start a training group.")
    pause_s: float = Field(0, description="Seconds that the training group takes.")

    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        if self.trains:
            arguments = {"folder": str(context.state), "report": context.report, "pause_s": self.pause_s}
            context.launch(count_workers, arguments, self.runtime)
        (folder / "parts").mkdir()
        (folder / "parts" / "note.txt").write_text("note")
        total = inputs["letters"].table().num_rows + self.offset
        return pa.table({"total": [total], "reads": [" ".join(sorted(inputs))]}, schema=self.schema)

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        report.metrics({"total": float(dataset.table()["total"][0].as_py())}, step=1)
        report.image("square", np.zeros((8, 8, 3), np.uint8), step=0)
        report.text("note.md", "# Total")
        report.file(dataset.path("all", "parts/note.txt"), "notes")


class Alone(DatasetStage):
    """Which process it runs in, and which GPUs that was given."""

    name: ClassVar[str] = "alone"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("letters",)
    schema: ClassVar[pa.Schema] = pa.schema(
        [("pid", pa.int64()), ("gpus", pa.string()), ("read", pa.int64())]
    )

    dies: bool = Field(False, description="Whether its process is killed.")

    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        if self.dies:
            os.kill(os.getpid(), 9)
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        row = {"pid": os.getpid(), "gpus": gpus, "read": inputs["letters"].table().num_rows}
        return pa.Table.from_pylist([row], schema=self.schema)


def count_workers(arguments: dict[str, Any]) -> None:
    """A training loop: every worker leaves a file that says who it is, and reports from inside."""
    import torch.distributed

    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    Path(arguments["folder"], f"worker-{rank}").write_text(
        f"{size} {os.environ['OMP_NUM_THREADS']} {os.environ['OMP_WAIT_POLICY']}"
    )
    time.sleep(arguments.get("pause_s", 0))
    if arguments.get("fails"):
        raise ValueError("the loop is wrong")
    died = Path(arguments["folder"], "died")
    if arguments.get("dies") and not died.exists():
        died.write_text("once")
        os.kill(os.getpid(), 9)
    arguments["report"].metrics({"rank": rank}, step=rank)


class NoWeights:
    """A task whose models are missing."""

    def load(self) -> None:
        raise WeightsError("no weights here")


CLASSES: dict[str, type[Stage]] = {"letters": Letters, "shouts": Shouts, "total": Total}


def make_config(workspace: Path | str, *stages: Stage) -> PipelineConfig:
    """A config of these stages, as if it had been read from a file."""
    settings = Settings(
        workspace=str(workspace), ray=RaySettings(num_cpus=2), mlflow=MlflowSettings(experiment="test")
    )
    return PipelineConfig("fake", "configs/fake.yaml", settings, {stage.name: stage for stage in stages})


def write_texts(folder: Path, **texts: str) -> Path:
    """A source folder of text files by name."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return folder
