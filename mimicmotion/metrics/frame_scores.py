"""Scores of whole pictures, and features of backbones, of what was made of one video, frames in order."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from mimicmotion.metrics.backbones.features import FeatureStream, VideoBackbone
from mimicmotion.metrics.flicker import FlickerMeter
from mimicmotion.metrics.image import IDENTICAL_PSNR_DB, capped, l1, psnr, psnr_legacy, ssim
from mimicmotion.metrics.perceptual import PerceptualDistance
from mimicmotion.metrics.scores import PER_VIDEO, TRUE_SIDE, Measured

Backbone = VideoBackbone | PerceptualDistance


class FrameMeter:
    """Measures what one method made of one video; holds one frame.

    Args:
        perceptual: metric -> network that compares frames.
    """

    def __init__(self, perceptual: Mapping[str, PerceptualDistance]) -> None:
        self._perceptual = perceptual
        self._flicker = FlickerMeter()
        self._num_same = 0
        self._values: dict[str, list[float]] = defaultdict(list)

    def add(self, true: np.ndarray, made: np.ndarray) -> None:
        """Go on with frames uint8 (n, h, w, 3) of both."""
        decibel = psnr(true, made)
        self._num_same += int(np.isinf(decibel).sum())
        self._values["psnr"] += capped(decibel).tolist()
        self._values["ssim"] += ssim(true, made).tolist()
        self._values["l1"] += l1(true, made).tolist()
        self._values["psnr_legacy"] += psnr_legacy(true, made).tolist()
        self._values["flicker"] += self._flicker.add(true, made)
        for metric, network in self._perceptual.items():
            self._values[metric] += network.distances(true, made).tolist()

    def rows(self, clip_id: str, method: str) -> Iterator[Measured]:
        """The mean of each metric over frames; flicker over pairs of frames."""
        same = f"{self._num_same} identical frames count {IDENTICAL_PSNR_DB:g} dB each"
        notes = {"psnr": same} if self._num_same else {}
        for metric, values in self._values.items():
            if values:
                sha256 = self._perceptual[metric].sha256 if metric in self._perceptual else None
                mean = float(np.mean(values))
                yield Measured(clip_id, method, metric, mean, len(values), sha256, notes.get(metric))
            else:
                yield Measured(clip_id, method, metric, None, note="one frame only")


class ClipMeter:
    """Measures whole pictures and features of everything that was made of one video.

    Args:
        clip_id: names the video.
        backbones: metric -> network.
        window: frames of a window for distances between sets.
        with_truth: give features of the true frames too.
    """

    def __init__(
        self, clip_id: str, backbones: Mapping[str, Backbone], window: int, with_truth: bool
    ) -> None:
        self._clip_id, self._window, self._with_truth = clip_id, window, with_truth
        self._perceptual = {
            metric: network
            for metric, network in backbones.items()
            if isinstance(network, PerceptualDistance)
        }
        self._video = {
            metric: network for metric, network in backbones.items() if isinstance(network, VideoBackbone)
        }
        self._meters: dict[str, FrameMeter] = {}
        self._streams: dict[tuple[str, str], FeatureStream] = {}

    def add(self, true: np.ndarray, made: Mapping[str, np.ndarray]) -> None:
        """Go on with frames uint8 (n, h, w, 3) of the truth and of each method."""
        for method, frames in made.items():
            self._meters.setdefault(method, FrameMeter(self._perceptual)).add(true, frames)
        for method, frames in {TRUE_SIDE: true, **made}.items() if self._with_truth else made.items():
            for metric, network in self._video.items():
                stream = self._streams.get((method, metric)) or network.stream(self._window)
                self._streams[method, metric] = stream
                stream.add(frames)

    def rows(self) -> Iterator[Measured]:
        """Numbers of each method, then features."""
        for method, meter in self._meters.items():
            yield from meter.rows(self._clip_id, method)
        for (method, metric), stream in self._streams.items():
            network = self._video[metric]
            found = {metric: stream.features()}
            if not network.form.per_frame:
                found[metric + PER_VIDEO] = stream.video_features()
            for name, features in found.items():
                count, sha256 = len(features), network.sha256
                yield Measured(self._clip_id, method, name, None, count, sha256, None, features)
