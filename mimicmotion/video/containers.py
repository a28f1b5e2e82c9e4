"""Opening other people's films: which stream is the film, what decodes it, and whose fault an error is.

The only place that opens a film: decoding, evaluation and sound follow one rule.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from mimicmotion.errors import AWAY, InputError, MimicMotionError, RejectedItem

_SURROUNDINGS = AWAY | {errno.ENOENT, errno.ENOSPC, errno.EDQUOT}
"""What is no fault of the file that was read."""
_FILMS_ALONE = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,mxf,nut,dv,rm,ogg,"
    "h264,hevc,obu,m4v,ivf,mjpeg,yuv4mpegpipe,gif,apng,wav,mp3,aac,flac",
}
"""Forms of files that hold their pictures themselves, and no way to reach others."""
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that read the transparency beside these codecs' frames, which FFmpeg's own pass over."""


@contextmanager
def reading(path: Path, form: str = "a video", code: str = "unreadable") -> Iterator[None]:
    """Turn any error of the block, which reads this file, into a reject of the file.

    Args:
        path: the file.
        form: what it is read as.
        code: of the reject.

    Raises:
        RejectedItem: with this code, whatever class the error had.
        OSError: what the file lies on went away, which is not the file's fault.
    """
    try:
        yield
    except MimicMotionError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _SURROUNDINGS:
            raise
        raise unreadable(path, error, form, code) from error


@contextmanager
def as_input(path: Path) -> Iterator[None]:
    """Turn any error of the block, which reads this file for a user or a later stage, into one of input.

    Raises:
        InputError: says what the error was.
    """
    try:
        with reading(path):
            yield
    except (RejectedItem, OSError) as error:
        said = error.sentence if isinstance(error, RejectedItem) else reason(error)
        raise InputError(f"{path} cannot be read as a video: {said}") from error


def unreadable(path: Path, error: Exception, form: str = "a video", code: str = "unreadable") -> RejectedItem:
    """The reject of a file for an error that was met while it was read."""
    return RejectedItem(code, f"{path.name} cannot be read as {form}: {reason(error)}")


def reason(error: BaseException) -> str:
    """What an error says, without paths, so that it reads the same everywhere."""
    said = getattr(error, "strerror", None) or str(error)
    return str(said) if isinstance(error, av.FFmpegError) else f"{type(error).__name__}: {said}".strip(": ")


def open_film(path: Path) -> Any:
    """A container to read from; tags in other encodings than UTF-8 are no fault of its pictures.

    FFmpeg goes by a file's content, not its name: a playlist named ``.mp4`` would open what it names.

    Raises:
        RejectedItem: ``unreadable``, for a form that is not read.
    """
    try:
        return av.open(str(path.absolute()), options=_FILMS_ALONE, metadata_errors="replace")
    except av.ArgumentError as error:
        raise RejectedItem(
            "unreadable",
            f"{path.name} is of a form that is not read, such as a list of others; read are "
            f"{_FILMS_ALONE['format_whitelist'].replace(',', ', ')}",
        ) from error


def film_stream(container: Any, path: Path) -> int:
    """Index of the first video stream that moves, else of the first that gives a frame; covers are none.

    Args:
        container: the film, opened; nothing is read from it.
        path: of the film. It is opened anew where several streams may be meant.

    Raises:
        RejectedItem: ``unreadable`` or ``no_video_stream``.
        OSError: see ``reading``.
    """
    candidates = [stream.index for stream in container.streams.video if not _is_still(stream)]
    if len(candidates) == 1:
        return candidates[0]
    problem, still = "", None
    for index in candidates:
        try:
            with reading(path):
                num_frames = _first_frames(path, index)
        except RejectedItem as reject:
            problem = reason(reject.__cause__ or reject)
            continue
        if num_frames > 1:
            return index
        problem = problem or "it holds no frame"
        still = index if still is None and num_frames else still
    if still is not None:
        return still
    if candidates:
        raise RejectedItem(
            "unreadable", f"none of the {len(candidates)} video streams of {path.name} decodes: {problem}"
        )
    found = ", ".join(sorted({stream.type for stream in container.streams})) or "no streams"
    raise RejectedItem("no_video_stream", f"{path.name} holds {found}, but no video")


def _first_frames(path: Path, index: int) -> int:
    """Number of frames that a stream gives, up to two."""
    num_frames = 0
    with open_film(path) as container:
        try:
            for _ in container.decode(container.streams[index]):
                num_frames += 1
                if num_frames == 2:
                    break
        except av.FFmpegError as error:
            if not num_frames or isinstance(error, OSError):
                raise
    return num_frames


def _is_still(stream: Any) -> bool:
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return stream.codec_context is None or bool(stream.disposition & still)


def film_decoder(stream: Any) -> Any:
    """What decodes a stream: its own decoder on one thread, or the one that sees its transparency."""
    context = stream.codec_context
    name = _WITH_ALPHA.get(context.codec.canonical_name)
    if name is not None and str(stream.metadata.get("alpha_mode", "0")).strip() not in ("", "0"):
        own, context = context, av.CodecContext.create(name, "r")
        context.extradata = own.extradata
    # One thread: a broken stream then decodes to the same frames every time.
    context.thread_count = 1
    return context
