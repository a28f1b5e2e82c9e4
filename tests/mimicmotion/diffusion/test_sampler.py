"""The tiled sampler with a network that is known in closed form and counts its calls."""

import pytest
import torch
from torch import nn

from mimicmotion.diffusion.sampler import sample_latents
from mimicmotion.diffusion.sampling import sigmas_of
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.errors import InputError, StageError

SETTINGS = SamplerSettings(num_steps=3, tile=4, overlap=2, guidance_scale=1.0)


class Network(nn.Module):
    """Raw output = weight * (what it sees of the pose + reference + embedding); remembers its calls."""

    def __init__(self, limit: int = 1000) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.limit = limit
        self.calls: list[int] = []
        self.time_ids: torch.Tensor | None = None

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        embeds: torch.Tensor,
        time_ids: torch.Tensor,
        pose_latents: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> tuple[torch.Tensor]:
        batch, slots = sample.shape[:2]
        if batch > self.limit:
            raise torch.OutOfMemoryError("too much")
        self.calls.append(batch)
        self.time_ids = time_ids
        seen = sample[:, :, 4:] + embeds.sum(dim=(1, 2))[:, None, None, None, None]
        if pose_latents is not None:
            seen = seen + pose_latents.unflatten(0, (batch, slots))
        return (self.weight * seen,)


def run(
    network: Network, settings: SamplerSettings, num_frames: int = 9, pose: float | None = 1.0, **more: object
) -> torch.Tensor:
    features = None if pose is None else torch.full((num_frames, 4, 2, 2), pose)
    if pose is not None:
        features *= torch.arange(num_frames)[:, None, None, None]
    return sample_latents(
        network,
        features,
        torch.full((1, 1, 3), 0.1),
        torch.full((4, 2, 2), 0.2),
        num_frames=num_frames,
        settings=settings,
        noise=torch.zeros(4, 4, 2, 2),
        **more,
    )


@pytest.mark.parametrize("fusion", ["progressive", "release", "uniform", "first", "none"])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 9])
def test_tiles_that_agree_fuse_to_what_they_agree_on(fusion: str, num_frames: int) -> None:
    """From zero noise, each frame's path depends on its own pose alone, whatever tile it is in."""
    whole = run(Network(), SETTINGS.replaced(tile=20, overlap=0), num_frames)
    tiled = run(Network(), SETTINGS.replaced(fusion=fusion), num_frames)
    torch.testing.assert_close(tiled, whole)
    assert tiled.shape == (num_frames, 4, 2, 2)


class Small(Network):
    """Has memory for few slots at a time."""

    def forward(self, sample: torch.Tensor, *args: object, **more: object) -> tuple[torch.Tensor]:
        if sample.shape[1] > 10:
            raise torch.OutOfMemoryError("too much")
        return super().forward(sample, *args, **more)


def test_a_tile_becomes_smaller_for_want_of_memory_alone_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wide = SETTINGS.replaced(tile=36, overlap=6)
    expected = run(Network(), wide, 30)
    assert not caplog.text
    told = list[SamplerSettings]()
    torch.testing.assert_close(run(Small(), wide.replaced(tile=20), 30, retiled=told.append), expected)
    assert [(one.tile, one.overlap) for one in told] == [(10, 5)]
    assert "memory ran out with tiles of 20 slots: all begins anew with 10, and more joins" in caplog.text
    with pytest.raises(torch.OutOfMemoryError):  # as where other workers would wait
        run(Small(), wide.replaced(tile=20), 30, retiles=False)
    with pytest.raises(torch.OutOfMemoryError):
        run(Small(), wide, 22)  # half of 22 slots is still too much, and half of that too little
    assert wide.smaller_tile(100).tile == 18
    assert wide.smaller_tile(15) is None


class Mixing(Network):
    """Every slot sees the mean of its tile, as temporal attention lets it."""

    def forward(self, sample: torch.Tensor, *args: object, **more: object) -> tuple[torch.Tensor]:
        (seen,) = super().forward(sample, *args, **more)
        return (seen + sample[:, :, :4].mean(1, keepdim=True),)


def test_without_fusion_each_segment_is_what_it_is_alone_and_shared_slots_change_that() -> None:
    noise = torch.randn(9, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    features = torch.randn(9, 4, 2, 2, generator=torch.Generator().manual_seed(1))

    def made(fusion: str, frames: list[int]) -> torch.Tensor:
        return sample_latents(
            Mixing(),
            features[frames],
            torch.full((1, 1, 3), 0.1),
            torch.full((4, 2, 2), 0.2),
            num_frames=len(frames),
            settings=SETTINGS.replaced(fusion=fusion),
            noise=noise[frames],
        )

    alone = [made("none", [0, *frames])[1:] for frames in ([1, 2, 3], [4, 5, 6], [6, 7, 8])]
    expected = torch.cat([alone[0], alone[1], alone[2][1:]])
    torch.testing.assert_close(made("none", [*range(9)])[1:], expected)
    assert (made("first", [*range(9)])[1:] - expected).abs().max() > 0.01


def test_no_unconditional_pass_without_guidance() -> None:
    for guidance, batches in ((1.0, [1]), (0.5, [1]), (2.0, [2])):
        network = Network()
        run(network, SETTINGS.replaced(guidance_scale=guidance), 4)
        assert network.calls == batches * 3


def test_tiles_and_branches_in_batches() -> None:
    guided = SETTINGS.replaced(guidance_scale=2.0)
    expected = run(Network(), guided)
    for changes, calls in (
        ({"tile_batch_size": 3}, [6, 2]),
        ({"tile_batch_size": 9}, [8]),
        ({"guidance_in_one_batch": False}, [1] * 8),
        ({"guidance_in_one_batch": False, "tile_batch_size": 2}, [2] * 4),
    ):
        network = Network()
        torch.testing.assert_close(run(network, guided.replaced(**changes)), expected)
        assert network.calls == calls * 3


def test_no_constant_is_brought_to_the_device_between_network_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of one would make the host wait for the GPU, which then waits for the host."""

    class Calling(Network):
        def forward(self, *arguments: object, **more: object) -> tuple[torch.Tensor]:
            monkeypatch.setattr(torch, "tensor", None)
            return super().forward(*arguments, **more)

    network = Calling()
    run(network, SETTINGS.replaced(guidance_scale=2.0))
    assert len(network.calls) == 12


def test_guidance_scales_what_is_seen_and_drops_everything() -> None:
    """One step from zero noise gives -raw; the unconditional branch sees nothing, so raw = scale * seen."""
    settings = SETTINGS.replaced(num_steps=1, guidance_scale=3.0, sigma_max=1e6)
    latents = run(Network(), settings, num_frames=9, pose=2.0)
    seen = 0.2 + 0.3 + 2.0 * torch.arange(9)
    torch.testing.assert_close(latents[:, 0, 0, 0], -seen * 3)


def test_guidance_only_between_two_noise_levels() -> None:
    network = Network()
    guided = SETTINGS.replaced(guidance_scale=2.0, guidance_sigmas=(1.0, 100.0))
    assert [guided.guided(sigma) for sigma in sigmas_of(guided)] == [False, True, False, False]
    run(network, guided, 4)
    assert network.calls == [1, 2, 1]


def test_fast_preset_needs_far_fewer_evaluations() -> None:
    def evaluations(settings: SamplerSettings) -> int:
        network = Network()
        run(network, settings.replaced(tile=4, overlap=2), 4)
        return sum(network.calls)

    released = SamplerSettings()
    assert evaluations(released) == 50
    assert evaluations(released.fast()) == 12
    single = released.replaced(num_steps=10, guidance_scale=1.0)
    assert (evaluations(single), evaluations(single.fast())) == (10, 3)
    assert released.replaced(num_steps=1).fast().num_steps == 1


def test_network_is_told_fps_minus_one_bucket_and_noise_in_this_order() -> None:
    network = Network()
    run(network, SETTINGS.replaced(fps=8, motion_bucket_id=100, noise_aug_strength=0.5), 4)
    assert network.time_ids is not None
    assert network.time_ids.tolist() == [[7.0, 100.0, 0.5]]


def test_pose_strength_scales_features() -> None:
    half = run(Network(), SETTINGS.replaced(pose_strength=0.5), pose=2.0)
    torch.testing.assert_close(half, run(Network(), SETTINGS, pose=1.0))
    none = run(Network(), SETTINGS.replaced(pose_strength=0.0), pose=2.0)
    torch.testing.assert_close(none, run(Network(), SETTINGS, pose=None))


def test_shortage_of_memory_makes_calls_smaller() -> None:
    guided = SETTINGS.replaced(guidance_scale=2.0, tile_batch_size=4)
    network = Network(limit=1)
    torch.testing.assert_close(run(network, guided), run(Network(), guided))
    assert network.calls == [1] * 24
    with pytest.raises(torch.OutOfMemoryError):
        run(Network(limit=0), guided)


def test_other_errors_are_not_taken_for_a_shortage_of_memory() -> None:
    class Broken(Network):
        def forward(self, *arguments: object, **more: object) -> tuple[torch.Tensor]:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        run(Broken(), SETTINGS.replaced(tile_batch_size=4))


def test_progress_counts_tiles_and_callback_steps() -> None:
    done: list[tuple[int, int]] = []
    steps: list[int] = []
    run(
        Network(),
        SETTINGS.replaced(tile_batch_size=3),
        progress=lambda now, total: done.append((now, total)),
        callback=lambda step, sigma, latents: steps.append(step),
    )
    assert done == [(3, 12), (4, 12), (7, 12), (8, 12), (11, 12), (12, 12)]
    assert steps == [0, 1, 2]


def test_generator_decides_and_impossible_settings_say_so() -> None:
    def sample(seed: int) -> torch.Tensor:
        return sample_latents(
            Network(),
            None,
            torch.zeros(1, 1, 3),
            torch.zeros(4, 2, 2),
            num_frames=5,
            settings=SETTINGS,
            generator=torch.Generator().manual_seed(seed),
        )

    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))
    with pytest.raises(InputError, match="tile_batch_size is 0"):
        run(Network(), SETTINGS.replaced(tile_batch_size=0))
    with pytest.raises(InputError, match="overlap 4"):
        run(Network(), SETTINGS.replaced(overlap=4))


def test_ten_thousand_frames() -> None:
    settings = SETTINGS.replaced(num_steps=1, tile=16, overlap=4, tile_batch_size=8)
    latents = run(Network(), settings, num_frames=10_000, pose=1e-3)
    expected = -(0.5 + 1e-3 * torch.arange(10_000))
    torch.testing.assert_close(latents[:, 0, 0, 0], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("wrong", [float("inf"), float("nan")])
def test_numbers_that_are_none_stop_with_a_sentence(wrong: float) -> None:
    network = Network()
    network.weight.data.fill_(wrong)
    with pytest.raises(StageError, match=r"in step 1 of 3: \d+ of 144 numbers are infinite.*bfloat16"):
        run(network, SETTINGS)
