"""The command ``evaluate``: scores two folders of videos, whoever made them.

``mimicmotion evaluate --generated results --truth truth --protocol native --fvd i3d_pretrained_400.pt``

``flows/cli.py`` mounts the function ``evaluate``.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from flows.commands.options import option_of
from flows.terminal import Terminal
from mimicmotion.errors import InputError


def evaluate(
    generated: Annotated[Path, typer.Option(help="Folder of results: videos, or folders of frames.")],
    truth: Annotated[Path, typer.Option(help="Folder of the true ones, of the same names.")],
    protocol: Annotated[str, typer.Option(help="tiktok-335-340-256, tiktok-disco10-256 or native.")],
    window: Annotated[
        int | None, typer.Option(min=2, help="Frames of a window; else the protocol's.")
    ] = None,
    fvd: Annotated[Path | None, typer.Option(help="I3D weights for FVD.")] = None,
    fid_vid: Annotated[Path | None, typer.Option(help="3D ResNet-50 weights for FID-VID.")] = None,
    fvd_small: Annotated[Path | None, typer.Option(help="The built-in toy world's video network.")] = None,
    fid: Annotated[Path | None, typer.Option(help="Inception as TorchScript for FID.")] = None,
    lpips: Annotated[Path | None, typer.Option(help="VGG as TorchScript for LPIPS.")] = None,
    identity: Annotated[Path | None, typer.Option(help="Face embedding in ONNX, for identity.")] = None,
    videomae: Annotated[Path | None, typer.Option(help="VideoMAE: folder of transformers, or ONNX.")] = None,
    vjepa: Annotated[Path | None, typer.Option(help="V-JEPA: folder of transformers, or ONNX.")] = None,
    detector: Annotated[
        Path | None, typer.Option(help="Person detector in ONNX, for hands and pose.")
    ] = None,
    wholebody: Annotated[
        Path | None, typer.Option(help="Whole-body model in ONNX, for hands and pose.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for all scores.")] = None,
) -> None:
    """Score results against the truth under a named protocol."""
    from mimicmotion.devices import device_and_dtype, has_cuda
    from mimicmotion.metrics.folders import score_folders
    from mimicmotion.metrics.judging import open_judge
    from mimicmotion.metrics.protocols import protocol_by_id
    from mimicmotion.metrics.scores import summary_markdown
    from mimicmotion.metrics.settings import JudgeSettings

    if (detector is None) != (wholebody is None):
        raise InputError("--detector and --wholebody go together: give both for hands and pose, or none")
    settings = JudgeSettings(
        protocol=protocol_by_id(protocol).id,
        window=window,
        fvd=fvd,
        fid_vid=fid_vid,
        fvd_small=fvd_small,
        fid=fid,
        lpips=lpips,
        identity=identity,
        videomae=videomae,
        vjepa=vjepa,
        detector=detector,
        wholebody=wholebody,
    )
    chosen = settings.chosen_protocol
    device, _ = device_and_dtype(has_cuda(), "float32")
    judge = open_judge(settings, device, cuda=has_cuda(), allow_cpu=True, called=option_of)
    scores = score_folders(generated, truth, chosen, judge)
    Terminal().print(Markdown(summary_markdown(scores, chosen.id)))
    if out is not None:
        rows = [{**asdict(score), "protocol": chosen.id} for score in scores]
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
