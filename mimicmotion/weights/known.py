"""Weights of others that configs name: where they come from, under which licence, with which content.

A sha256 of None is not known to this project: ``mimicmotion weights verify`` then shows what the file has,
and does not vouch for it. TorchScript files run only where theirs is known. No file is shipped here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True)
class KnownFile:
    """One file of a source.

    Attributes:
        path: inside the source, and inside the folder where the weights are one.
        size_bytes, sha256: of the published file, where known.
    """

    path: str
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class KnownWeights:
    """Weights that a config can name.

    Attributes:
        name: of the file, or of the folder.
        repository: where it is published; None where there is no address to download from.
        files: a single one for a file, several for a folder.
        licence: as the publisher states it.
        gated: whether the publisher asks for an account and consent first.
        page: where a person reads about it.
        note: what else to know.
    """

    name: str
    repository: str | None
    files: tuple[KnownFile, ...]
    licence: str
    gated: bool
    page: str
    note: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether the weights are a folder of files."""
        return len(self.files) > 1

    def url(self, file: KnownFile, endpoint: str) -> str | None:
        """Where a file can be downloaded; None where nowhere."""
        return f"{endpoint}/{self.repository}/{file.path}" if self.repository else None

    def place(self, file: KnownFile, path: Path) -> Path:
        """Where a file lies when the config names ``path``."""
        return path / file.path if self.is_folder else path


KNOWN_WEIGHTS = (
    KnownWeights(
        name="stable-video-diffusion-img2vid-xt-1-1",
        repository="stabilityai/stable-video-diffusion-img2vid-xt-1-1/resolve/main",
        files=tuple(
            KnownFile(path)
            for path in (
                "model_index.json",
                "feature_extractor/preprocessor_config.json",
                "image_encoder/config.json",
                "image_encoder/model.safetensors",
                "scheduler/scheduler_config.json",
                "unet/config.json",
                "unet/diffusion_pytorch_model.safetensors",
                "vae/config.json",
                "vae/diffusion_pytorch_model.safetensors",
            )
        ),
        licence="Stability AI Community License",
        gated=True,
        page="https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt-1-1",
        note="commercial use is restricted; accept the licence on the page, then set HF_TOKEN",
    ),
    KnownWeights(
        name="MimicMotion_1-1.pth",
        repository="tencent/MimicMotion/resolve/main",
        files=(
            KnownFile(
                "MimicMotion_1-1.pth",
                3_049_867_447,
                "b812659ea273b2758c918facf759af5d7cad9564dc35156c59ec17e93f9749a4",
            ),
        ),
        licence="Tencent MimicMotion licence",
        gated=False,
        page="https://huggingface.co/tencent/MimicMotion",
        note="72 frames; UNet and PoseNet, needs SVD-XT 1.1; sha256 from one public record",
    ),
    KnownWeights(
        name="MimicMotion_1.pth",
        repository="tencent/MimicMotion/resolve/main",
        files=(KnownFile("MimicMotion_1.pth"),),
        licence="Tencent MimicMotion licence",
        gated=False,
        page="https://huggingface.co/tencent/MimicMotion",
        note="16 frames; UNet and PoseNet, needs SVD-XT 1.1",
    ),
    KnownWeights(
        name="yolox_l.onnx",
        repository="yzd-v/DWPose/resolve/main",
        files=(
            KnownFile(
                "yolox_l.onnx",
                216_746_733,
                "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411",
            ),
        ),
        licence="Apache-2.0",
        gated=False,
        page="https://huggingface.co/yzd-v/DWPose",
        note="person detector",
    ),
    KnownWeights(
        name="dw-ll_ucoco_384.onnx",
        repository="yzd-v/DWPose/resolve/main",
        files=(
            KnownFile(
                "dw-ll_ucoco_384.onnx",
                134_399_116,
                "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
            ),
        ),
        licence="Apache-2.0",
        gated=False,
        page="https://huggingface.co/yzd-v/DWPose",
        note="133 keypoints",
    ),
    KnownWeights(
        name="i3d_pretrained_400.pt",
        repository=None,
        files=(KnownFile("i3d_pretrained_400.pt"),),
        licence="Apache-2.0 (original), port unstated",
        gated=False,
        page="https://github.com/wilson1yan/VideoGPT",
        note="I3D for FVD; fetch by hand as the page says",
    ),
    KnownWeights(
        name="i3d_torchscript.pt",
        repository=None,
        files=(
            KnownFile(
                "i3d_torchscript.pt",
                51_235_320,
                "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
            ),
        ),
        licence="see the page",
        gated=False,
        page="https://github.com/universome/stylegan-v",
        note="I3D for FVD as TorchScript; fetch by hand as the page says",
    ),
    KnownWeights(
        name="resnet-50-kinetics.pth",
        repository=None,
        files=(KnownFile("resnet-50-kinetics.pth"),),
        licence="MIT",
        gated=False,
        page="https://github.com/kenshohara/3D-ResNets-PyTorch",
        note="3D ResNet-50 for FID-VID; fetch by hand as the page says",
    ),
    KnownWeights(
        name="inception-2015-12-05.pt",
        repository=None,
        files=(
            KnownFile(
                "inception-2015-12-05.pt",
                95_607_719,
                "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
            ),
        ),
        licence="see the page",
        gated=False,
        page="https://github.com/NVlabs/stylegan2-ada-pytorch",
        note="Inception as TorchScript for FID; fetch by hand as the page says",
    ),
    KnownWeights(
        name="vgg16.pt",
        repository=None,
        files=(
            KnownFile("vgg16.pt", sha256="b437eb095feaeb0b83eb3fa11200ebca4548ee39a07fb944a417ddc516cc07c3"),
        ),
        licence="see the page",
        gated=False,
        page="https://github.com/NVlabs/stylegan2-ada-pytorch",
        note="VGG as TorchScript for LPIPS; fetch by hand as the page says",
    ),
)


def known_weights(path: Path, known: Iterable[KnownWeights] = KNOWN_WEIGHTS) -> KnownWeights | None:
    """What is known of weights that a config names, by the name of the file or of a folder around it."""
    names = {part: depth for depth, part in enumerate(path.parts)}
    found = [weights for weights in known if weights.name in names]
    return max(found, key=lambda weights: names[weights.name], default=None)


def named_path(path: Path, weights: KnownWeights) -> Path:
    """The file or folder of the weights themselves, where the config names a part of it."""
    depth = path.parts.index(weights.name) + 1
    return Path(*path.parts[:depth])
