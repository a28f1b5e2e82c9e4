from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from mimicmotion.training.data.batch import Encoders, collate, loss_inputs, pinned
from mimicmotion.training.data.samples import Draw, make_sample

CPU = torch.device("cpu")


def means(pictures):
    """Latents that are the means of 8x8 pixels, so that what was encoded can be told."""
    pooled = torch.nn.functional.avg_pool2d(pictures, 8)
    return torch.cat([pooled, pooled[:, :1]], dim=1)


ENCODERS = Encoders(
    latents=means,
    embeddings=lambda pictures: pictures.mean((2, 3))[:, None],
    pictures=lambda latents: latents.numpy(),
    scale=0.5,
    channels=4,
)


@pytest.fixture
def samples(clips, recipe):
    draws = [Draw((2, 4, 6), 9, 1.5, 0.0, False, noise_seed=n) for n in range(2)]
    return [make_sample(clip, drawn, recipe) for clip, drawn in zip(clips, draws, strict=True)]


def test_pictures_become_scaled_latents_and_an_unscaled_reference(samples):
    inputs = loss_inputs(collate(samples, 4), ENCODERS, CPU, fps=7, motion_bucket=127)
    picture = samples[1].frames[0].astype(np.float32) / 127.5 - 1
    corner = picture[:8, :8].mean((0, 1))
    np.testing.assert_allclose(inputs["reference_latents"][1, :3, 0, 0], corner, atol=1e-6)
    np.testing.assert_allclose(inputs["latents"][1, 0, :3, 0, 0], corner * 0.5, atol=1e-6)
    np.testing.assert_allclose(inputs["image_embeds"][1, 0], picture.mean((0, 1)), atol=1e-4)
    assert inputs["pose_images"].min() == -1
    assert inputs["pose_images"].max() > 0
    assert inputs["time_ids"].tolist() == [[6, 127, 0], [6, 127, 0]]


def test_noise_on_the_reference_is_encoded_and_named_but_not_seen_by_the_embedding(samples):
    noisy = [
        replace(sample, draw=replace(sample.draw, reference_noise=0.5 * n))
        for n, sample in enumerate(samples)
    ]
    clean = loss_inputs(collate(samples, 4), ENCODERS, CPU, 7, 127)
    inputs = loss_inputs(collate(noisy, 4), ENCODERS, CPU, 7, 127)
    assert inputs["time_ids"][:, 2].tolist() == [0.0, 0.5]
    assert torch.equal(inputs["reference_latents"][0], clean["reference_latents"][0])
    # Means of 64 pixels of noise 0.5.
    spread = (inputs["reference_latents"][1] - clean["reference_latents"][1]).std()
    assert spread == pytest.approx(0.5 / 8, rel=0.2)
    for name in ("latents", "image_embeds", "noise"):
        assert torch.equal(inputs[name], clean[name])


def test_noise_belongs_to_the_sample_and_not_to_its_batch(samples):
    both, alone = (
        loss_inputs(collate(some, 4), ENCODERS, CPU, 7, 127)["noise"] for some in (samples, samples[1:])
    )
    assert torch.equal(both[1], alone[0])
    assert both.shape == (2, 4, 4, 8, 8)
    assert both.std() == pytest.approx(1.0, abs=0.05)
    assert not torch.equal(both[0], both[1])


def test_noise_is_drawn_with_the_batch_and_for_pictures_only_where_they_are_noised(samples):
    batch = collate(samples, 4)
    assert torch.equal(loss_inputs(batch, ENCODERS, CPU, 7, 127)["noise"], batch.noise)
    first = np.random.default_rng([1, 0]).standard_normal((4, 4, 8, 8), dtype=np.float32)
    np.testing.assert_array_equal(batch.noise[1], first)
    assert batch.pixel_noise is None
    noisy = [replace(sample, draw=replace(sample.draw, reference_noise=0.02)) for sample in samples]
    on_pixels = np.random.default_rng([1, 1]).standard_normal((3, 64, 64), dtype=np.float32)
    np.testing.assert_array_equal(collate(noisy, 4).pixel_noise[1], on_pixels)


def test_everything_is_pinned_for_a_gpu_and_nothing_for_a_cpu(samples, monkeypatch):
    batch = collate(samples, 4)
    assert pinned(batch, CPU) is batch
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    moved = pinned(batch, torch.device("cuda", 0))
    assert moved.clip_ids == batch.clip_ids
    assert moved.latents is None
    for name in ("frames", "poses", "hand_weights", "face_weights", "sigma", "reference_noise", "noise"):
        assert torch.equal(getattr(moved, name), getattr(batch, name) + 1)


def test_stored_latents_take_the_place_of_pictures(samples):
    from_pictures = loss_inputs(collate(samples, 4), ENCODERS, CPU, 7, 127)

    def stored(sample):
        pictures = torch.from_numpy(sample.frames).permute(0, 3, 1, 2) / 127.5 - 1
        return replace(
            sample,
            frames=None,
            latents=means(pictures).half().numpy(),
            image_embedding=ENCODERS.embeddings(pictures[:1])[0].half().numpy(),
        )

    inputs = loss_inputs(collate([stored(sample) for sample in samples], 4), ENCODERS, CPU, 7, 127)
    for name, expected in from_pictures.items():
        torch.testing.assert_close(inputs[name], expected, atol=1e-3, rtol=0)
