"""The command ``evaluate``: scores two folders of videos, whoever made them.

``mimicmotion evaluate --generated results --truth truth --protocol native --fvd i3d_pretrained_400.pt``

``flows/cli.py`` mounts the function ``evaluate``.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from mimicmotion.errors import InputError

if TYPE_CHECKING:
    from mimicmotion.pose.detector import PersonDetector
    from mimicmotion.pose.simcc import WholeBodyModel

_BATCH_SIZE = 4


def evaluate(
    generated: Annotated[Path, typer.Option(help="Folder of results: videos, or folders of frames.")],
    truth: Annotated[Path, typer.Option(help="Folder of the true ones, of the same names.")],
    protocol: Annotated[str, typer.Option(help="tiktok-335-340-256, tiktok-disco10-256 or native.")],
    window: Annotated[
        int | None, typer.Option(min=2, help="Frames of a window; else the protocol's.")
    ] = None,
    fvd: Annotated[Path | None, typer.Option(help="I3D weights for FVD.")] = None,
    fid_vid: Annotated[Path | None, typer.Option(help="3D ResNet-50 weights for FID-VID.")] = None,
    fvd_small: Annotated[Path | None, typer.Option(help="The embedded world's video network.")] = None,
    fid: Annotated[Path | None, typer.Option(help="Inception as TorchScript for FID.")] = None,
    lpips: Annotated[Path | None, typer.Option(help="VGG as TorchScript for LPIPS.")] = None,
    detector: Annotated[Path | None, typer.Option(help="YOLOX graph, for hands and pose.")] = None,
    wholebody: Annotated[Path | None, typer.Option(help="SimCC graph, for hands and pose.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for all scores.")] = None,
) -> None:
    """Score results against the truth under a named protocol."""
    from mimicmotion.devices import device_and_dtype, has_cuda
    from mimicmotion.metrics.features import load_backbone
    from mimicmotion.metrics.folders import score_folders
    from mimicmotion.metrics.perceptual import load_perceptual
    from mimicmotion.metrics.protocols import protocol_by_id
    from mimicmotion.metrics.scoreboard import Backbone
    from mimicmotion.metrics.scores import summary_markdown

    chosen = protocol_by_id(protocol)
    chosen = chosen if window is None else chosen.with_window(window)
    device, _ = device_and_dtype(has_cuda(), "float32")
    files = {"fvd": fvd, "fid_vid": fid_vid, "fvd_small": fvd_small, "fid": fid}
    backbones: dict[str, Backbone | str] = {}
    for metric, path in files.items():
        absent = f"absent: no weights in --{metric.replace('_', '-')}"
        backbones[metric] = absent if path is None else load_backbone(metric, path, device, _BATCH_SIZE)
    lpips_absent = "absent: no weights in --lpips"
    backbones["lpips"] = lpips_absent if lpips is None else load_perceptual(lpips, device, _BATCH_SIZE)
    models = _pose_models(detector, wholebody)
    if models is None:
        for metric in ("hand_psnr", "hand_ssim", "pose_error_body", "pose_error_hands"):
            backbones[metric] = "absent: no graphs in --detector and --wholebody"
    scores = score_folders(generated, truth, chosen, backbones, models)
    Console().print(Markdown(summary_markdown(scores, chosen.id)))
    if out is not None:
        rows = [{**asdict(score), "protocol": chosen.id} for score in scores]
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _pose_models(
    detector: Path | None, wholebody: Path | None
) -> "tuple[PersonDetector, WholeBodyModel] | None":
    from mimicmotion.devices import has_cuda
    from mimicmotion.pose.detector import PersonDetector
    from mimicmotion.pose.simcc import WholeBodyModel

    if detector is None and wholebody is None:
        return None
    if detector is None or wholebody is None:
        raise InputError("--detector and --wholebody go together: give both for hands and pose, or none")
    cuda = has_cuda()
    return (
        PersonDetector.open(detector, cuda=cuda, allow_cpu=True),
        WholeBodyModel.open(wholebody, cuda=cuda, allow_cpu=True),
    )
