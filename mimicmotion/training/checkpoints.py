"""Checkpoints of a run: sharded, published by a rename, the newest few kept, readable by any worker count."""

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from mimicmotion.errors import DataError
from mimicmotion.training.ema import MovingAverage
from mimicmotion.training.world import World

_FACTS = "facts.json"
_PARTIAL = ".partial"


class Checkpoints:
    """The checkpoints in one folder that all workers share.

    Args:
        folder: holds one folder per checkpoint, ``step-00000500``.
        keep: how many of the newest to keep.
        world: the workers that write and read together.
    """

    def __init__(self, folder: Path, keep: int, world: World) -> None:
        self.folder = folder
        self._keep = keep
        self._world = world

    def newest(self) -> Path | None:
        """Return the newest published checkpoint."""
        found = self._published()
        return found[-1] if found else None

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
        """Return the checkpoint of a step once it is published; every worker calls this.

        Args:
            step: optimiser steps done.
            tensors: sharded or whole; what all workers hold alike is written once.
            facts: plain values, kept as JSON.
        """
        final = self.folder / f"step-{step:08d}"
        aside = final.with_name(final.name + _PARTIAL)
        if self._world.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob("*" + _PARTIAL):
                shutil.rmtree(leftover)
        self._world.wait()
        with _one_process_is_meant():
            save(
                dict(tensors),
                storage_writer=FileSystemWriter(aside, sync_files=True),
                no_dist=self._world.size == 1,
            )
        if self._world.is_first:
            (aside / _FACTS).write_text(json.dumps({"step": step, **facts}, indent=2))
            if final.exists():
                shutil.rmtree(final)
            aside.rename(final)
            for old in self._published()[: -self._keep]:
                shutil.rmtree(old)
        self._world.wait()
        return final

    def load(self, checkpoint: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Fill the tensors from a checkpoint, each worker its part, and return the facts.

        Raises:
            DataError: the checkpoint lacks a tensor or holds another shape.
        """
        facts: dict[str, Any] = json.loads((checkpoint / _FACTS).read_text())
        reader = FileSystemReader(checkpoint)
        stored = reader.read_metadata().state_dict_metadata
        shapes = {
            name: tuple(value.size)
            for name, value in stored.items()
            if isinstance(value, TensorStorageMetadata)
        }
        wanted = {name: tuple(value.shape) for name, value in tensors.items()}
        if shapes != wanted:
            differing = sorted({name for name, _ in shapes.items() ^ wanted.items()})
            raise DataError(
                f"{checkpoint} is of another network: it differs in {', '.join(differing[:4])} of "
                f"{len(wanted)} tensors; remove {self.folder} to begin anew"
            )
        with _one_process_is_meant():
            load(dict(tensors), storage_reader=reader, no_dist=self._world.size == 1)
        return facts

    def _published(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if (path / _FACTS).is_file())


@contextmanager
def _one_process_is_meant() -> Iterator[None]:
    """Silence torch's remark that a lone process saves alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield


def training_tensors(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer, average: MovingAverage
) -> dict[str, Tensor]:
    """Return every tensor that a run continues from, by name; loading into them restores the run.

    The optimiser's moments are created where it has none yet. Its step counts are left out: all are the
    number of the step, see ``set_optimiser_steps``.
    """
    tensors = {f"model.{name}": value.detach() for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        state = optimiser.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter, requires_grad=False)
            state["exp_avg_sq"] = torch.zeros_like(parameter, requires_grad=False)
        tensors |= {f"{moment}.{name}": state[moment] for moment in ("exp_avg", "exp_avg_sq")}
    return tensors


def set_optimiser_steps(optimiser: torch.optim.Optimizer, steps: int) -> None:
    """Tell the optimiser how many steps its moments have seen."""
    for state in optimiser.state.values():
        state["step"].fill_(steps)
