"""The pipeline: a reference picture and drawn poses in, frames out.

A thin layer over ``sample_latents``: it prepares conditions once, samples, and decodes as a stream.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import length_hint
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn
from transformers.image_processing_utils import BaseImageProcessor

from mimicmotion.diffusion.edm import c_noise
from mimicmotion.diffusion.fusion import layout
from mimicmotion.diffusion.sampler import FrameFeatures, Progress, Retiled, sample_latents
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.diffusion.spread import Share
from mimicmotion.errors import InputError
from mimicmotion.model.compiling import compile_blocks
from mimicmotion.model.embedding import embed_images
from mimicmotion.model.latents import decode_frames, encode_frames
from mimicmotion.model.pose_features import PartialFeatures, compute_pose_features
from mimicmotion.model.pose_net import PoseNet
from mimicmotion.model.svd import ImageEncoder, Vae
from mimicmotion.model.unet import PoseUNet
from mimicmotion.video.size import Size

GUIDANCE_FILE = "guidance.json"
"""Beside ``model_index.json``: how the poses were drawn that the network was trained on."""

StepEnd = Callable[[DiffusionPipeline, int, Tensor, dict[str, Tensor]], Mapping[str, Tensor]]
"""diffusers' ``callback_on_step_end``: (pipeline, step, timestep, {"latents": ...}) -> changed tensors."""


@dataclass
class MimicMotionOutput(BaseOutput):
    """What a pipeline call gives.

    Attributes:
        frames: uint8 (n, h, w, 3); float (n, 3, h, w) in [0, 1]; or latents (n + 1, 4, h / 8, w / 8), slot
            0 among them: as ``output_type`` says.
    """

    frames: np.ndarray | Tensor


class MimicMotionPipeline(DiffusionPipeline):
    """Frames of the person of a reference picture, in driving poses.

    Args:
        vae: SVD's autoencoder with temporal decoder.
        image_encoder: CLIP's picture tower.
        feature_extractor: a ``CLIPImageProcessor``; holds mean and std.
        unet: the denoising network.
        pose_net: features of drawn poses.
    """

    model_cpu_offload_seq = "image_encoder->pose_net->unet->vae"

    def __init__(
        self,
        vae: Vae,
        image_encoder: ImageEncoder,
        feature_extractor: BaseImageProcessor,
        unet: PoseUNet,
        pose_net: PoseNet,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            image_encoder=image_encoder,
            feature_extractor=feature_extractor,
            unet=unet,
            pose_net=pose_net,
        )
        self.guidance: dict[str, Any] = {}
        self._offload_device: torch.device | None = None
        self._share: Share | None = None

    @property
    def spatial_factor(self) -> int:
        """Pixels of a picture for each latent, along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Write the diffusers layout and ``guidance.json``."""
        super().save_pretrained(save_directory, **kwargs)
        text = json.dumps(self.guidance, indent=1, sort_keys=True)
        (Path(save_directory) / GUIDANCE_FILE).write_text(text + "\n")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Return the pipeline of a folder in diffusers layout; ``load_pipeline`` is the strict way."""
        # Without the accelerate package diffusers warns about its own default.
        pipeline: Self = super().from_pretrained(
            pretrained_model_name_or_path, **{"low_cpu_mem_usage": False, **kwargs}
        )
        pipeline.guidance = read_guidance(Path(pretrained_model_name_or_path))
        return pipeline

    def offload_modules(self, device: torch.device | str) -> None:
        """Work on this device and keep only the module at work there; the others wait on the host."""
        self._offload_device = torch.device(device)
        self.to("cpu")

    def spread(self, share: Share) -> None:
        """Do only this worker's share of each video from now on; frames come out at worker 0.

        Every worker makes the same calls with the same arguments and an equal generator. Poses must have
        a length, and are read only where this worker needs them.
        """
        self._share = share

    def compile_unet(self) -> None:
        """Compile the denoising network's blocks; worth its minutes from some tens of tiles on."""
        compile_blocks(self.unet)

    @contextmanager
    def _at_work(self, module: nn.Module) -> Iterator[torch.device]:
        """The device on which this module works, with the module there."""
        if self._offload_device is None:
            yield next(module.parameters()).device
            return
        module.to(self._offload_device)
        try:
            yield self._offload_device
        finally:
            module.to("cpu")

    def sample(
        self,
        image: Image | np.ndarray | Tensor,
        poses: Iterable[np.ndarray | Tensor],
        *,
        settings: SamplerSettings,
        generator: torch.Generator | None = None,
        noise: Float[Tensor, "t 4 h w"] | None = None,
        callback_on_step_end: StepEnd | None = None,
        progress: Progress | None = None,
        retiled: Retiled | None = None,
    ) -> Float[Tensor, "n 4 h w"]:
        """Return the latents (n, 4, h / 8, w / 8) of all slots, for ``decode``; slot 0 is the reference.

        Memory for pictures does not grow with the number of poses, which may come from a generator.

        Args:
            image: the reference: a picture, uint8 (h, w, 3), or float (3, h, w) in [-1, 1]; RGB, sides
                divisible by 8. Frames get its size.
            poses: drawn poses (3, h, w), uint8 or float in [-1, 1]; the first is the reference's own.
            settings: how to sample.
            generator: source of all randomness.
            noise: unit starting noise of one tile or of the video, in place of the generator.
            callback_on_step_end: as in every diffusers pipeline; ``latents`` may be changed.
            progress: called after each network call with tiles done and tiles to do.
            retiled: called where the tile becomes smaller for want of memory.

        Raises:
            InputError: a picture or pose that cannot be used.
        """
        picture = _picture(image, self.spatial_factor)
        with self._at_work(self.image_encoder):
            embeds = embed_images(picture[None], self.image_encoder, self.feature_extractor)
        strength = settings.noise_aug_strength
        if strength > 0:
            device = generator.device if generator is not None else picture.device
            noisy = randn_tensor(picture.shape, generator=generator, device=device)
            picture = picture + strength * noisy.to(picture.device)
        with self._at_work(self.vae):
            reference = encode_frames(self.vae, picture[None])[0]
        size = Size(picture.shape[-1], picture.shape[-2])
        with self._features(poses, size, settings) as (features, num_frames), self._at_work(self.unet):
            if num_frames < 2:
                raise InputError(
                    "only the reference's own pose was given; frames need driving poses after it"
                )
            return sample_latents(
                self.unet,
                features,
                embeds,
                reference,
                num_frames=num_frames,
                settings=settings,
                generator=generator,
                noise=noise,
                scaling_factor=self.vae.config.scaling_factor,
                callback=self._step_callback(callback_on_step_end),
                progress=progress,
                retiled=retiled,
                share=self._share,
            )

    def decode(self, latents: Float[Tensor, "n 4 h w"], chunk_size: int = 8) -> Iterator[np.ndarray]:
        """Yield the frames of what ``sample`` gave, uint8 (h, w, 3), without slot 0; a chunk is in memory."""
        with self._at_work(self.vae):
            if self._share is None:
                yield from decode_frames(self.vae, latents, chunk_size, skip=1)
                return

            def chunk(part: Tensor, skip: int) -> Iterator[np.ndarray]:
                return decode_frames(self.vae, part, chunk_size, skip)

            yield from self._share.gather_frames(latents, chunk_size, chunk, skip=1)

    @contextmanager
    def _features(
        self, poses: Iterable[np.ndarray | Tensor], size: Size, settings: SamplerSettings
    ) -> Iterator[tuple[FrameFeatures, int]]:
        """Pose features by slot, of a worker's own tiles alone if it has a share; the number of slots."""
        drawn, frames, num_frames = poses, list[int](), 0
        expected = length_hint(poses)
        if self._share is not None:
            if not isinstance(poses, Sequence | np.ndarray | Tensor):
                raise InputError("poses came as a stream; several workers need them in a sequence")
            num_frames = len(poses)
            plan = layout(settings.fusion, num_frames, settings.tile, settings.overlap)
            own = plan.tiles[self._share.part(len(plan.tiles))]
            frames = sorted({0, *(plan.frames[slot] for part in own for slot in part)})
            drawn, expected = (poses[frame] for frame in frames), len(frames)
        with self._at_work(self.pose_net):
            features = compute_pose_features(self.pose_net, drawn, size, num_frames=expected or None)
        with features:
            if self._share is None:
                yield features, len(features)
            else:
                yield PartialFeatures(features, torch.tensor(frames)), num_frames

    def _step_callback(
        self, on_step_end: StepEnd | None
    ) -> Callable[[int, float, Tensor], Tensor | None] | None:
        if on_step_end is None:
            return None

        def callback(step: int, sigma: float, latents: Tensor) -> Tensor | None:
            timestep = c_noise(torch.tensor(sigma))
            return on_step_end(self, step, timestep, {"latents": latents}).get("latents")

        return callback

    def __call__(
        self,
        image: Image | np.ndarray | Tensor,
        poses: Iterable[np.ndarray | Tensor],
        *,
        settings: SamplerSettings | None = None,
        generator: torch.Generator | None = None,
        noise: Float[Tensor, "t 4 h w"] | None = None,
        decode_chunk_size: int = 8,
        output_type: Literal["np", "pt", "latent"] = "np",
        callback_on_step_end: StepEnd | None = None,
        progress: Progress | None = None,
        return_dict: bool = True,
    ) -> MimicMotionOutput | tuple[np.ndarray | Tensor]:
        """Return all frames at once; ``sample`` and ``decode``, in turn, serve long videos.

        Args:
            image: as in ``sample``, like all arguments that are not named here.
            decode_chunk_size: neighbouring frames that are decoded together.
            output_type: ``np`` uint8 (n, h, w, 3), ``pt`` float (n, 3, h, w) in [0, 1], or ``latent``.
            return_dict: whether to return an output object or a tuple of one.
        """
        if output_type not in ("np", "pt", "latent"):
            raise InputError(f"output_type is {output_type!r}; allowed are 'np', 'pt' and 'latent'")
        latents = self.sample(
            image,
            poses,
            settings=settings or SamplerSettings(),
            generator=generator,
            noise=noise,
            callback_on_step_end=callback_on_step_end,
            progress=progress,
        )
        frames: np.ndarray | Tensor = latents
        if output_type != "latent":
            frames = np.stack(list(self.decode(latents, decode_chunk_size)))
        if output_type == "pt":
            frames = torch.as_tensor(frames).permute(0, 3, 1, 2) / 255
        return MimicMotionOutput(frames=frames) if return_dict else (frames,)


def read_guidance(folder: Path) -> dict[str, Any]:
    """Return how the poses of a checkpoint folder are drawn; empty where the folder does not say."""
    path = folder / GUIDANCE_FILE
    if not path.is_file():
        return {}
    guidance: dict[str, Any] = json.loads(path.read_text())
    return guidance


def _picture(image: Image | np.ndarray | Tensor, factor: int) -> Float[Tensor, "3 h w"]:
    """The reference as float in [-1, 1] on the host."""
    if isinstance(image, Image):
        image = np.asarray(image.convert("RGB"))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise InputError(
                f"the reference is an array {image.dtype} of shape {image.shape}; allowed are uint8 RGB "
                "(h, w, 3), a PIL picture, or a float tensor (3, h, w) in [-1, 1]"
            )
        image = torch.from_numpy(image.copy()).permute(2, 0, 1) / 127.5 - 1
    if image.ndim != 3 or len(image) != 3 or not image.is_floating_point():
        raise InputError(
            f"the reference is a tensor {image.dtype} of shape {tuple(image.shape)}; allowed is float "
            "(3, h, w) in [-1, 1]"
        )
    height, width = image.shape[1:]
    if height % factor or width % factor:
        raise InputError(
            f"the reference is {width}x{height} pixels; both sides must be divisible by {factor}: "
            f"e.g. {max(width // factor, 1) * factor}x{max(height // factor, 1) * factor}"
        )
    return image.cpu().float()
