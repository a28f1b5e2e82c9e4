"""How generated videos are judged: protocol, backbones, pose models and thresholds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from pydantic import Field, model_validator

from mimicmotion.metrics.scores import JUDGE, METRICS, network_of
from mimicmotion.pose.settings import EstimatorSettings

if TYPE_CHECKING:
    from mimicmotion.metrics.protocols import EvaluationProtocol

BACKBONE_FIELDS = ("fvd", "fid_vid", "fvd_small", "fid", "lpips", "identity", "videomae", "vjepa")
"""Metrics that need a file; each is named as the field that holds it."""
LEAST_WINDOW: Final = {"fvd": 9, "fvd_small": 8}
"""Fewest frames that a network takes: the last pooling of I3D spans two steps of eight frames."""
BODY_METRICS: Final = ("pose_", "hand_", "identity")
"""How metrics begin that depend on poses and on the thresholds of ``BodySettings``."""
FILM_NETWORKS: Final = {
    **{f"{JUDGE}{name}": "wholebody" for name in ("body", "hands", "face", "nobody", "jerk")},
    f"{JUDGE}identity": "identity",
    **{f"{JUDGE}{name}": "appearance" for name in ("appearance", "appearance_drift")},
}
"""Scores without a truth that need a network -> the field that holds it."""


class BodySettings(EstimatorSettings):
    """What scores of pose, face and hands need; a metric without its file is absent with the reason."""

    identity: Path | None = Field(None, description="Face embedding of ArcFace's form in ONNX.")
    keypoint_threshold: float = Field(
        0.3, ge=0, le=1, description="Points above this confidence in both poses are compared."
    )
    hand_threshold: float = Field(
        0.3, ge=0, le=1, description="Hands whose smallest confidence exceeds this are cut out and compared."
    )

    @model_validator(mode="after")
    def _both_graphs(self) -> Self:
        if (self.detector is None) != (self.wholebody is None):
            raise ValueError("detector and wholebody go together: give both for pose fidelity, or none")
        return self


class FilmJudgeSettings(BodySettings):
    """What judges a film without its truth, by the reference picture and the driving poses."""

    appearance: Path | None = Field(
        None,
        description="Picture embedding for clothing and colours: an ONNX graph such as DINOv2's, or a folder "
        "with image_encoder and feature_extractor.",
    )

    def files(self) -> dict[str, Path]:
        """The files and folders that are given, by field."""
        names = ("identity", "detector", "wholebody", "appearance")
        return {name: path for name in names if (path := getattr(self, name)) is not None}


class JudgeSettings(BodySettings):
    """What a judge needs; a metric without its file is absent with the reason."""

    protocol: str = Field(
        "native", description="Protocol id: tiktok-335-340-256, tiktok-disco10-256 or native."
    )
    window: int | None = Field(
        None, ge=2, description="Frames of a window for video metrics; null takes the protocol's 16."
    )
    primary_metric: str = Field("psnr", description="Metric that decides about the champion.")
    fvd: Path | None = Field(None, description="I3D weights for FVD.")
    fid_vid: Path | None = Field(None, description="3D ResNet-50 Kinetics weights for FID-VID.")
    fvd_small: Path | None = Field(None, description="The built-in toy world's video network.")
    fid: Path | None = Field(None, description="Inception as TorchScript (inception-2015-12-05.pt) for FID.")
    lpips: Path | None = Field(None, description="VGG as TorchScript (StyleGAN2-ADA's vgg16.pt) for LPIPS.")
    videomae: Path | None = Field(
        None, description="VideoMAE: a folder of transformers, or an ONNX graph, e.g. of VideoMAE v2."
    )
    vjepa: Path | None = Field(
        None, description="V-JEPA: a folder of transformers (V-JEPA 2), or an ONNX graph of either."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        from mimicmotion.metrics.protocols import PROTOCOLS

        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol {self.protocol!r} is unknown; choose one of {', '.join(PROTOCOLS)}")
        if not PROTOCOLS[self.protocol].has_truth:
            raise ValueError(
                f"protocol {self.protocol!r} has no true films, and the pipeline's test clips have: name the "
                "pairs in animate.pairs and this protocol in evaluate.pairs_protocol, or score what is made "
                f"by `mimicmotion evaluate --protocol {self.protocol} --pairs FILE --generated FOLDER`"
            )
        if self.primary_metric not in METRICS:
            raise ValueError(
                f"primary_metric {self.primary_metric!r} is unknown; choose one of {', '.join(METRICS)}"
            )
        window = self.chosen_protocol.window
        for name, least in LEAST_WINDOW.items():
            if getattr(self, name) is not None and window < least:
                raise ValueError(f"{name} needs windows of at least {least} frames, window is {window}")
        needs = network_of(self.primary_metric)
        needs = "wholebody" if needs.startswith("pose_") else needs
        if needs in (*BACKBONE_FIELDS, "wholebody") and getattr(self, needs) is None:
            raise ValueError(f"primary_metric {self.primary_metric!r} needs the weights in the field {needs}")
        return self

    def window_problems(self) -> list[str]:
        """Windows that the configs beside video transformers say they do not take."""
        window, problems = self.chosen_protocol.window, []
        for name in ("videomae", "vjepa"):
            folder = getattr(self, name)
            if folder is None or not (folder / "config.json").is_file():
                continue
            try:
                told = json.loads((folder / "config.json").read_bytes())
            except ValueError:
                continue  # whoever loads it says what is wrong
            least = told.get("num_frames") if name == "videomae" else None
            if least not in (None, window):
                problems.append(f"{name}: {folder} takes windows of {least} frames, window is {window}")
            elif window % (told.get("tubelet_size") or 1):
                problems.append(
                    f"{name}: {folder} sees {told['tubelet_size']} frames at a time, window is {window}"
                )
        return problems

    def weight_files(self) -> dict[str, Path]:
        """The backbones and pose models that are given, by field."""
        fields = (*BACKBONE_FIELDS, "detector", "wholebody")
        return {name: path for name in fields if (path := getattr(self, name)) is not None}

    def unchanged_fields(self) -> set[str]:
        """What was no part of a key once, at its default: how people are found, and later backbones."""
        later = ("score_threshold", "nms_threshold", "videomae", "vjepa")
        kept = {name for name in later if getattr(self, name) == type(self).model_fields[name].default}
        return kept | self.unread_fields()

    @property
    def chosen_protocol(self) -> "EvaluationProtocol":
        """The protocol, with the window that is asked for."""
        from mimicmotion.metrics.protocols import protocol_by_id

        protocol = protocol_by_id(self.protocol)
        return protocol if self.window is None else protocol.with_window(self.window)
