import pytest
import torch

from mimicmotion.diffusion.edm import added_time_ids, raw_target
from mimicmotion.training.loss import denoising_loss

B, F, H, W = 3, 4, 6, 5


class Recorder:
    """A network that keeps what it was given and answers with a fixed tensor."""

    def __init__(self, output):
        self.output = output

    def __call__(self, sample, timestep, image_embeds, time_ids, pose_images, dropped):
        self.sample, self.timestep, self.image_embeds = sample, timestep, image_embeds
        self.time_ids, self.dropped = time_ids, dropped
        return self.output


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "latents": normal(B, F, 4, H, W),
        "reference_latents": normal(B, 4, H, W),
        "pose_images": normal(B, F, 3, H * 8, W * 8),
        "image_embeds": normal(B, 1, 7),
        "time_ids": added_time_ids(7, 127, torch.tensor([0.0, 0.02, 0.05])),
        "sigma": torch.tensor([0.002, 1.5, 600.0], dtype=torch.float64),
        "noise": normal(B, F, 4, H, W),
        "dropped": torch.zeros(B, dtype=torch.bool),
    }


def test_it_equals_the_edm_weighted_loss_on_the_denoised_latents(batch):
    output = torch.randn(B, F, 4, H, W, dtype=torch.float64)
    s = batch["sigma"][:, None, None, None, None]
    noised = batch["latents"] + s * batch["noise"]
    denoised = noised / (s**2 + 1) + output * -s / (s**2 + 1) ** 0.5
    edm = ((s**2 + 1) / s**2 * (denoised - batch["latents"]) ** 2).mean()

    # The loss compares in float32, which is why the agreement is not to the last of the 64 bits.
    parts = denoising_loss(Recorder(output), **batch)
    torch.testing.assert_close(parts.total, edm, rtol=1e-6, atol=0)


def test_the_target_as_output_costs_nothing(batch):
    target = raw_target(batch["latents"], batch["noise"], batch["sigma"])
    assert denoising_loss(Recorder(target), **batch).total < 1e-9


def test_only_the_noised_half_is_scaled_and_the_timestep_is_c_noise(batch):
    network = Recorder(torch.zeros(B, F, 4, H, W))
    denoising_loss(network, **batch)
    s = batch["sigma"][:, None, None, None, None]
    noised = batch["latents"] + s * batch["noise"]
    torch.testing.assert_close(network.sample[:, :, :4], noised / (s**2 + 1) ** 0.5)
    for frame in range(F):
        assert torch.equal(network.sample[:, frame, 4:], batch["reference_latents"])
    torch.testing.assert_close(network.timestep, batch["sigma"].log() / 4)


def test_ids_stand_in_the_order_svd_was_trained_with(batch):
    network = Recorder(torch.zeros(B, F, 4, H, W))
    denoising_loss(network, **batch)
    torch.testing.assert_close(network.time_ids, torch.tensor([[6, 127, 0], [6, 127, 0.02], [6, 127, 0.05]]))


def test_a_dropped_sample_loses_all_its_conditions_together(batch):
    network = Recorder(torch.zeros(B, F, 4, H, W))
    batch["dropped"] = torch.tensor([False, True, False])
    denoising_loss(network, **batch)
    assert not network.image_embeds[1].any()
    assert not network.sample[1, :, 4:].any()
    assert network.dropped.tolist() == [False, True, False]
    assert network.image_embeds[[0, 2]].all()
    assert network.sample[[0, 2], :, 4:].all()


def test_a_pixel_in_a_hand_pulls_ten_times_as_hard(batch):
    output = torch.zeros(B, F, 4, H, W, requires_grad=True)
    weights = torch.ones(B, F, H, W)
    weights[0, 1, 2:4, 1:3] = 10
    denoising_loss(Recorder(output), **batch, hand_weights=weights).total.backward()
    plain = torch.zeros(B, F, 4, H, W, requires_grad=True)
    denoising_loss(Recorder(plain), **batch).total.backward()
    ratio = output.grad / plain.grad
    inside = weights[:, :, None].expand_as(ratio) == 10
    torch.testing.assert_close(ratio[inside], torch.full_like(ratio[inside], 10))
    torch.testing.assert_close(ratio[~inside], torch.ones_like(ratio[~inside]))


def test_parts_separate_samples_and_hands(batch):
    target = raw_target(batch["latents"], batch["noise"], batch["sigma"])
    error = torch.zeros_like(target)
    error[1, 0, :, 2, 3] = 2.0
    weights = torch.ones(B, F, H, W)
    weights[1, 0, 2, 3] = 10
    parts = denoising_loss(Recorder(target + error), **batch, hand_weights=weights)
    assert parts.inside_hands.tolist() == pytest.approx([16.0, 4.0])
    assert parts.outside_hands.tolist() == pytest.approx([0.0, B * F * H * W * 4 - 4], abs=1e-6)
    assert parts.per_sample.tolist() == pytest.approx([0, 16 / (F * H * W * 4), 0], abs=1e-9)
    assert parts.total.item() == pytest.approx(160 / (B * F * H * W * 4))


def test_a_face_pulls_with_its_own_weight_and_a_hand_over_it_with_the_larger(batch):
    hands, faces = torch.ones(B, F, H, W), torch.ones(B, F, H, W)
    hands[0, 1, 2:4, 1:3] = 10
    faces[0, 1, 3:5, 1:3] = 2
    grads = []
    for given in ({"hand_weights": hands, "face_weights": faces}, {}):
        output = torch.zeros(B, F, 4, H, W, requires_grad=True)
        parts = denoising_loss(Recorder(output), **batch, **given)
        parts.total.backward()
        grads.append(output.grad)
    ratio = (grads[0] / grads[1])[0, 1, 0]
    expected = torch.ones(H, W)
    expected[2:4, 1:3], expected[4, 1:3] = 10, 2
    torch.testing.assert_close(ratio, expected.to(ratio))
    assert (
        denoising_loss(
            Recorder(torch.zeros(B, F, 4, H, W)), **batch, hand_weights=hands, face_weights=faces
        ).inside_hands[1]
        == 4 * 4
    )


def test_hand_cells_are_measured_apart_from_what_they_weigh(batch):
    cells = torch.zeros(B, F, H, W, dtype=torch.bool)
    cells[2, 3, 1, 1] = True
    parts = denoising_loss(
        Recorder(torch.zeros(B, F, 4, H, W)), **batch, hand_weights=torch.ones(B, F, H, W), hand_cells=cells
    )
    assert parts.inside_hands[1] == 4
    torch.testing.assert_close(parts.total, parts.per_sample.mean())


def test_what_weighs_nothing_has_exactly_no_gradient_and_the_rest_the_one_it_had(batch):
    def gradient(weights):
        output = torch.ones(B, F, 4, H, W, requires_grad=True)
        denoising_loss(Recorder(output), **batch, hand_weights=weights, face_weights=weights).total.backward()
        return output.grad

    weights = torch.ones(B, F, H, W)
    weights[1, 2, :3, 1:] = 10
    before = gradient(weights)
    weights[:, :, 2:4, :2] = 0
    after = gradient(weights)
    assert (after[:, :, :, 2:4, :2] == 0).all()
    kept = (weights > 0)[:, :, None].expand_as(after)
    torch.testing.assert_close(after[kept], before[kept], rtol=0, atol=0)
    assert (after[kept] != 0).all()
