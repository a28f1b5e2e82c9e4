import pytest
import torch
from training_world import changed

from mimicmotion.model.weights import load_encoders, load_pipeline, save_released
from mimicmotion.training import building
from mimicmotion.training.building import build, encoders_of
from mimicmotion.training.distributed.group import World

ALONE = World(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("resident", [True, False])
def test_frozen_networks_come_for_their_work_and_go_back_unless_they_stay(base, monkeypatch, resident):
    vae, image_encoder, feature_extractor = load_encoders(base)
    moves = []
    monkeypatch.setattr(vae, "to", lambda device: moves.append(str(device)) or vae)
    encoders = encoders_of(vae, image_encoder, feature_extractor, torch.device("cpu", 0), resident)
    latents = encoders.latents(torch.zeros(1, 3, 64, 64))
    frames = encoders.pictures(latents * encoders.scale)
    assert frames.shape == (1, 64, 64, 3)
    home = "cpu:0" if resident else "cpu"
    assert moves == [home, "cpu:0", home, "cpu:0", home]
    assert not vae.training
    assert not any(value.requires_grad for value in (*vae.parameters(), *image_encoder.parameters()))


def test_frozen_networks_in_half_precision_say_nearly_the_same(base):
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = encoders_of(*load_encoders(base), torch.device("cpu"))
    networks = load_encoders(base)
    half = encoders_of(*networks, torch.device("cpu"), half=True)
    assert networks[0].dtype == torch.bfloat16
    for name in ("latents", "embeddings"):
        true, found = getattr(whole, name)(pictures), getattr(half, name)(pictures)
        assert 0 < (found.float() - true).norm() / true.norm() < 0.02
    latents = whole.latents(pictures) * whole.scale
    apart = half.pictures(latents).astype(int) - whole.pictures(latents)
    assert abs(apart).mean() < 2


def test_a_run_starts_from_a_released_file(job, tmp_path):
    pipeline = load_pipeline(job.settings.base)
    torch.nn.init.constant_(pipeline.unet.conv_in.weight, 0.25)
    torch.nn.init.constant_(pipeline.pose_net.scale, 7.0)
    save_released(pipeline, tmp_path / "released.pth")
    built = build(changed(job, init_from=tmp_path / "released.pth"), ALONE, cached=False)
    assert (built.network.unet.conv_in.weight == 0.25).all()
    assert built.network.pose_net.scale.item() == 7.0
    average = built.average.state_dict()
    assert (average["unet.conv_in.weight"] == 0.25).all()


@pytest.mark.parametrize(("reference_noise", "encoded"), [("none", [1, 1]), ("fixed", [2, 2])])
def test_on_a_cpu_pictures_are_encoded_once_unless_noise_makes_them_new(
    job, monkeypatch, reference_noise, encoded
):
    calls = []
    monkeypatch.setattr(
        building, "encode_frames", lambda _, pictures: calls.append(len(pictures)) or pictures[:, :1]
    )
    encoders = build(changed(job, reference_noise=reference_noise), ALONE, cached=False).encoders
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        assert torch.equal(encoders.latents(pictures), pictures[:, :1])
    assert calls == encoded


@pytest.mark.parametrize(
    ("device", "precision", "within"),
    [("cuda", "float32", "high"), ("cuda", "bfloat16", "highest"), ("cpu", "float32", "highest")],
)
def test_float32_on_a_gpu_multiplies_in_tf32_while_it_trains(job, device, precision, within):
    before = torch.get_float32_matmul_precision()
    assert before == "highest"
    with building.products_in_tf32(changed(job, precision=precision), torch.device(device)):
        assert torch.get_float32_matmul_precision() == within
    assert torch.get_float32_matmul_precision() == before
