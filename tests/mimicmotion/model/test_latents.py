"""Encoding and decoding in chunks, also when memory is short."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mimicmotion.errors import StageError
from mimicmotion.model.latents import decode_frames, encode_frames, round_trip
from mimicmotion.model.pipeline import MimicMotionPipeline


class Decoder:
    """Shows the index of the frame and the length of its chunk; fits at most ``limit`` frames."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.config = SimpleNamespace(scaling_factor=0.5)
        self.chunks: list[int] = []

    def decode(self, latents: torch.Tensor, num_frames: int) -> SimpleNamespace:
        assert len(latents) == num_frames
        if num_frames > self.limit:
            raise torch.OutOfMemoryError("too much")
        self.chunks.append(num_frames)
        return SimpleNamespace(sample=latents[:, :3].repeat(1, 1, 2, 2))


def frames_of(decoder: Decoder, num: int, chunk_size: int, skip: int = 0) -> list[np.ndarray]:
    values = (torch.arange(num) / 127.5 - 1) * 0.5
    latents = values[:, None, None, None].expand(-1, 4, 2, 2)
    return list(decode_frames(decoder, latents, chunk_size, skip))


@pytest.mark.parametrize("skip", [0, 1, 5])
def test_frames_come_in_order_in_chunks(skip: int) -> None:
    decoder = Decoder(limit=8)
    frames = frames_of(decoder, 10, 4, skip)
    assert decoder.chunks == [4, 4, 2]
    assert [int(frame[0, 0, 0]) for frame in frames] == list(range(skip, 10))
    assert frames[0].shape == (4, 4, 3)
    assert frames[0].dtype == np.uint8


def test_shortage_of_memory_halves_chunks_and_loses_nothing() -> None:
    decoder = Decoder(limit=3)
    frames = frames_of(decoder, 11, 8)
    assert decoder.chunks == [2, 2, 2, 2, 2, 1]
    assert [int(frame[0, 0, 0]) for frame in frames] == list(range(11))
    with pytest.raises(torch.OutOfMemoryError):
        frames_of(Decoder(limit=0), 3, 2)


def test_decoding_is_lazy() -> None:
    decoder = Decoder(limit=8)
    stream = decode_frames(decoder, torch.zeros(100, 4, 2, 2), 4)
    next(stream)
    assert decoder.chunks == [4]


def test_pixels_are_rounded_and_clipped() -> None:
    decoder = Decoder(limit=8)
    values = torch.tensor([-1.2, -1.0, 0.0, 0.999, 3.0]) * 0.5
    frames = list(decode_frames(decoder, values[:, None, None, None].expand(-1, 4, 1, 1)))
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 0, 128, 255, 255]


def test_encoding_gives_the_unscaled_mode_in_float32(small_pipeline: MimicMotionPipeline) -> None:
    vae = small_pipeline.vae
    images = torch.rand(5, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = vae.encode(images).latent_dist.mean
    torch.testing.assert_close(encode_frames(vae, images, chunk_size=2), expected)
    assert expected.shape == (5, 4, 4, 6)

    half = encode_frames(vae.to(torch.float16), images)
    assert vae.dtype == torch.float16
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, atol=1e-2, rtol=1e-2)


def test_a_decoder_that_gives_no_numbers_is_told() -> None:
    latents = torch.full((2, 4, 2, 2), float("nan"))
    with pytest.raises(StageError, match="the decoder of pictures gives: 96 of 96 numbers"):
        list(decode_frames(Decoder(8), latents))


def test_the_round_trip_is_what_decoding_makes_of_the_encoded_frames(
    small_pipeline: MimicMotionPipeline,
) -> None:
    vae = small_pipeline.vae
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3)).astype(np.uint8)
    made = round_trip(vae, frames)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = encode_frames(vae, pixels) * vae.config.scaling_factor
    assert (made.shape, made.dtype) == (frames.shape, np.uint8)
    assert (made == np.stack(list(decode_frames(vae, latents)))).all()


def test_a_vae_in_half_precision_encodes_in_float32_and_without_a_word(
    small_pipeline: MimicMotionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae, pictures = copy.deepcopy(small_pipeline.vae), torch.rand(1, 3, 32, 32) * 2 - 1
    nn.Module.to(vae, torch.float16)
    vae.register_to_config(force_upcast=True)
    weights = vae.encoder.conv_in.weight.clone()
    said: list[str] = []
    monkeypatch.setattr("diffusers.models.modeling_utils.logger.warning", said.append)
    found = encode_frames(vae, pictures)
    assert said == []
    assert found.dtype == torch.float32
    assert vae.dtype == torch.float16
    torch.testing.assert_close(vae.encoder.conv_in.weight, weights)
    torch.testing.assert_close(found, encode_frames(vae.float(), pictures))
