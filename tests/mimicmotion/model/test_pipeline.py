"""The pipeline against the released sampler, and its promises to callers."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.errors import InputError
from mimicmotion.model.pipeline import MimicMotionPipeline

QUICK = SamplerSettings(num_steps=2, tile=4, overlap=2)


def picture(height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def poses(num: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (num, 3, height, width), np.uint8)


@pytest.mark.parametrize("batching", [{}, {"tile_batch_size": 3}, {"guidance_in_one_batch": False}])
def test_golden_sampler(released: SimpleNamespace, batching: dict) -> None:
    told = released.settings
    settings = SamplerSettings(
        num_steps=told["num_inference_steps"],
        guidance_scale=told["guidance_scale"],
        tile=told["tile_size"],
        overlap=told["tile_overlap"],
        fusion="release",
        fps=told["fps"],
        motion_bucket_id=told["motion_bucket_id"],
        noise_aug_strength=told["noise_aug_strength"],
        **batching,
    )
    pipeline = released.pipeline
    latents = pipeline.sample(
        released.image.numpy(), released.pose, settings=settings, noise=released.noise[0]
    )
    torch.testing.assert_close(latents, released.latents[0], atol=1e-3, rtol=0)
    if not batching:
        frames = torch.from_numpy(np.stack(list(pipeline.decode(latents))))
        expected = released.frames[0, 1:].permute(0, 2, 3, 1)
        assert (frames.int() - expected.int()).abs().max() <= 1


def test_one_seed_gives_one_video_and_pictures_come_in_any_form(small_pipeline: MimicMotionPipeline) -> None:
    image, drawn = picture(), poses(7)

    def frames(image: object, seed: int = 0) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        return small_pipeline(image, drawn, settings=QUICK, generator=generator).frames

    first = frames(image)
    assert first.shape == (6, 32, 32, 3)
    assert np.array_equal(frames(Image.fromarray(image)), first)
    assert np.array_equal(frames(torch.from_numpy(image).permute(2, 0, 1) / 127.5 - 1), first)
    assert not np.array_equal(frames(image, seed=1), first)


def test_poses_stream_and_may_be_floats(small_pipeline: MimicMotionPipeline) -> None:
    drawn, noise = poses(6), torch.ones(4, 4, 8, 8)
    floats = torch.from_numpy(drawn) / 127.5 - 1
    results = [
        small_pipeline(picture(), source, settings=QUICK, noise=noise, output_type="latent").frames
        for source in (drawn, floats, (pose for pose in drawn))
    ]
    assert results[0].shape == (6, 4, 8, 8)
    torch.testing.assert_close(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("num", [2, 4, 9])
def test_any_length(small_pipeline: MimicMotionPipeline, num: int) -> None:
    (frames,) = small_pipeline(picture(), poses(num), settings=QUICK, output_type="pt", return_dict=False)
    assert frames.shape == (num - 1, 3, 32, 32)
    assert 0 <= frames.min() < frames.max() <= 1


def test_callback_sees_each_step_and_may_change_latents(small_pipeline: MimicMotionPipeline) -> None:
    seen: list[tuple[int, float]] = []

    def on_step_end(pipe: object, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
        assert pipe is small_pipeline
        seen.append((step, round(float(timestep), 3)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 1 else {}

    done: list[tuple[int, int]] = []
    result = small_pipeline(
        picture(),
        poses(7),
        settings=QUICK,
        output_type="latent",
        callback_on_step_end=on_step_end,
        progress=lambda now, total: done.append((now, total)),
    )
    assert seen == [(0, 1.638), (1, -1.554)]
    assert not result.frames.any()
    assert done == [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]


def test_noise_in_the_reference_reaches_the_result(small_pipeline: MimicMotionPipeline) -> None:
    results = [
        small_pipeline.sample(
            picture(),
            poses(4),
            settings=QUICK.replaced(noise_aug_strength=strength),
            generator=torch.Generator().manual_seed(0),
            noise=torch.ones(4, 4, 8, 8),
        )
        for strength in (0.0, 0.5)
    ]
    assert not torch.allclose(*results)


def test_folder_round_trip_keeps_weights_and_guidance(
    small_pipeline: MimicMotionPipeline, tmp_path: Path
) -> None:
    small_pipeline.guidance = {"use_confidence": False}
    small_pipeline.save_pretrained(tmp_path)
    again = MimicMotionPipeline.from_pretrained(tmp_path)
    assert again.guidance == {"use_confidence": False}
    noise = torch.ones(4, 4, 8, 8)
    results = [p.sample(picture(), poses(5), settings=QUICK, noise=noise) for p in (small_pipeline, again)]
    assert torch.equal(*results)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(small_pipeline: MimicMotionPipeline, dtype: torch.dtype) -> None:
    noise = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    exact = small_pipeline.sample(picture(), poses(5), settings=QUICK, noise=noise)
    half = small_pipeline.to(dtype).sample(picture(), poses(5), settings=QUICK, noise=noise)
    assert half.dtype == torch.float32
    assert (half - exact).abs().max() < 0.05 * exact.abs().max()
    assert len(list(small_pipeline.decode(half))) == 4


def test_offload_keeps_only_the_module_at_work_on_the_device(small_pipeline: MimicMotionPipeline) -> None:
    noise = torch.ones(4, 4, 8, 8)
    plain = small_pipeline(picture(), poses(5), settings=QUICK, noise=noise).frames
    small_pipeline.offload_modules("cpu:0")
    moves: list[tuple[str, str]] = []
    for name in ("image_encoder", "vae", "pose_net", "unet"):
        module = getattr(small_pipeline, name)

        def recorded(device: object, name: str = name, move: object = module.to) -> object:
            moves.append((name, str(device)))
            return move(device)

        module.to = recorded
    assert np.array_equal(small_pipeline(picture(), poses(5), settings=QUICK, noise=noise).frames, plain)
    order = ("image_encoder", "vae", "pose_net", "unet", "vae")
    assert moves == [(name, device) for name in order for device in ("cpu:0", "cpu")]


def test_unusable_inputs_say_what_is_allowed(small_pipeline: MimicMotionPipeline) -> None:
    with pytest.raises(InputError, match=r"30x32 pixels.*divisible by 4.*28x32"):
        small_pipeline(picture(32, 30), poses(3))
    with pytest.raises(InputError, match=r"drawn pose 1 has the shape \(3, 32, 36\)"):
        small_pipeline(picture(), [poses(1)[0], poses(1, 32, 36)[0]])
    with pytest.raises(InputError, match="only the reference's own pose"):
        small_pipeline(picture(), poses(1))
    with pytest.raises(InputError, match="no drawn pose"):
        small_pipeline(picture(), [])
    with pytest.raises(InputError, match="uint8 RGB"):
        small_pipeline(picture().astype(np.float32), poses(3))
    with pytest.raises(InputError, match="'pil'"):
        small_pipeline(picture(), poses(3), output_type="pil")


# torch's compiler imports a module that uses what torch itself deprecates.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
def test_compiling_changes_neither_frames_nor_names(
    small_pipeline: MimicMotionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_with, compiled = torch.compile, list[str]()

    def trace(function: Callable, **how: object) -> Callable:
        """Trace as ever, but run it as it stands: writing kernels takes minutes on a processor."""
        compiled.append(function.__self__.__class__.__name__)
        return compile_with(function, **{**how, "backend": "eager"})

    monkeypatch.setattr(torch, "compile", trace)

    def latents() -> torch.Tensor:
        return small_pipeline.sample(picture(), poses(5), settings=QUICK, noise=torch.ones(4, 4, 8, 8))

    names, plain = list(small_pipeline.unet.state_dict()), latents()
    small_pipeline.compile_unet()
    assert set(compiled) == {"SpatioTemporalResBlock", "TransformerSpatioTemporalModel"}
    torch.testing.assert_close(latents(), plain, rtol=1e-4, atol=1e-4)
    assert list(small_pipeline.unet.state_dict()) == names
