"""Feature vectors of videos by backbones from files: I3D (``fvd``), 3D ResNet-50 (``fid_vid``), a small one;
video transformers (``videomae``, ``vjepa``), and of frames by Inception (``fid``).

A backbone is never fetched, guessed or replaced: the metric has the name of its network, and its file's
sha256 stands beside every number.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from mimicmotion.errors import InputError, WeightsError
from mimicmotion.metrics.backbones import small_video_net
from mimicmotion.metrics.backbones.i3d import I3D
from mimicmotion.metrics.backbones.resnet3d import ResNet3D50
from mimicmotion.metrics.backbones.small_video_net import SmallVideoNet
from mimicmotion.metrics.backbones.video_encoders import (
    IMAGENET_MEAN,
    IMAGENET_SCALE,
    MODEL_TYPES,
    open_encoder,
)
from mimicmotion.metrics.settings import LEAST_WINDOW
from mimicmotion.video.size import Size
from mimicmotion.weights.fetching import file_digest
from mimicmotion.weights.scripts import check_script, is_torchscript

KINETICS_MEAN = (114.7748, 107.7354, 99.4750)
"""Mean RGB of Kinetics frames, which the 3D ResNet was trained with."""


@dataclass(frozen=True)
class BackboneForm:
    """How frames become the input of one kind of network.

    Attributes:
        network: builds it without weights; None where the file itself must hold the network.
        size: of its input; frames are resized directly, without a crop. None where the
            network resizes by itself, or the file says it.
        mean: subtracted from 0..255.
        scale: then divided by this.
        width: numbers in a feature vector; 0 where the file says it.
        min_frames: shortest window it takes.
        max_frames: longest window it takes; None for any.
        classifier: prefix of tensors in the file that features do not need.
        per_frame: it sees single frames, (b, 3, h, w), whatever the window of the protocol.
    """

    network: Callable[[], nn.Module] | None
    size: Size | None
    mean: tuple[float, float, float]
    scale: float | tuple[float, float, float]
    width: int
    min_frames: int
    max_frames: int | None = None
    classifier: str | None = None
    per_frame: bool = False


_STRIP_PX = 64
_HALF = (127.5, 127.5, 127.5)
FORMS: Mapping[str, BackboneForm] = {
    "fvd": BackboneForm(I3D, Size(224, 224), _HALF, 127.5, 400, LEAST_WINDOW["fvd"]),
    "fid_vid": BackboneForm(ResNet3D50, Size(112, 112), KINETICS_MEAN, 1.0, 2048, 1, classifier="fc."),
    "fvd_small": BackboneForm(
        SmallVideoNet, small_video_net.SIZE, _HALF, 127.5, small_video_net.FEATURES, LEAST_WINDOW["fvd_small"]
    ),
    "fid": BackboneForm(None, None, (0.0, 0.0, 0.0), 1.0, 2048, 1, per_frame=True),
    **{name: BackboneForm(None, None, IMAGENET_MEAN, IMAGENET_SCALE, 0, 2) for name in MODEL_TYPES},
}
"""Metric name -> form of its backbone."""


@dataclass(frozen=True)
class VideoBackbone:
    """A loaded network that turns windows of frames into feature vectors.

    Attributes:
        metric: name of the metric it serves, a key of ``FORMS``.
        sha256: of its file.
        network: maps (b, 3, t, h, w) to (b, width).
    """

    metric: str
    sha256: str
    form: BackboneForm
    network: Callable[[Tensor], Tensor]
    device: torch.device
    batch_size: int

    def features(self, frames: np.ndarray, window: int) -> np.ndarray:
        """Features float32 (n - window + 1, width) of all windows of consecutive frames; see ``stream``.

        Args:
            frames: uint8 (n, h, w, 3) RGB.
            window: frames of a window.
        """
        stream = self.stream(window)
        stream.add(frames)
        return stream.features()

    def stream(self, window: int) -> "FeatureStream":
        """Features of one video whose frames come in order.

        Raises:
            InputError: the network cannot take windows of this length.
        """
        window = 1 if self.form.per_frame else window
        if self.form.max_frames is not None and window > self.form.max_frames:
            raise InputError(
                f"{self.metric} takes windows of at most {self.form.max_frames} frames, "
                f"the protocol has {window}"
            )
        if window < self.form.min_frames:
            raise InputError(
                f"{self.metric} needs windows of at least {self.form.min_frames} frames, "
                f"the protocol has {window}"
            )
        return FeatureStream(self, window)

    def prepared(self, frames: np.ndarray) -> Tensor:
        """Frames as float32 (n, 3, h, w) on the device: antialiased bicubic resize, as published.

        It is done on the host, so that it is the same for every device.
        """
        pixels = torch.cat([self._resized(frame) for frame in frames])
        mean, scale = (torch.tensor(one).reshape(-1, 1, 1) for one in (self.form.mean, self.form.scale))
        return ((pixels - mean) / scale).to(self.device)

    def _resized(self, frame: np.ndarray) -> Tensor:
        """One frame as float32 (1, 3, h, w), narrowed strip by strip: a large one in floats takes 100 MB.

        The two directions of this filter are independent, and a direction without change is left as it is.
        """
        size = self.form.size
        if size is None:
            return torch.from_numpy(frame.transpose(2, 0, 1).astype(np.float32))[None]
        narrow = []
        for top in range(0, len(frame), _STRIP_PX):
            strip = torch.from_numpy(frame[top : top + _STRIP_PX].transpose(2, 0, 1).astype(np.float32))[None]
            to = strip.shape[2], size.width_px
            narrow.append(functional.interpolate(strip, size=to, mode="bicubic", antialias=True))
        return functional.interpolate(torch.cat(narrow, 2), size=size.shape, mode="bicubic", antialias=True)

    @torch.inference_mode()
    def row(self, windows: Tensor) -> np.ndarray:
        """Features float32 (b, width) of windows (b, 3, h, w, window)."""
        video = windows.permute(0, 1, 4, 2, 3).contiguous()
        features = self.network(video[:, :, 0] if self.form.per_frame else video)
        if features.shape != (len(windows), self.form.width):
            raise WeightsError(
                f"the backbone of {self.metric} gives features of shape {tuple(features.shape)}; "
                f"expected ({len(windows)}, {self.form.width}): this is another network"
            )
        return features.float().cpu().numpy()


class FeatureStream:
    """Feature vectors of one video whose frames come in order; holds no more than a window and a batch."""

    def __init__(self, backbone: VideoBackbone, window: int) -> None:
        self._backbone, self._window = backbone, window
        self._held: Tensor | None = None
        self._num_frames = 0
        self._rows: list[np.ndarray] = []

    def add(self, frames: np.ndarray) -> None:
        """Go on with frames uint8 (n, h, w, 3) RGB."""
        # Each frame is prepared and goes to the device once.
        for begin in range(0, len(frames), self._backbone.batch_size):
            new = self._backbone.prepared(frames[begin : begin + self._backbone.batch_size])
            held = new if self._held is None else torch.cat([self._held, new])
            self._num_frames += len(new)
            if len(held) >= self._window:
                # (new frames, 3, h, w, window), a view
                self._rows.append(self._backbone.row(held.unfold(0, self._window, 1)))
            self._held = held[max(len(held) - self._window + 1, 0) :].clone()

    def features(self) -> np.ndarray:
        """Features float32 (n - window + 1, width) of all windows of consecutive frames, stride 1.

        A video shorter than the window has none: shape (0, width).
        """
        return np.concatenate([np.zeros((0, self._backbone.form.width), np.float32), *self._rows])

    def video_features(self) -> np.ndarray:
        """One feature vector float32 (1, width) for a whole video: the mean over windows side by side.

        The last window is filled up with the last frame, as published evaluations of whole videos do.
        """
        rows = [self.features()[:: self._window]]
        rest = self._num_frames % self._window
        if rest and self._held is not None:
            last = self._held[-rest:]
            filled = torch.cat([last, last[-1:].expand(self._window - rest, *last.shape[1:])])
            rows.append(self._backbone.row(filled.unfold(0, self._window, 1)))
        return np.concatenate(rows).mean(axis=0, keepdims=True)


def load_backbone(metric: str, path: Path, device: torch.device, batch_size: int = 4) -> VideoBackbone:
    """The backbone of a metric from its file: a state dict (.pt, .pth, .safetensors) or TorchScript.

    Video transformers come as a folder or an ONNX graph, see ``video_encoders``.

    Raises:
        InputError: there is no such metric.
        WeightsError: the file is missing or holds another network.
    """
    if metric not in FORMS:
        raise InputError(f"there is no video metric {metric!r}; choose one of {', '.join(FORMS)}")
    if not path.exists():
        raise WeightsError(f"the backbone of {metric} is not at {path}: see `mimicmotion weights list`")
    form = FORMS[metric]
    if metric in MODEL_TYPES:
        found = open_encoder(metric, path, device)
        shortest = found.frames or form.min_frames
        form = replace(form, size=found.size, width=found.width, min_frames=shortest, max_frames=found.frames)
        return VideoBackbone(metric, found.sha256, form, found.network, device, batch_size)
    if is_torchscript(path):
        # The published I3D rescales and resizes unless told not to, and then returns logits.
        switches = {"rescale": False, "resize": False, "return_features": True}
        network = load_torchscript(path, device, switches)
    elif form.network is None:
        raise WeightsError(f"{path} is no TorchScript file, and {metric} can use no other form")
    else:
        module = form.network()
        _load_exactly(module, _read_tensors(path, form.classifier), path)
        network = module.eval().requires_grad_(False).to(device)
    return VideoBackbone(metric, file_digest(path), form, network, device, batch_size)


def load_torchscript(
    path: Path, device: torch.device, switches: Mapping[str, bool]
) -> Callable[[Tensor], Tensor]:
    """The network in a TorchScript file that may run, called with those of the switches that it knows.

    Raises:
        WeightsError: nobody vouches for the file, whose code already runs as it is loaded.
    """
    check_script(path)
    with warnings.catch_warnings():
        # torch deprecates TorchScript, but the widely used files have no other form.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        module = torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
    known = {argument.name for argument in module.forward.schema.arguments}
    arguments = {name: value for name, value in switches.items() if name in known}

    def network(pixels: Tensor) -> Tensor:
        return module(pixels, **arguments)

    return network


def _read_tensors(path: Path, classifier: str | None) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        tensors = load_file(path)
    else:
        content = torch.load(path, map_location="cpu", weights_only=True)
        tensors = content.get("state_dict", content)
    names = {name: name.removeprefix("module.") for name in tensors}
    return {
        short: tensors[name]
        for name, short in names.items()
        if classifier is None or not short.startswith(classifier)
    }


def _load_exactly(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    # Old files lack batch-norm step counters, which inference does not use.
    counters = {name: value for name, value in expected.items() if name.endswith("num_batches_tracked")}
    missing = sorted(expected.keys() - counters.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - expected.keys())
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & tensors.keys())
        if tensors[name].shape != expected[name].shape
    ]
    if missing or unexpected or shapes:
        raise WeightsError(
            f"{path} does not hold {type(network).__name__}: "
            f"{len(missing)} tensors missing {missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}, "
            f"{len(shapes)} of another shape {shapes[:3]}"
        )
    network.load_state_dict({**counters, **tensors})
