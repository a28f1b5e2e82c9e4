"""Identity: cosine similarity of face embeddings in true and generated frames, by an ArcFace-form ONNX file.

Faces are cut by five points of the driving pose, the same in both frames, as ArcFace is trained: a similarity
transform of eyes, nose and mouth corners onto fixed places of a 112 x 112 picture (Deng et al. 2019).
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from mimicmotion.errors import WeightsError
from mimicmotion.metrics.image import check_pair
from mimicmotion.pose.layout import FACE
from mimicmotion.pose.models.sessions import first_output, open_session
from mimicmotion.video.size import Size
from mimicmotion.weights.fetching import file_digest

METRIC = "identity"
SIDE_PX = 112
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where ArcFace wants eyes, nose and corners of the mouth, from left to right in the picture."""
_PARTS = (range(36, 42), range(42, 48), range(30, 31), range(48, 49), range(54, 55))
"""The same five among the 68 face points, each the mean of some."""


@dataclass(frozen=True)
class FaceModel:
    """A loaded face embedding.

    Attributes:
        sha256: of its file.
        path: the file.
        session: maps (1, 3, 112, 112) in [-1, 1] to an embedding.
    """

    sha256: str
    path: Path
    session: ort.InferenceSession

    @classmethod
    def open(cls, path: Path, *, cuda: bool, allow_cpu: bool, threads: int = 1) -> "FaceModel":
        """Load the graph in a file.

        Raises:
            WeightsError: the file is missing, no ONNX graph, takes other pictures, or gives no vector of one.
        """
        session = open_session(path, cuda=cuda, allow_cpu=allow_cpu, threads=threads)
        shape = session.get_inputs()[0].shape
        if len(shape) != 4 or list(shape[1:]) != [3, SIDE_PX, SIDE_PX]:
            raise WeightsError(
                f"{path} takes input {shape}; a face model of ArcFace's form takes "
                f"(n, 3, {SIDE_PX}, {SIDE_PX})"
            )
        opened = cls(file_digest(path), path, session)
        opened.embedding(np.full((SIDE_PX, SIDE_PX, 3), 128, np.uint8))
        return opened

    def embedding(self, face: np.ndarray) -> np.ndarray:
        """Unit vector float64 (d,) of an aligned face, uint8 (112, 112, 3) RGB."""
        pixels = ((face.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
        vector = np.asarray(first_output(self.session, pixels, self.path), np.float64).ravel()
        return vector / max(float(np.linalg.norm(vector)), 1e-12)


def face_points(keypoints: np.ndarray) -> np.ndarray:
    """The five points of ArcFace, float64 (n, 5, 2), from keypoints (n, 133, 2) in pixels."""
    face = np.asarray(keypoints, np.float64)[:, FACE]
    return np.stack([face[:, list(part)].mean(axis=1) for part in _PARTS], axis=1)


def aligned_face(frame: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """The face uint8 (112, 112, 3) with its five points in their places; None where they have no extent."""
    matrix, _ = cv2.estimateAffinePartial2D(points, TEMPLATE, method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all():
        return None
    return cv2.warpAffine(frame, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR)


def face_vector(
    frame: np.ndarray, keypoints: np.ndarray, confidences: np.ndarray, model: FaceModel, threshold: float
) -> np.ndarray | None:
    """Embedding of the face in a frame; None where it is not sure or not in the picture.

    Args:
        frame: uint8 (h, w, 3).
        keypoints: (133, 2) pixels of the person in it.
        confidences: (133,).
        model: the face embedding.
        threshold: all points of eyes, nose and mouth corners must exceed it.
    """
    if not _sure(confidences[None], threshold)[0]:
        return None
    points = face_points(keypoints[None])[0]
    if not ((points >= 0) & (points < np.array(Size.of(frame)))).all():
        return None  # the picture cuts it off
    face = aligned_face(frame, points)
    return None if face is None else model.embedding(face)


def _sure(confidences: np.ndarray, threshold: float) -> np.ndarray:
    needed = [index for part in _PARTS for index in part]
    return np.all(confidences[:, FACE][:, needed] > threshold, axis=1)


def identity_scores(
    true: np.ndarray,
    generated: np.ndarray,
    keypoints: np.ndarray,
    confidences: np.ndarray,
    model: FaceModel,
    threshold: float = 0.3,
) -> np.ndarray:
    """Cosine similarity in [-1, 1] of every frame whose face is sure, float64 (k,); k may be 0.

    Args:
        true: uint8 (n, h, w, 3).
        generated: the same shape.
        keypoints: (n, 133, 2) pixels of the true frames.
        confidences: (n, 133).
        model: the face embedding.
        threshold: all points of eyes, nose and mouth corners must exceed it.
    """
    check_pair(true, generated)
    similarities = []
    for place in np.flatnonzero(_sure(confidences, threshold)):
        pose = keypoints[place], confidences[place]
        vectors = [face_vector(video[place], *pose, model, threshold) for video in (true, generated)]
        if vectors[0] is not None and vectors[1] is not None:
            similarities.append(float(vectors[0] @ vectors[1]))
    return np.array(similarities, np.float64)
