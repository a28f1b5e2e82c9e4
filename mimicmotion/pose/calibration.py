"""From a whole-body model's raw confidence to the probability that a point lies where it says.

    mimicmotion calibrate CONFIG

A raw confidence is the height of a maximum: it has no fixed range, and means another thing in every model. A
calibration is a rising curve for each part of the body, made from points whose true place is known, and holds
for the one model file that it names. Tables of poses keep the raw values; the curve is applied when they are
read, so that brightness, the hand gate and all thresholds mean the same whatever found the poses.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from jaxtyping import Float, Float32

from mimicmotion.durable import write_file
from mimicmotion.errors import InputError
from mimicmotion.pose.layout import BODY, FACE, FEET, LEFT_HAND, RIGHT_HAND
from mimicmotion.weights.fetching import file_digest

PARTS: Final = {"body": BODY, "feet": FEET, "face": FACE, "hands": slice(LEFT_HAND.start, RIGHT_HAND.stop)}
ROLE: Final = "wholebody"
"""Whose confidences they are, among the models that a table of poses names."""

_VERSION: Final = 1
_NUM_GROUPS: Final = 100
_FEWEST_IN_GROUP: Final = 25
# What was located stays so: boxes of hands need every point above 0.
_LEAST: Final = 0.001


@dataclass(frozen=True)
class Curve:
    """A rising line through points: raw confidence and the probability that belongs to it."""

    raw: tuple[float, ...]
    probability: tuple[float, ...]

    @classmethod
    def fitted(cls, raw: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"]) -> Self:
        """Return the rising curve nearest to how often points of each confidence were right.

        Groups of points of like confidence are pooled until they rise (isotonic regression).
        """
        from scipy.optimize import isotonic_regression  # 40 MB, and only who makes a curve needs it

        order = np.argsort(raw, kind="stable")
        number = max(1, min(_NUM_GROUPS, len(raw) // _FEWEST_IN_GROUP))
        groups = [group for group in np.array_split(order, number) if len(group)]
        # Means of equal numbers may differ in their last digit.
        levels = np.maximum.accumulate([raw[group].mean(dtype=np.float64) for group in groups])
        shares = np.array([right[group].mean() for group in groups])
        weights = np.array([len(group) for group in groups], np.float64)
        rising = isotonic_regression(shares, weights=weights).x.clip(_LEAST, 1)
        # Inside a pooled run the line is level: its ends say it all.
        ends = np.flatnonzero(np.diff(rising, prepend=-1) + np.diff(rising, append=2))
        return cls(tuple(levels[ends].tolist()), tuple(rising[ends].tolist()))

    def __post_init__(self) -> None:
        raw, probability = np.array(self.raw), np.array(self.probability)
        fits = raw.ndim == 1 and raw.shape == probability.shape and len(raw) and np.isfinite(raw).all()
        if not fits or (np.diff(raw) < 0).any() or (np.diff(probability) < 0).any():
            raise ValueError("a curve needs as many probabilities as raw confidences, both rising")
        if not ((probability > 0) & (probability <= 1)).all():
            raise ValueError("probabilities must lie above 0 and be at most 1")


@dataclass(frozen=True)
class Calibration:
    """The curves of one model.

    Attributes:
        wholebody_sha256: of the model's file.
        curves: by part.
        made_from: how, for people.
    """

    wholebody_sha256: str
    curves: Mapping[str, Curve]
    made_from: Mapping[str, Any] = field(default_factory=dict)

    def probabilities(self, raw: Float[np.ndarray, "*n 133"]) -> Float32[np.ndarray, "*n 133"]:
        """Return the probabilities of raw confidences; 0 where a point was not located."""
        values = np.empty(raw.shape, np.float32)
        for part, points in PARTS.items():
            curve = self.curves[part]
            values[..., points] = np.interp(raw[..., points], curve.raw, curve.probability)
        values[np.asarray(raw) <= 0] = 0
        return values

    def check(self, models: Mapping[str, str], where: str) -> None:
        """Refuse poses of another model.

        Args:
            models: sha256 by role of what found the poses.
            where: names the poses.

        Raises:
            InputError: they are of another model, or nobody knows of which.
        """
        found = models.get(ROLE)
        if found != self.wholebody_sha256:
            whose = f"the whole-body model {found}" if found else f"no known model, but {dict(models)}"
            raise InputError(
                f"a calibration for the whole-body model {self.wholebody_sha256} does not fit {where}, which "
                f"are of {whose}: make one for that model (`mimicmotion calibrate CONFIG`), or set "
                "pose.calibration to null"
            )

    def check_files(self, files: Mapping[str, Path]) -> None:
        """Refuse an estimator of another model, by its weight files; see ``check``."""
        models = {role: file_digest(path) for role, path in files.items() if role == ROLE}
        self.check(models, "poses that are found with these models")

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        values = {"version": _VERSION, **asdict(self)}
        write_file(path, (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Read what ``write`` wrote.

        Raises:
            InputError: it is not there, or no calibration.
        """
        try:
            return _read(path, path.stat().st_mtime_ns)
        except OSError as error:
            raise InputError(f"calibration {path} cannot be read ({error.strerror})") from error


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int) -> Calibration:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("version") != _VERSION or {*values["curves"]} != {*PARTS}:
            raise ValueError(f"it must have version {_VERSION} and curves of {', '.join(PARTS)}")
        curves = {
            part: Curve(tuple(curve["raw"]), tuple(curve["probability"]))
            for part, curve in values["curves"].items()
        }
        return Calibration(str(values["wholebody_sha256"]), curves, values["made_from"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is no calibration ({error}): make one with `mimicmotion calibrate CONFIG`"
        ) from error
