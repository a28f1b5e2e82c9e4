"""How people are found and how poses are drawn: the section ``drawing``, and what a checkpoint says of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError

from mimicmotion.errors import DataError
from mimicmotion.settings import Section

if TYPE_CHECKING:
    from mimicmotion.pose.calibration import Calibration

AlignmentMode = Literal["none", "release", "robust", "limbs"]


class ConfidenceSettings(Section):
    """How stored confidences are read."""

    calibration: Path | None = Field(
        None,
        description="Calibration of the whole-body model (`mimicmotion calibrate`), applied when confidences "
        "are read; null leaves them as the model gave them.",
    )

    def unread_fields(self) -> set[str]:
        """Fields that change nothing: without a calibration poses are read as they always were."""
        return set() if self.calibration else {"calibration"}

    def opened_calibration(self) -> "Calibration | None":
        """The calibration itself.

        Raises:
            InputError: the file cannot be used.
        """
        from mimicmotion.pose.calibration import Calibration

        return None if self.calibration is None else Calibration.read(self.calibration)


class EstimatorSettings(ConfidenceSettings):
    """What finds people and their keypoints; whoever finds poses under a config takes these of it."""

    detector: Path | None = Field(None, description="Person detector in ONNX, of any form known.")
    wholebody: Path | None = Field(
        None, description="Whole-body model in ONNX, of SimCC vectors or heatmaps."
    )
    score_threshold: float = Field(0.3, ge=0, lt=1, description="People with a score above it are kept.")
    nms_threshold: float = Field(
        0.45, gt=0, le=1, description="Of two boxes of YOLOX that overlap by more, the better stays."
    )


class DetectionSettings(EstimatorSettings):
    """How the keypoints of a data set are found."""

    half_precision: bool = Field(
        False,
        description="Run detector and wholebody in float16: files of float32 are converted when they are "
        "opened. For GPUs; a file that is float16 runs as it is, with or without this.",
    )

    def unread_fields(self) -> set[str]:
        """Fields that change nothing at their present value."""
        return super().unread_fields() | (set() if self.half_precision else {"half_precision"})


class DrawingStyle(Section):
    """How poses are drawn. Stored with a checkpoint, since the network is trained on one style."""

    canvas_short_side_px: int = Field(
        2160, ge=16, description="Short side of the canvas that is drawn on; it fixes the width of lines."
    )
    use_confidence: bool = Field(
        True, description="Brightness follows the confidence of each point; else points are full or left out."
    )
    keypoint_threshold: float = Field(
        0.3,
        ge=0,
        description="Body points at or below it are left out; without use_confidence hands and faces too.",
    )
    draw_body: bool = Field(True, description="Draw the body.")
    draw_hands: bool = Field(True, description="Draw the hands.")
    draw_face: bool = Field(True, description="Draw the face.")

    @classmethod
    def stored(cls, values: Mapping[str, Any]) -> Self:
        """The style that a checkpoint stores.

        Raises:
            DataError: fields are missing, unknown or of another kind.
        """
        try:
            if set(values) == set(cls.model_fields):
                return cls.model_validate(dict(values))
            problem = f"got {sorted(values)}"
        except ValidationError as error:
            problem = str(error)
        raise DataError(f"a drawing style must have exactly the fields {sorted(cls.model_fields)}: {problem}")
