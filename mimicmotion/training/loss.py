"""The training loss: SVD's EDM objective as a plain MSE on the raw output, weighted in the boxes of hands.

The EDM weight times c_out squared is one (see ``diffusion/edm.py``), so the weighted loss on the denoised
latents equals an unweighted one on what the network puts out: cheaper, and nothing
is divided by a tiny sigma.

Slot 0 counts like every other frame. The sampler throws its picture away, but it denoises slot 0 together
with the others, and their temporal layers read it at every step: untrained it would drift into what the
other frames never saw.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mimicmotion.diffusion.edm import add_noise, c_in, c_noise, raw_target

Denoiser = Callable[..., Tensor]
"""``PosedDenoiser``, or the same wrapped for distributed training."""

RawOutput = Callable[[Denoiser, Tensor, Tensor, Tensor], Tensor]
"""Raw output of a network for (noisy latents, sigma, dropped) under the conditions of one batch, float32."""


class Teacher(Protocol):
    """Gives what the network shall put out in place of what denoises exactly; see ``distillation.py``."""

    def target(
        self, student: Denoiser, raw_output: RawOutput, noisy: Tensor, sigma: Tensor, dropped: Tensor, /
    ) -> Tensor:
        """Return the raw output to learn."""


@dataclass(frozen=True)
class LossParts:
    """What one batch cost.

    Attributes:
        total: mean of the weighted squared error; the only part with a gradient.
        per_sample: mean squared error of each sample, without hand weights.
        inside_hands: sum of squared errors, and number of values, in the boxes of hands.
        outside_hands: the same for the rest.
    """

    total: Float[Tensor, ""]
    per_sample: Float[Tensor, " b"]
    inside_hands: Float[Tensor, "2"]
    outside_hands: Float[Tensor, "2"]


def denoising_loss(
    network: Denoiser,
    *,
    latents: Float[Tensor, "b f c h w"],
    reference_latents: Float[Tensor, "b c h w"],
    pose_images: Float[Tensor, "b f 3 H W"],
    image_embeds: Float[Tensor, "b 1 d"],
    time_ids: Float[Tensor, "b 3"],
    sigma: Float[Tensor, " b"],
    noise: Float[Tensor, "b f c h w"],
    dropped: Bool[Tensor, " b"],
    hand_weights: Float[Tensor, "b f h w"] | None = None,
    face_weights: Float[Tensor, "b f h w"] | None = None,
    hand_cells: Bool[Tensor, "b f h w"] | None = None,
    teacher: Teacher | None = None,
) -> LossParts:
    """Return the loss of one batch.

    Args:
        network: gives the raw output; see ``PosedDenoiser.forward``.
        latents: clean latents times the VAE's scaling factor; slot 0 is the reference.
        reference_latents: mode of the VAE posterior of the (noised) reference, not scaled.
        pose_images: drawn guidance in [-1, 1].
        image_embeds: embedding of the clean reference.
        time_ids: see ``added_time_ids``.
        sigma: noise level of each sample.
        noise: standard normal.
        dropped: samples that see neither image embedding, nor reference latents, nor pose, as the
            unconditional pass of inference does: the three go together.
        hand_weights: see ``hand_weight_map``; none for the plain loss.
        face_weights: see ``face_weight_map``; a cell in both boxes takes the larger weight.
        hand_cells: cells that are measured as hands; none for those that weigh more.
        teacher: what says the target; none for the output that denoises exactly.
    """

    def raw_output(asked: Denoiser, noisy: Tensor, sigma: Tensor, gone: Tensor) -> Tensor:
        reference = reference_latents.masked_fill(gone[:, None, None, None], 0)
        return asked(
            torch.cat(
                [
                    noisy * c_in(sigma)[:, None, None, None, None],
                    reference[:, None].expand(-1, noisy.shape[1], -1, -1, -1),
                ],
                dim=2,
            ),
            c_noise(sigma),
            image_embeds.masked_fill(gone[:, None, None], 0),
            time_ids,
            pose_images,
            gone,
        ).float()

    noisy = add_noise(latents, noise, sigma)
    if teacher is None:
        target = raw_target(latents, noise, sigma)
    else:
        target = teacher.target(network, raw_output, noisy, sigma, dropped)
    error = (raw_output(network, noisy, sigma, dropped) - target) ** 2
    if hand_weights is None:
        hand_weights = torch.ones_like(error[:, :, 0])
    weights = hand_weights if face_weights is None else torch.maximum(hand_weights, face_weights)
    if hand_cells is None:
        hand_cells = hand_weights > 1
    return _parts(error, weights[:, :, None], hand_cells[:, :, None])


def _parts(
    error: Float[Tensor, "b f c h w"],
    weights: Float[Tensor, "b f 1 h w"],
    in_hands: Bool[Tensor, "b f 1 h w"],
) -> LossParts:
    seen = error.detach()
    hands = in_hands.expand_as(seen)
    # Sums of selected values would make the host wait for the GPU; sums of all values do not.
    return LossParts(
        total=(error * weights).mean(),
        per_sample=seen.mean(dim=(1, 2, 3, 4)),
        inside_hands=torch.stack([torch.where(hands, seen, 0).sum(), hands.sum()]),
        outside_hands=torch.stack([torch.where(hands, 0, seen).sum(), (~hands).sum()]),
    )
