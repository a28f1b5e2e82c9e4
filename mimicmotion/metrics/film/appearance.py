"""How a person looks as one vector: clothing, hair and colours, by a picture embedding from a file.

Two forms: an ONNX graph of a vision transformer (DINOv2 as it is commonly exported, pictures normalised as
for ImageNet, the class token taken), or a folder in diffusers layout with ``image_encoder`` and
``feature_extractor``, as every checkpoint of Stable Video Diffusion's form has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from mimicmotion.errors import WeightsError
from mimicmotion.pose.models.sessions import first_output, open_session
from mimicmotion.weights.fetching import file_digest

IMAGENET_MEAN, IMAGENET_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SIDE_PX = 224
"""Side of the picture where the graph leaves it free."""


@dataclass(frozen=True)
class PictureEmbedding:
    """A loaded embedding.

    Attributes:
        sha256: of its file.
        network: maps a picture uint8 (h, w, 3) RGB to a vector.
    """

    sha256: str
    network: Callable[[UInt8[np.ndarray, "h w 3"]], np.ndarray]

    @classmethod
    def open(cls, path: Path, device: torch.device, *, cuda: bool, allow_cpu: bool) -> "PictureEmbedding":
        """Load an ONNX file, or the image encoder of a folder.

        Raises:
            WeightsError: it is missing, of another form, or gives no vector of a grey picture.
        """
        if not path.is_dir():
            opened = cls(file_digest(path) if path.is_file() else "", _graph(path, cuda, allow_cpu))
        elif not (path / "image_encoder" / "config.json").is_file():
            raise WeightsError(
                f"{path} holds no image_encoder/config.json: name a folder in the layout of diffusers, such "
                "as that of SVD, or an ONNX graph"
            )
        else:
            from mimicmotion.model.weights import image_encoder_file  # brings diffusers: 160 MB

            encoder = file_digest(image_encoder_file(path / "image_encoder"))
            opened = cls(encoder, _encoder(path, device))
        opened.vector(np.full((SIDE_PX, SIDE_PX, 3), 128, np.uint8))
        return opened

    def vector(self, picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, " d"]:
        """Unit vector float32 (d,) of a picture.

        Raises:
            WeightsError: the network gives numbers that are not finite.
        """
        found = np.asarray(self.network(picture), np.float64).ravel()
        if not np.isfinite(found).all():
            raise WeightsError("the picture embedding gives numbers that are not finite: it is broken")
        return (found / max(float(np.linalg.norm(found)), 1e-12)).astype(np.float32)


def _graph(path: Path, cuda: bool, allow_cpu: bool) -> Callable[[np.ndarray], np.ndarray]:
    session = open_session(path, cuda=cuda, allow_cpu=allow_cpu, threads=1)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape, ranks = inputs[0].shape, len(outputs[0].shape or ())
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or ranks not in (2, 3):
        got = ", ".join(f"{one.name} {one.shape}" for one in (*inputs, *outputs))
        raise WeightsError(
            f"{path} is no picture embedding: it must take one input (n, 3, height, width) and give "
            f"(n, d) or (n, tokens, d), it has {got}"
        )
    height, width = (side if isinstance(side, int) else SIDE_PX for side in shape[2:])

    def network(picture: np.ndarray) -> np.ndarray:
        shrinks = picture.shape[0] > height
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        small = cv2.resize(picture, (width, height), interpolation=how)
        pixels = ((small / 255.0 - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1)[None]
        found = first_output(session, pixels.astype(np.float32), path)
        return found[0] if found.ndim == 2 else found[0, 0]

    return network


def _encoder(folder: Path, device: torch.device) -> Callable[[np.ndarray], np.ndarray]:
    from mimicmotion.model.embedding import embed_images
    from mimicmotion.model.weights import load_encoders

    _, encoder, processor = load_encoders(folder)
    encoder = encoder.float().to(device)

    def network(picture: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        return embed_images(pixels, encoder, processor)[0, 0].cpu().numpy()

    return network
