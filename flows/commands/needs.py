"""What every stage of a config will need, before anything runs: items, hours of its devices, disk.

    mimicmotion rebuild paper --dry-run --videos 4436
    mimicmotion stage pose paper --dry-run

Figures are estimates: what CPUs do was measured once (docs/log.md), what GPUs do is counted operations over a
share of the GPU's peak. docs/performance.md says how they are made.
"""

import logging
from dataclasses import dataclass, replace
from math import ceil, prod
from pathlib import Path
from typing import Any

from rich.table import Table

from flows.commands.dry_run import UTILISATION, network_config, num_steps, sample_windows, training_shape
from mimicmotion.errors import InputError, MimicMotionError
from stages.engine.config import PipelineConfig

log = logging.getLogger(__name__)

_MEGA, _GIGA, _TERA, _HOUR_S = 1e6, 1e9, 1e12, 3600
_CORE_FLOPS = 20 * _GIGA
"""Operations per second of one core, as the demo's training reaches them."""
_FRAME_S, _MEGAPIXEL_S = 0.006, 0.0054
"""Core seconds of decoding and encoding a frame, and each megapixel of it."""
_READ_S = 0.0034
"""Core seconds of reading a megapixel of a normalised film's frame."""
_SCORE_S = 0.08
"""Core seconds of PSNR, SSIM and the rest for a megapixel of a frame, of the model and three baselines."""
_POSE_S, _POSE_TERA, _POSE_BYTES = 1.66, 0.166, 351e6
"""Core seconds, 10^12 operations and bytes of DWPose's two files, per frame with one person."""
_COPIES_S = 1.42e-7
"""Core seconds of looking for near-copies, of a second of a film and one of another."""
_FILM_BYTES, _LOSSLESS_BYTES, _POSE_ROW_BYTES = 0.04, 0.7, 1_700
"""Bytes of a pixel in normalised films and in generated ones, and of a person's row in `pose`."""
_BESIDE = {"vae": 97_742_847, "image_encoder": 632_076_800}
"""Parameters of SVD's other parts."""
_PROBED = 24


@dataclass(frozen=True)
class Films:
    """The source films, as far as they are known.

    Attributes:
        num: how many there are.
        judged: how many of them validate or test.
        length_s: of one, on average.
        fps: of one, on average.
        size_px: (short, long) side of one, on average: what a header states of turns is seen in frames alone.
        known: where this comes from, for a person.
    """

    num: int
    judged: float
    length_s: float
    fps: float
    size_px: tuple[float, float]
    known: str


@dataclass(frozen=True)
class Needs:
    """What one stage will need.

    Attributes:
        stage: its name.
        items: units of work.
        device: what it runs on, e.g. ``8 A100`` or ``2 cores``.
        devices: how many of these.
        work_s: seconds of one of them.
        disk: bytes that it adds to the workspace.
    """

    stage: str
    items: int
    device: str
    devices: float
    work_s: float
    disk: float


def find_films(config: PipelineConfig, num: int | None, length_s: float) -> Films:
    """What the source holds; where ``num`` is given, so many films of 1080x1920 at 30 per second are assumed.

    Raises:
        InputError: the source is not there, or holds no film.
    """
    from mimicmotion.video.listing import list_videos

    clips: Any = config.stages.get("clips")
    share = clips.test_fraction + clips.val_fraction if clips else 0.0
    if num is not None:
        known = f"{num:,} films of {length_s:g} s, 1080x1920 and 30 frames a second are assumed"
        return Films(num, num * share, length_s, 30.0, (1080, 1920), known)
    decode: Any = config.stages["decode"]
    videos = list_videos(decode.source).videos
    judged = sum(share if video.split is None else video.split != "train" for video in videos)
    step = -(-len(videos) // _PROBED)
    found = [one for video in videos[::step] if video.is_local and (one := _header(video.location))]
    if not found:
        films = find_films(config, len(videos), length_s)
        return replace(films, judged=judged, known=f"no header can be read from here: {films.known}")
    length, fps, short, long = (sum(values) / len(found) for values in zip(*found, strict=True))
    known = (
        f"{len(videos):,} films, {len(videos) * length / 60:,.1f} minutes by the headers of {len(found)}: "
        f"about {short:.0f}x{long:.0f} (short side first), {fps:.3g} frames a second"
    )
    return Films(len(videos), judged, length, fps, (short, long), known)


def _header(path: str) -> tuple[float, float, float, float] | None:
    """Length in seconds, rate, short and long side that a film's header states; None where it states none."""
    import av

    from mimicmotion.video.containers import open_film

    try:
        with open_film(Path(path)) as film:
            stream = film.streams.video[0]
            if film.duration and stream.average_rate and stream.codec_context:
                size = sorted((stream.codec_context.width, stream.codec_context.height))
                return film.duration / 1e6, float(stream.average_rate), *size
            return None
    except (av.FFmpegError, IndexError, MimicMotionError):
        return None  # decode will reject it


def reckon(config: PipelineConfig, films: Films, gpu: str, samples: int | None = None) -> list[Needs]:
    """The needs of every stage of a config, in order; says of which it knows none.

    Args:
        config: what is to run.
        films: what it runs on.
        gpu: which one.
        samples: of an epoch of training, where clips are published; None reckons them from films.

    Raises:
        InputError: the GPU is not known, or a stage before is missing.
    """
    from mimicmotion.training.estimate.needs import PEAK_TFLOPS

    if gpu not in PEAK_TFLOPS:
        raise InputError(f"GPU {gpu!r} is not known; known are {', '.join(PEAK_TFLOPS)}")
    work = _Work(config, films, samples)
    found = []
    for name, stage in config.stages.items():
        if (estimate := getattr(work, name, None)) is None:
            log.warning("no estimate of %s: a method of this name in %s gives one", name, __name__)
            continue
        items, core_s, tera, disk = estimate()
        runtime = stage.runtime
        if runtime.gpus_per_worker:
            # One that may share a GPU has it for itself where there is no other.
            devices, device = float(ceil(runtime.workers * runtime.gpus_per_worker)), gpu
            # GPUs wait for their cores where these take longer.
            cores_s = core_s / (runtime.workers * runtime.cpus_per_worker) * devices
            work_s = max(cores_s, tera / (PEAK_TFLOPS[gpu] * UTILISATION))
        else:
            devices = runtime.workers * runtime.cpus_per_worker
            device = "core" if devices == 1 else "cores"
            work_s = core_s + tera * _TERA / _CORE_FLOPS
        found.append(Needs(name, round(items), f"{devices:g} {device}", devices, work_s, disk))
    return found


class _Work:
    """What each stage does: items, core seconds, 10^12 operations (for a GPU or cores), bytes.

    Of a stage on GPUs the core seconds are what their workers do beside them.
    """

    def __init__(self, config: PipelineConfig, films: Films, samples: int | None) -> None:
        self._config, self._stages = config, dict[str, Any](config.stages)
        self._films, self._known = films, samples
        decode: Any = config.stages["decode"]
        clips: Any = config.stages.get("clips")
        width, height = films.size_px
        scale = min(1.0, (decode.short_side_px or min(films.size_px)) / min(films.size_px))
        self._pixels = width * height * scale**2
        self._fps = decode.fps or films.fps
        self._frames = films.length_s * self._fps
        if clips:
            self._size = max(clips.sizes_px, key=lambda size: size[0] * size[1])
            self._mega = self._size[0] * self._size[1] / _MEGA
            step = clips.generated_step(self._fps)
            most = clips.max_test_frames if clips.test_clips == "longest_run" else self._frames
            self._made = min(most, self._frames / step)

    def decode(self) -> tuple[float, ...]:
        width, height = self._films.size_px
        source = self._films.num * self._films.length_s * self._films.fps
        core_s = source * (_FRAME_S + _MEGAPIXEL_S * width * height / _MEGA)
        return self._films.num, core_s, 0, self._films.num * self._frames * self._pixels * _FILM_BYTES

    def pose(self) -> tuple[float, ...]:
        stage, frames = self._stages["pose"], self._films.num * self._frames
        tera, core_s = self._found(stage, frames)
        core_s += frames * _READ_S * self._pixels / _MEGA  # imported poses are looked at beside their frames
        return self._films.num, core_s, tera, frames * _POSE_ROW_BYTES

    def clips(self) -> tuple[float, ...]:
        compared_s = _COPIES_S * (self._films.num * self._films.length_s) ** 2
        return self._films.num, self._films.num * 0.1 + compared_s, 0, self._films.num * 5_000

    def latents(self) -> tuple[float, ...]:
        num = self._films.num - self._films.judged
        clips, frames = self._stages["clips"], num * self._frames
        if clips.windows == "all":  # what lies in no window is not stored
            windows = sample_windows(clips, self._frames, self._fps)
            frames = min(frames, num * windows * clips.num_frames)
        encode, _ = self._vae(self._stages["latents"].base)
        return num, 0, frames * encode, frames * self._mega * _MEGA / 64 * 4 * 2

    def train(self, name: str = "train") -> tuple[float, ...]:
        from mimicmotion.training.estimate.needs import sample_flops, weight_bytes

        train, shape = self._stages[name], training_shape(self._config, name)
        steps = num_steps(train, self.samples())
        tera = steps * train.batch * sample_flops(shape) / _TERA
        weights, checkpoint = weight_bytes(shape)
        # A new checkpoint is whole before the oldest goes; at the end the average is written whole, then in
        # two forms, one with the other parts of the base.
        there = ceil(steps / train.runtime.checkpoint_every)
        kept = min(there, train.runtime.keep)
        disk = max(min(there, kept + 1) * checkpoint, kept * checkpoint + 3 * weights + self._beside())
        return steps, 0, tera, disk

    def samples(self) -> float:
        """Samples of an epoch."""
        if self._known:
            return self._known
        videos = self._films.num - self._films.judged
        return videos * sample_windows(self._stages["clips"], self._frames, self._fps)

    def distill(self) -> tuple[float, ...]:
        return self.train("distill")

    def animate(self) -> tuple[float, ...]:
        from mimicmotion.diffusion.fusion import tiles

        animate, clips = self._stages["animate"], self._stages["clips"]
        tile = animate.tile or clips.num_frames
        calls = len(tiles(round(self._made) + 1, tile, animate.overlap_of(tile))) * animate.num_steps
        calls *= (2 if animate.guidance_scale > 1 else 1) * animate.tries
        try:
            made = self._films.judged + len(animate.requests())  # films as long as a clip's
        except InputError as error:
            log.warning("no pairs are counted: %s", error)
            made = self._films.judged
        frames = made * self._made
        _, decode = self._vae(self._stages["train"].base)
        tera = made * calls * self._forward(tile) + frames * decode
        return made, 0, tera, frames * self._mega * _MEGA * _LOSSLESS_BYTES

    def evaluate(self) -> tuple[float, ...]:
        frames = self._films.judged * self._made
        # Found again in the model's frames, the VAE's and the late ones; a still picture is looked at once.
        tera, core_s = self._found(self._stages["evaluate"], 3 * frames)
        tera += frames * sum(self._vae(self._stages["train"].base))
        return 2 * self._films.judged, core_s + frames * self._mega * _SCORE_S, tera, 1e6

    def register(self) -> tuple[float, ...]:
        from mimicmotion.training.estimate.needs import weight_bytes

        weights, _ = weight_bytes(training_shape(self._config, "train"))
        return 1, 10, 0, weights + self._beside()

    def _beside(self) -> float:
        """Bytes of the base's other parts, which every exported pipeline holds in float32."""
        base = self._stages["train"].base
        return 4 * sum(_parameters(base / part) or of_svd for part, of_svd in _BESIDE.items())

    def _forward(self, slots: int) -> float:
        """10^12 operations of one pass of the network over so many slots."""
        from mimicmotion.training.estimate.needs import training_flops

        unet = network_config(self._stages["train"].base, "unet")
        return training_flops(unet, self._size, slots) / 3 / _TERA

    def _vae(self, base: Path) -> tuple[float, float]:
        """10^12 operations of encoding a frame and of decoding one."""
        from mimicmotion.training.estimate.needs import vae_flops

        encode, decode = vae_flops(network_config(base, "vae"), self._size)
        return encode / _TERA, decode / _TERA

    def _found(self, stage: Any, frames: float) -> tuple[float, float]:
        """Operations on a GPU and core seconds on a CPU of finding people, by the size of files here."""
        if stage.detector is None:
            return 0.0, 0.0
        if stage.runtime.gpus_per_worker:
            # ONNX Runtime works in TF32, at half of the peak in half precision.
            return frames * _POSE_TERA * 2, 0.0
        here = [path.stat().st_size for path in (stage.detector, stage.wholebody) if path.is_file()]
        return 0.0, frames * _POSE_S * (sum(here) / _POSE_BYTES if len(here) == 2 else 1)


def _parameters(folder: Path) -> int:
    """Numbers that the weights in a folder hold; 0 where none can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(min(folder.glob("*.safetensors")), "numpy") as weights:
            return sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    except (ValueError, OSError, SafetensorError):
        return 0


def epoch_samples(config: PipelineConfig, films: Films) -> int:
    """Samples of an epoch of training on these films."""
    return round(_Work(config, films, None).samples())


def needs_table(needs: list[Needs], films: Films) -> Table:
    """The needs as a table, with their sum; says what they rest on."""
    table = Table("stage", "items", "on", "time", "of one device", "disk", title=films.known)
    for one in needs:
        table.add_row(
            one.stage,
            f"{one.items:,}",
            one.device,
            _time(one.work_s / one.devices),
            _time(one.work_s),
            f"{one.disk / _GIGA:,.2f} GB",
        )
    table.add_section()
    wall_s, disk = sum(one.work_s / one.devices for one in needs), sum(one.disk for one in needs)
    table.add_row("all", "", "", _time(wall_s), "", f"{disk / _GIGA:,.2f} GB")
    table.caption = f"Estimates, not measurements: GPUs at {UTILISATION:.0%} of their peak."
    return table


def _time(seconds: float) -> str:
    if seconds < _HOUR_S:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / _HOUR_S:,.1f} h"


def total_disk(config: PipelineConfig) -> float | None:
    """Bytes that all stages will need; None where it cannot be known yet."""
    if "decode" not in config.stages:
        return None
    try:
        return sum(one.disk for one in reckon(config, find_films(config, None, 20.0), "A100"))
    except MimicMotionError:
        return None
