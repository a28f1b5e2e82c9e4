"""Judges the shipped models on dancers they never saw, and shows the result.

``python -m mimicmotion.synthetic.trainers.judge .cache/corpus mimicmotion/synthetic/weights --grid base.png``
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import CLIPImageProcessor

from mimicmotion.diffusion.sampler import sample_latents
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.model.embedding import embed_images
from mimicmotion.model.latents import decode_frames, encode_frames
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.svd import ImageEncoder, Vae
from mimicmotion.model.unet import PoseUNet
from mimicmotion.pictures.panels import grid, labelled_row
from mimicmotion.pose.drawing import draw_pose
from mimicmotion.pose.models.simcc import WholeBodyModel
from mimicmotion.synthetic.trainers.base import STYLE
from mimicmotion.synthetic.trainers.corpus import Corpus, open_corpus
from mimicmotion.synthetic.trainers.detect import detected_poses
from mimicmotion.synthetic.trainers.detector import person_boxes
from mimicmotion.synthetic.world import FPS
from mimicmotion.video.picture_files import write_picture
from mimicmotion.video.size import Size


@dataclass(frozen=True)
class Models:
    """The small world's models, in float32."""

    vae: Vae
    encoder: nn.Module
    processor: CLIPImageProcessor
    unet: nn.Module
    pose_net: nn.Module

    @staticmethod
    def load(folder: Path) -> "Models":
        """Load a checkpoint folder in diffusers' layout."""
        return Models(
            Vae.from_pretrained(folder / "vae").float().eval(),
            ImageEncoder.from_pretrained(folder / "image_encoder").float().eval(),
            CLIPImageProcessor.from_pretrained(folder / "feature_extractor"),
            PoseUNet.from_pretrained(folder / "unet").float().eval(),
            PoseNet.from_pretrained(folder / "pose_net").float().eval(),
        )


def draw(keypoints: np.ndarray, confidences: np.ndarray, size: Size) -> np.ndarray:
    """Guidance uint8 (n, 3, h, w) of one dancer."""
    return np.stack(
        [draw_pose(k[None], c[None], size, STYLE) for k, c in zip(keypoints, confidences, strict=True)]
    )


@torch.no_grad()
def animate(
    models: Models, frames: np.ndarray, guidance: np.ndarray, settings: SamplerSettings
) -> np.ndarray:
    """Generated frames (n - 1, h, w, 3) from frame 0 of ``frames`` and the drawn poses of all n."""
    reference = torch.from_numpy(frames[:1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    poses = torch.from_numpy(guidance).float() / 127.5 - 1
    scaling = float(models.vae.config.scaling_factor)
    latents = sample_latents(
        models.unet, models.pose_net(poses), embed_images(reference, models.encoder, models.processor),
        encode_frames(models.vae, reference)[0], num_frames=len(frames), settings=settings,
        generator=torch.Generator().manual_seed(0), scaling_factor=scaling,
    )  # fmt: skip
    return np.stack(list(decode_frames(models.vae, latents, 8, skip=1)))


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """PSNR in dB of each frame, float64 (n,)."""
    error = ((a.astype(np.float64) - b) ** 2).mean((1, 2, 3))
    return 10 * np.log10(255**2 / error)


def pose_distance(
    model: WholeBodyModel, frames: np.ndarray, truth: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Distance of re-detected from true visible keypoints, in shares of the person's height, (points,)."""
    boxes = person_boxes(truth, frames.shape[2], frames.shape[1])
    found = detected_poses(model, frames, truth)[..., :2]
    error = np.linalg.norm(found - truth, axis=-1) / (boxes[:, 3] - boxes[:, 1])[:, None]
    return error[seen]


def judge(
    models: Models, pose_model: WholeBodyModel, corpus: Corpus, dancers: int, settings: SamplerSettings
) -> tuple[dict[str, float], list[np.ndarray]]:
    """Means over dancers, with seconds of CPU in sampling, and one picture row a dancer.

    A row has the reference, then guidance, generated and true picture of the middle and the last frame.
    """
    scores: dict[str, list[np.ndarray]] = {}
    rows, sampling_s = [], 0.0
    for row in range(dancers):
        frames, points, seen = (
            corpus.frames[row, :15],
            corpus.keypoints[row, :15],
            corpus.visibility[row, :15],
        )
        driving = detected_poses(pose_model, frames, points)
        guidance = draw(driving[..., :2], driving[..., 2], Size.of(frames[0]))
        started = time.process_time()
        made = animate(models, frames, guidance, settings)
        sampling_s += time.process_time() - started
        copied = np.repeat(frames[:1], len(made), 0)
        visible = seen[1:] == 0
        for name, pictures in (("base", made), ("copy", copied), ("truth", frames[1:])):
            distance = pose_distance(pose_model, pictures, points[1:], visible)
            scores.setdefault(f"pose_distance_{name}", []).append(np.array([distance.mean()]))
            if name != "truth":
                scores.setdefault(f"psnr_{name}", []).append(psnr(frames[1:], pictures))
        panels = {"reference": frames[0]}
        for frame in (len(made) // 2, len(made)):
            panels[f"driving pose, frame {frame}"] = guidance[frame].transpose(1, 2, 0)
            panels[f"generated, frame {frame}"] = made[frame - 1]
            panels[f"true, frame {frame}"] = frames[frame]
        rows.append(labelled_row(panels))
    means = {name: round(float(np.concatenate(v).mean()), 4) for name, v in scores.items()}
    return {**means, "sampling_cpu_s": round(sampling_s, 1)}, rows


def main() -> None:
    """Print the scores and write the grid."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--dancers", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--grid", type=Path)
    options = parser.parse_args()
    models = Models.load(options.weights / "base")
    pose_model = WholeBodyModel.open(options.weights / "wholebody.onnx", cuda=False, allow_cpu=True)
    settings = SamplerSettings(
        num_steps=options.steps,
        guidance_scale=options.guidance,
        tile=8,
        overlap=2,
        fps=FPS,
    )
    scores, rows = judge(
        models, pose_model, open_corpus(options.corpus / "held_out"), options.dancers, settings
    )
    print(json.dumps(scores))
    if options.grid:
        options.grid.parent.mkdir(parents=True, exist_ok=True)
        write_picture(options.grid, grid(rows[:3]))


if __name__ == "__main__":
    main()
