"""The resize against the function of diffusers' SVD pipeline; batches."""

from types import SimpleNamespace

import pytest
import torch
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import (
    _resize_with_antialiasing,
)

from mimicmotion.model.embedding import embed_images, resize_antialiased
from mimicmotion.video.size import Size


@pytest.mark.parametrize("size", [(128, 64), (224, 224), (37, 900), (2, 3), (500, 300)])
def test_resize_equals_upstream(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = _resize_with_antialiasing(images, Size(224, 224))
    torch.testing.assert_close(resize_antialiased(images, Size(224, 224)), expected, atol=1e-5, rtol=0)


def test_width_and_height_are_not_mixed_up() -> None:
    images = torch.rand(1, 3, 90, 70, generator=torch.Generator().manual_seed(0))
    expected = _resize_with_antialiasing(images, (32, 64))
    torch.testing.assert_close(resize_antialiased(images, Size(64, 32)), expected, atol=1e-5, rtol=0)


def test_golden_embedding_alone_and_in_a_batch(released: SimpleNamespace) -> None:
    image = released.image.permute(2, 0, 1) / 127.5 - 1
    pipeline = released.pipeline
    images = torch.stack([torch.zeros_like(image), image])
    embeds = embed_images(images, pipeline.image_encoder, pipeline.feature_extractor)
    assert embeds.shape == (2, 1, 16)
    torch.testing.assert_close(embeds[1:], released.image_embeds, atol=1e-4, rtol=0)
