"""From noise to latents of a whole video: tiles, guidance, fusion and Euler's method.

Buffers live on the latents of the video and never per tile. Nothing is computed twice: pose features and
embeddings come in ready, and there is no unconditional pass where guidance would not change the result.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mimicmotion.diffusion import edm, sampling
from mimicmotion.diffusion.fusion import fusion_weights, layout
from mimicmotion.diffusion.memory import is_out_of_memory
from mimicmotion.diffusion.numbers import check_finite
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.diffusion.spread import Share
from mimicmotion.errors import InputError

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called after each network call with (tiles done, tiles of the whole run), both of this worker alone."""

Retiled = Callable[[SamplerSettings], None]
"""Called with the settings of a smaller tile where memory ran out, before all begins anew with them."""


class FrameFeatures(Protocol):
    """Pose features by frame, wherever they lie; a tensor (n, c, h, w) is one too."""

    def __getitem__(self, frames: Int[Tensor, " k"], /) -> Float[Tensor, "k c h w"]:
        """Return the features of these frames."""


@torch.no_grad()
def sample_latents(
    unet: nn.Module,
    pose_latents: Float[Tensor, "n c h w"] | FrameFeatures | None,
    image_embeds: Float[Tensor, "1 1 d"],
    reference_latents: Float[Tensor, "4 h w"],
    *,
    num_frames: int,
    settings: SamplerSettings,
    generator: torch.Generator | None = None,
    noise: Float[Tensor, "t 4 h w"] | None = None,
    scaling_factor: float = 0.18215,
    callback: sampling.Callback | None = None,
    progress: Progress | None = None,
    retiled: Retiled | None = None,
    retiles: bool = True,
    share: Share | None = None,
) -> Float[Tensor, "n 4 h w"]:
    """Return denoised latents (num_frames, 4, h, w) times the scaling factor, float32, slot 0 among them.

    The picture of slot 0, the reference, is usually thrown away.

    Args:
        unet: a ``PoseUNet``, compiled or not; its dtype and device are those of the work.
        pose_latents: PoseNet's features of all slots, the reference's own pose in slot 0; None for no pose.
        image_embeds: embedding of the reference.
        reference_latents: mode of the posterior of the reference, not scaled.
        num_frames: slots of the video, slot 0 included.
        settings: how to sample.
        generator: source of the starting noise.
        noise: unit starting noise of one tile or of the video, in place of the generator.
        scaling_factor: the VAE's; what the noise prior ``reference`` scales the reference with.
        callback: called after each step, with copies of slots behind the video's where segments have them.
        progress: called after each network call.
        retiled: called where the tile becomes smaller.
        retiles: begin anew with a smaller tile where memory runs out.
        share: this worker's part where several make one video; None alone. All of them start from the same
            noise, and all get the result.

    Raises:
        InputError: settings that cannot be used.
        RuntimeError, MemoryError: memory runs out even with the smallest tile; see ``smaller_tile``.
    """
    first = next(unet.parameters())
    reference = reference_latents.to(first.device, first.dtype)
    if noise is None:
        noise = sampling.initial_noise(
            settings.noise,
            num_frames,
            settings.tile,
            reference.shape,
            generator=generator,
            device=first.device,
            reference=reference * scaling_factor,
        )
    else:
        noise = sampling.repeat_noise(noise.to(first.device, torch.float32), num_frames)
    sigmas = sampling.sigmas_of(settings)
    while True:
        run = TiledDenoiser(
            unet, pose_latents, image_embeds, reference, num_frames, settings, progress, share
        )
        try:
            begun = sampling.start(noise[run.frames], sigmas)
            return sampling.euler(run, begun, sigmas, callback)[:num_frames]
        except (RuntimeError, MemoryError) as error:
            smaller = settings.smaller_tile(num_frames)
            # Workers that share a video would wait for each other's tiles.
            if share is not None or not retiles or smaller is None or not is_out_of_memory(error):
                raise
        log.warning(
            "memory ran out with tiles of %d slots: all begins anew with %d, and more joins; --tile %d takes "
            "them at once",
            settings.tile,
            smaller.tile,
            smaller.tile,
        )
        settings = smaller
        if retiled is not None:
            retiled(settings)


class TiledDenoiser:
    """Denoised latents of a whole video from a network that sees one tile at a time."""

    def __init__(
        self,
        unet: nn.Module,
        pose_latents: Float[Tensor, "n c h w"] | FrameFeatures | None,
        image_embeds: Float[Tensor, "1 1 d"],
        reference_latents: Float[Tensor, "4 h w"],
        num_frames: int,
        settings: SamplerSettings,
        progress: Progress | None = None,
        share: Share | None = None,
    ) -> None:
        first = next(unet.parameters())
        self.unet, self.settings, self.progress, self.share = unet, settings, progress, share
        self.dtype, self.device = first.dtype, first.device
        self.pose_latents = pose_latents
        self.image_embeds = image_embeds.to(first.device, first.dtype)
        self.reference = reference_latents
        strength = torch.tensor([settings.noise_aug_strength], device=first.device, dtype=first.dtype)
        self.time_ids = edm.added_time_ids(settings.fps, settings.motion_bucket_id, strength)
        plan = layout(settings.fusion, num_frames, settings.tile, settings.overlap)
        parts, self.frames = plan.tiles, torch.tensor(plan.frames)
        own = slice(None) if share is None else share.part(len(parts))
        # On the host to look up features, which may lie there; on the device for all else.
        self.tiles = torch.tensor(parts)[own]
        self._tiles_there = self.tiles.to(first.device)
        self.weights = fusion_weights(settings.fusion, parts, len(plan.frames))[own].to(first.device)
        self.guidance_scale = settings.guidance_scale
        self.batch_size, self.joint = settings.tile_batch_size, settings.guidance_in_one_batch
        if self.batch_size < 1:
            raise InputError(f"tile_batch_size is {self.batch_size}; allowed are 1 and more")

    def __call__(self, noisy: Float[Tensor, "n 4 h w"], sigma: float, step: int) -> Float[Tensor, "n 4 h w"]:
        """Return denoised latents of all slots."""
        level = torch.full((1,), sigma, device=self.device)
        guided = self.settings.guided(sigma)
        raw = torch.zeros_like(noisy)
        for where, output in self._outputs(noisy, level, guided):
            # Tiles of a call may share frames, so they are added one by one.
            for tile in range(len(output)):
                index = self._tiles_there[where][tile]
                raw.index_add_(0, index, output[tile] * self.weights[where][tile, :, None, None, None])
            if self.progress is not None:
                done = step * len(self.tiles) + where.stop
                self.progress(done, self.settings.num_steps * len(self.tiles))
        if self.share is not None:
            self.share.sum_(raw)
        check_finite(raw, f"what the network gives in step {step + 1} of {self.settings.num_steps}")
        return edm.denoised(raw, noisy, level)

    def _outputs(
        self, noisy: Float[Tensor, "n 4 h w"], sigma: Float[Tensor, "1"], guided: bool
    ) -> Iterator[tuple[slice, Float[Tensor, "b t 4 h w"]]]:
        """Yield raw outputs by batches of tiles; smaller batches from the first shortage of memory on."""
        begin = 0
        while begin < len(self.tiles):
            where = slice(begin, min(begin + self.batch_size, len(self.tiles)))
            try:
                output = self._output(noisy, sigma, where, guided)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self._shrink(guided):
                    raise
                continue
            yield where, output
            begin = where.stop

    def _shrink(self, guided: bool) -> bool:
        """Make network calls smaller; whether that was possible."""
        if self.batch_size > 1:
            self.batch_size //= 2
        elif self.joint and guided:
            self.joint = False
        else:
            return False
        return True

    def _output(
        self,
        noisy: Float[Tensor, "n 4 h w"],
        sigma: Float[Tensor, "1"],
        where: slice,
        guided: bool,
    ) -> Float[Tensor, "b t 4 h w"]:
        """Return the raw output of some tiles, float32, with guidance where it applies."""
        index = self._tiles_there[where]
        scaled = (noisy[index] * edm.c_in(sigma)).to(self.dtype)
        timestep = edm.c_noise(sigma)
        features = self._features(self.tiles[where])
        if not guided:
            return self._network(scaled, timestep, features, (True,))
        if self.joint:
            without, posed = self._network(scaled, timestep, features, (False, True)).chunk(2)
        else:
            without = self._network(scaled, timestep, None, (False,))
            posed = self._network(scaled, timestep, features, (True,))
        return torch.lerp(without, posed, self.guidance_scale)

    def _features(self, slots: Int[Tensor, "b t"]) -> Float[Tensor, "bt c h w"] | None:
        if self.pose_latents is None:
            return None
        features = self.pose_latents[self.frames[slots.flatten()]].to(self.device, self.dtype)
        strength = self.settings.pose_strength
        return features if strength == 1 else features * strength

    def _network(
        self,
        scaled: Float[Tensor, "b t 4 h w"],
        timestep: Float[Tensor, "1"],
        features: Float[Tensor, "bt c h w"] | None,
        branches: tuple[bool, ...],
    ) -> Float[Tensor, "_ t 4 h w"]:
        """Return the raw output, float32, of one branch after another.

        True is the conditional branch. The other one sees neither embedding, nor reference, nor pose.
        """
        # Filled on the device: a copy of a constant from the host would wait for all work before it.
        on = torch.cat([scaled.new_full((len(scaled),), float(branch)) for branch in branches])
        reference = self.reference * on[:, None, None, None]
        sample = torch.cat(
            [
                scaled.repeat(len(branches), 1, 1, 1, 1),
                reference[:, None].expand(-1, scaled.shape[1], -1, -1, -1),
            ],
            dim=2,
        )
        if features is not None and len(branches) > 1:
            features = torch.cat([features if branch else torch.zeros_like(features) for branch in branches])
        output: Tensor = self.unet(
            sample,
            timestep,
            self.image_embeds * on[:, None, None],
            self.time_ids.expand(len(on), -1),
            pose_latents=features,
            return_dict=False,
        )[0]
        return output.float()
