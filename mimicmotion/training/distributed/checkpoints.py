"""Checkpoints of a run: sharded, published by a rename, the newest few kept, readable by any worker count.

Training waits only while tensors are copied to host memory; a thread writes them. From a GPU they are copied
into pinned memory, which is used for every checkpoint: as much as this worker's share takes.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from mimicmotion.durable import put_in_place
from mimicmotion.errors import DataError
from mimicmotion.model.svd import is_idle
from mimicmotion.training.distributed.group import World
from mimicmotion.training.distributed.reading import TensorsReader
from mimicmotion.training.ema import MovingAverage
from mimicmotion.training.optimiser import moments
from mimicmotion.weights.fetching import file_digest

logger = logging.getLogger(__name__)

_FACTS = "facts.json"
_FILES = "files"
"""Among the facts: sha256 of every file beside them. Checkpoints of earlier versions have none."""
_PARTIAL = ".partial"


class Checkpoints:
    """The checkpoints in one folder that all workers share.

    Args:
        folder: holds one folder per checkpoint, ``step-00000500``.
        keep: how many of the newest to keep.
        world: the workers that write and read together.
        pinned: copy from a GPU into pinned memory that is made once; not where tensors are made anew for
            each checkpoint, as the moments of 8-bit AdamW are.
    """

    def __init__(self, folder: Path, keep: int, world: World, pinned: bool = True) -> None:
        self.folder = folder
        self._keep = keep
        self._world = world
        # A group of their own: what the thread sends must not mix with what training sends meanwhile.
        self.group = dist.new_group(backend="gloo") if world.size > 1 else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._begun: Future[None] | None = None
        self._stager = _pinned_copies(world.device) if pinned else None
        if world.size == 1:
            # A lone process is meant; torch says this from its thread, where no context would catch it.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)

    def newest(self) -> Path | None:
        """Return the newest published checkpoint, whole or damaged."""
        found = self._published()
        return found[-1] if found else None

    def newest_sound(self) -> Path | None:
        """Return the newest checkpoint that is what was written; every worker calls this, the first reads.

        Those passed over are named in the log.
        """
        sound: list[str] = []
        for checkpoint in reversed(self._published() if self._world.is_first else []):
            damage = _damage(checkpoint)
            if damage is None:
                sound.append(checkpoint.name)
                break
            logger.warning("passing over a damaged checkpoint, and going on from an older one: %s", damage)
        chosen = self._world.joined(sound)
        return self.folder / chosen[0] if chosen else None

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
        """Begin the checkpoint of a step and return where it will be; every worker calls this.

        The tensors may change as soon as this returns. One checkpoint is written at a time: the one begun
        before is waited for.

        Args:
            step: optimiser steps done.
            tensors: sharded or whole; what all workers hold alike is written once.
            facts: plain values, kept as JSON.
        """
        self.wait()
        final = self.folder / f"step-{step:08d}"
        staging = final.with_name(final.name + _PARTIAL)
        if self._world.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob("*" + _PARTIAL):
                shutil.rmtree(leftover)
        self._world.wait()
        written = async_save(
            dict(tensors),
            storage_writer=FileSystemWriter(staging, sync_files=True),
            process_group=self.group,
            async_stager=self._stager,
            no_dist=self._world.size == 1,
        )
        assert isinstance(written, Future)
        self._begun = self._thread.submit(self._publish, written, final, {"step": step, **facts})
        return final

    def wait(self) -> None:
        """Return when the checkpoint begun last is published, or raise what kept it from being written."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.result()

    def close(self) -> None:
        """Let what was begun end, well or badly; for the way out of a run that failed."""
        self._thread.shutdown()

    def _publish(self, written: "Future[Any]", final: Path, facts: Mapping[str, Any]) -> None:
        """Publish once all workers have written, which is when the first one's part is done."""
        written.result()
        if not self._world.is_first:
            return
        staging = final.with_name(final.name + _PARTIAL)
        files = {path.name: file_digest(path) for path in sorted(staging.iterdir())}
        (staging / _FACTS).write_text(json.dumps({**facts, _FILES: files}, indent=2))
        if final.exists():
            shutil.rmtree(final)
        put_in_place(staging, final)
        # Later ones are damaged: the run passed them over, and they must not count as newer than this one.
        there = self._published()
        count = there.index(final) + 1
        for old in [*there[:count][: -self._keep], *there[count:]]:
            shutil.rmtree(old)

    def load(self, checkpoint: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Fill the tensors from a checkpoint, each worker its part, and return the facts.

        Raises:
            DataError: the checkpoint lacks a tensor or holds another shape.
        """
        facts: dict[str, Any] = json.loads((checkpoint / _FACTS).read_text())
        facts.pop(_FILES, None)
        reader = TensorsReader(checkpoint)
        wanted = {name: tuple(value.shape) for name, value in tensors.items()}
        # Earlier versions trained what changes nothing, and kept its moments and averages.
        shapes = {
            name: tuple(value.size)
            for name, value in reader.tensors().items()
            if name in wanted or not is_idle(name)
        }
        if shapes != wanted:
            differing = sorted({name for name, _ in shapes.items() ^ wanted.items()})
            raise DataError(
                f"{checkpoint} is of another network: it differs in {', '.join(differing[:4])} of "
                f"{len(wanted)} tensors; remove {self.folder} to begin anew"
            )
        load(
            dict(tensors),
            storage_reader=reader,
            process_group=self.group,
            no_dist=self._world.size == 1,
        )
        return facts

    def _published(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if (path / _FACTS).is_file())


def _pinned_copies(device: torch.device) -> DefaultStager | None:
    """Copies from a GPU; the same memory takes the next ones, so one checkpoint is written at a time."""
    if device.type != "cuda":
        return None
    return DefaultStager(
        StagingOptions(
            use_pinned_memory=True,
            use_shared_memory=False,
            use_async_staging=False,  # the optimiser must not step before they are copied
            use_non_blocking_copy=True,
        )
    )


def _damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint: its first file that is not what was written."""
    try:
        written: Mapping[str, str] = json.loads((checkpoint / _FACTS).read_text()).get(_FILES, {})
        for name, sha256 in written.items():
            if file_digest(checkpoint / name) != sha256:
                return f"{checkpoint / name} is not what was written"
    except (OSError, ValueError, AttributeError) as error:
        return f"{checkpoint} cannot be read ({error})"
    return None


def training_tensors(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer, average: MovingAverage
) -> dict[str, Tensor]:
    """Return every tensor that a run continues from, by name.

    Loading into them restores network and average; moments go back by ``set_moments``. The optimiser's step
    counts are left out: all are the number of the step.
    """
    tensors = {f"model.{name}": value.detach() for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    return tensors | moments(network, optimiser)
