"""The trained network: UNet and PoseNet as one module, so that one wrapper shards or averages both."""

from jaxtyping import Bool, Float
from torch import Tensor, nn


class PosedDenoiser(nn.Module):
    """Raw network output for noised latents under a pose; what the loss trains and the EMA follows.

    Args:
        unet: a ``PoseUNet``.
        pose_net: a ``PoseNet``.
    """

    def __init__(self, unet: nn.Module, pose_net: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.pose_net = pose_net

    def forward(
        self,
        sample: Float[Tensor, "b f d h w"],
        timestep: Float[Tensor, " b"],
        image_embeds: Float[Tensor, "b 1 d"],
        added_time_ids: Float[Tensor, "b 3"],
        pose_images: Float[Tensor, "b f 3 H W"],
        dropped: Bool[Tensor, " b"],
    ) -> Float[Tensor, "b f c h w"]:
        """Return the raw output, before any preconditioning.

        Args:
            sample: scaled noised latents and reference latents, joined on channels.
            timestep: c_noise, which is ln(sigma) / 4.
            image_embeds: embedding of the reference picture.
            added_time_ids: fps - 1, motion bucket, noise augmentation.
            pose_images: drawn guidance in [-1, 1].
            dropped: samples that see no pose. Their pose features become zero, which to the UNet is the
                same as no pose at all.
        """
        features = self.pose_net(pose_images.flatten(0, 1))
        gone = dropped.repeat_interleave(sample.shape[1])
        features = features.masked_fill(gone[:, None, None, None], 0)
        output: Tensor = self.unet(
            sample, timestep, image_embeds, added_time_ids, pose_latents=features, return_dict=False
        )[0]
        return output
