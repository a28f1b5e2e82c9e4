"""From the averaged weights of a run, or of any of its checkpoints, to files that animate."""

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict_loader import load

from mimicmotion.errors import DataError, WeightsError
from mimicmotion.model.pipeline import GUIDANCE_FILE, MimicMotionPipeline
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.unet import PoseUNet
from mimicmotion.model.weights import load_pipeline, save_released
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.training.distributed.reading import TensorsReader
from mimicmotion.training.job import FACTS_FILE, NETWORK_FILE, TrainingJob
from mimicmotion.training.network import PosedDenoiser
from mimicmotion.weights.tensors import read_tensors

CHECKPOINT_FOLDER = "checkpoint"
RELEASED_FILE = "released.safetensors"
TRAINING_FILE = "training.json"
_TOLERANCE = 1e-4


def read_result(job: TrainingJob) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the averaged network of a finished run, named as in released files, and what the run says."""
    facts: dict[str, Any] = json.loads((job.result / FACTS_FILE).read_text())
    return read_tensors(job.result / NETWORK_FILE), facts


def checkpoint_facts(checkpoint: Path) -> dict[str, Any]:
    """Return what a checkpoint says of itself.

    Raises:
        DataError: the folder is no checkpoint, or was not written to its end.
    """
    if not (checkpoint / FACTS_FILE).is_file():
        raise DataError(
            f"{checkpoint} is no checkpoint of training, or was not written to its end: name a folder "
            "step-NNNNNNNN that holds facts.json"
        )
    facts: dict[str, Any] = json.loads((checkpoint / FACTS_FILE).read_text())
    return facts


def read_checkpoint(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return network and facts of a checkpoint that a run has written, whatever the number of its workers.

    Raises:
        DataError: as ``checkpoint_facts``.
    """
    facts = checkpoint_facts(checkpoint)
    reader = TensorsReader(checkpoint)
    stored = reader.tensors()
    averaged = {name.removeprefix("average.") for name in stored if name.startswith("average.")}
    wanted = {
        name: torch.empty(value.size, dtype=value.properties.dtype)
        for name, value in stored.items()
        if (name.startswith("average.") or name.removeprefix("model.") not in averaged)
        and name.startswith(("average.", "model."))
    }
    with warnings.catch_warnings():
        # A lone process is meant.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        load(wanted, storage_reader=reader, no_dist=True)
    return {name.partition(".")[2]: value for name, value in wanted.items()}, facts


def export(
    network: Mapping[str, Tensor],
    base: Path,
    style: DrawingStyle,
    folder: Path,
    training: Mapping[str, Any],
) -> None:
    """Write a network in both forms, and check them by loading them and comparing what they put out.

    Args:
        network: UNet and PoseNet, named as in released files.
        base: pipeline folder with the other parts.
        style: how poses were drawn.
        folder: where ``checkpoint``, a folder in diffusers layout, and ``released.safetensors`` go.
        training: what the checkpoint shall say of its training, in ``training.json`` beside the weights.

    Raises:
        WeightsError: the network does not fit the base, or what was written puts out something else.
    """
    released, target = folder / RELEASED_FILE, folder / CHECKPOINT_FOLDER
    told = {GUIDANCE_FILE: style.model_dump_json(), TRAINING_FILE: json.dumps(training, sort_keys=True)}
    save_released(network, released, told)
    pipeline = load_pipeline(released, base=base)
    pipeline.guidance = style.model_dump()
    if target.exists():
        shutil.rmtree(target)
    pipeline.save_pretrained(target)
    (target / TRAINING_FILE).write_text(json.dumps(training, indent=2, sort_keys=True) + "\n")
    check_export(network, base, folder)


def check_export(network: Mapping[str, Tensor], base: Path, folder: Path) -> None:
    """Compare what both exported forms put out with what the network does, on the same small input.

    Raises:
        WeightsError: they differ.
    """
    pipeline = load_pipeline(folder / RELEASED_FILE, base=base)
    given = PosedDenoiser(
        PoseUNet.from_config(pipeline.unet.config), PoseNet.from_config(pipeline.pose_net.config)
    )
    given.load_state_dict(network)
    expected = _put_out(given.eval(), pipeline)
    for path in (folder / RELEASED_FILE, folder / CHECKPOINT_FOLDER):
        loaded = load_pipeline(path, base=base)
        difference = (_put_out(PosedDenoiser(loaded.unet, loaded.pose_net), loaded) - expected).abs().max()
        if not difference <= _TOLERANCE * expected.abs().max():
            raise WeightsError(
                f"{path} was written, but loaded again it puts out numbers that differ by up to "
                f"{float(difference):.3g} from those of training: look at the disk, then export again"
            )


@torch.no_grad()
def _put_out(network: PosedDenoiser, pipeline: MimicMotionPipeline) -> Tensor:
    """The raw output for two frames of noise."""
    config: Any = pipeline.unet.config
    generator = torch.Generator().manual_seed(0)
    output: Tensor = network(
        torch.randn(1, 2, config.in_channels, 8, 8, generator=generator),
        torch.zeros(1),
        torch.randn(1, 1, config.cross_attention_dim, generator=generator),
        torch.tensor([[6.0, 127.0, 0.0]]),
        torch.randn(1, 2, 3, 64, 64, generator=generator),
        torch.zeros(1, dtype=torch.bool),
    )
    return output
