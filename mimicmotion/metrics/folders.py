"""Scoring what anyone made: two folders of videos, or of folders with frames, paired by name.

Frames are compared by index, so both sides of a pair must have the same number of them.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice, pairwise, zip_longest
from pathlib import Path, PurePath

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.metrics.judging import Chunk, Judge, frames_at_a_time
from mimicmotion.metrics.protocols import EvaluationProtocol, resize_frames
from mimicmotion.metrics.scores import COPY, LATE, MODEL, SUMMARY, Score
from mimicmotion.names import is_hidden, normal
from mimicmotion.video.files import codec_of, iter_frames
from mimicmotion.video.listing import VIDEO_SUFFIXES
from mimicmotion.video.picture_files import PICTURE_SUFFIXES, read_picture
from mimicmotion.video.size import Size
from mimicmotion.video.sources import Outline, read_outline

log = logging.getLogger(__name__)

LOSSY_SUFFIXES = (".avif", ".gif", ".jpg", ".jpeg", ".webp")
_READ = f"read are videos ({', '.join(sorted(VIDEO_SUFFIXES))}) and frames ({', '.join(PICTURE_SUFFIXES)})"
_MOST_STRETCH = 0.02
LOSSLESS_CODECS = ("ffv1", "huffyuv", "ffvhuff", "utvideo", "png", "rawvideo")


def score_folders(
    generated: Path,
    truth: Path,
    protocol: EvaluationProtocol,
    judge: Judge,
) -> list[Score]:
    """Scores of every pair and their summary; the method is called ``model``.

    Two floors stand beside it: the first true frame all the time, and the truth one frame late.

    Generated frames of another size than the true ones are resized to the true ones, as published
    evaluations do; those of another aspect are refused, unless they have the size of the protocol. Files of a
    lossy form are scored with a note, since their loss counts as the model's.

    Args:
        generated: folder with one video, or one folder of frames, for each true one, of the same name.
        truth: the true ones.
        protocol: says size, windows, and which videos there must be.
        judge: measures every pair; nothing was added to it yet.

    Raises:
        InputError: names or numbers of frames do not pair, or the protocol wants other videos.
    """
    made, true = entries(generated), entries(truth)
    lacking, foreign = sorted(true.keys() - made.keys()), sorted(made.keys() - true.keys())
    if lacking or foreign:
        raise InputError(
            f"the folders do not pair: {generated} lacks {', '.join(lacking[:5]) or 'nothing'} and also has "
            f"{', '.join(foreign[:5]) or 'nothing'}; give each result the name of its truth"
        )
    protocol.check_truth(True)
    protocol.check_videos(true)
    for name in sorted(true):
        judge.board.add(judge.measure(name, _chunks(true[name], made[name], protocol.frame_size)))
    return _with_note(judge.scores(), _loss_note({"results": made, "true ones": true}))


def _chunks(truth: Path, generated: Path, common: Size | None) -> Iterator[Chunk]:
    """Both sides of a pair with their floors, a few frames at a time, each file read once.

    Args:
        truth, generated: the films.
        common: what the protocol brings all frames to, whatever their aspect.
    """
    pairs = _pairs(truth, generated)
    first_pair = next(pairs, None)
    if first_pair is None:
        return
    reference = late = first_pair[0]
    size, made = Size.of(reference), Size.of(first_pair[1])
    stretch = made.width_px * size.height_px / (made.height_px * size.width_px)
    if made != common and abs(stretch - 1) > _MOST_STRETCH:
        raise InputError(
            f"{generated} is {made}, {truth} is {size}: bringing one to the other would stretch pictures by "
            f"{max(stretch, 1 / stretch):.2f}; give both one aspect"
        )
    pairs = chain([first_pair], pairs)
    while chunk := list(islice(pairs, frames_at_a_time(*size))):
        true, results = (_together([pair[side] for pair in chunk]) for side in (0, 1))
        yield (
            true,
            {
                MODEL: results if made == common else resize_frames(results, size),
                COPY: np.broadcast_to(reference, true.shape),
                LATE: _together([late, *true[:-1]]),
            },
        )
        late = true[-1]


def _together(frames: list[np.ndarray]) -> np.ndarray:
    """Frames (n, h, w, 3); a single one, which may be large, is not copied."""
    return frames[0][None] if len(frames) == 1 else np.stack(frames)


def _pairs(truth: Path, generated: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    num_true = num_made = 0
    for frame, made in zip_longest(iter_film(truth), iter_film(generated)):
        num_true, num_made = num_true + (frame is not None), num_made + (made is not None)
        if num_true == num_made:
            yield frame, made
    if num_made != num_true:
        raise InputError(
            f"{generated} has {num_made} frames, {truth} has {num_true}: frames are compared by index, so "
            "both need the same number"
        )


def _with_note(scores: list[Score], note: str | None) -> list[Score]:
    """The scores, with a note beside the first metric of the summary."""
    return [
        replace(score, note="; ".join(filter(None, (score.note, note))) or None)
        if (score.clip_id, score.method, score.metric) == (SUMMARY, MODEL, "psnr")
        else score
        for score in scores
    ]


def _loss_note(sides: Mapping[str, Mapping[str, Path]]) -> str | None:
    """What a reader must know where files have lost something before they came here."""
    found = []
    for side, videos in sides.items():
        forms = {path.name: form for path in videos.values() if (form := lossy_form(path))}
        if forms:
            name, form = next(iter(forms.items()))
            found.append(f"{len(forms)} of {len(videos)} {side} (the first is {name}, {form})")
    if not found:
        return None
    return f"lossy files, whose loss is in every number here: {' and '.join(found)}; use PNG or FFV1"


def lossy_form(path: Path) -> str | None:
    """The codec of a video or the suffix of pictures, where that form loses something; else None."""
    if path.is_dir():
        suffixes = (file.suffix.lower() for file in _frame_files(path))
        return next((suffix for suffix in suffixes if suffix in LOSSY_SUFFIXES), None)
    codec = codec_of(path)
    return None if codec in LOSSLESS_CODECS else codec


def entries(folder: Path) -> dict[str, Path]:
    """Videos and folders of frames in a folder, by name without suffix, in one Unicode form.

    Raises:
        InputError: there are none, or two of one name.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    found: dict[str, Path] = {}
    unread = list[str]()
    for path in _visible(folder):
        is_video = path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES
        if not is_video and not (path.is_dir() and _frame_files(path)):
            unread.append(path.name)
            continue
        name = normal(path.stem if is_video else path.name)
        if name in found:
            raise InputError(f"both {found[name]} and {path} are called {name}; remove one of them")
        found[name] = path
    if not found:
        raise InputError(f"{folder} holds neither videos nor folders of frames; {_READ}")
    # Beside x.mp4 `animate` writes x.judge.json and more.
    beside = {f"{name}.{kind}" for name in found for kind in ("judge", "poses")}
    if unread := [name for name in unread if normal(PurePath(name).stem) not in beside]:
        log.warning("%s: %s not scored; %s", folder, ", ".join(unread[:10]), _READ)
    return found


def iter_film(path: Path) -> Iterator[np.ndarray]:
    """Frames uint8 (h, w, 3) RGB of a video, or of the pictures in a folder in the order of their numbers.

    Raises:
        InputError: a file cannot be read, the numbers of a folder's frames have a gap or come twice, or
            frames differ in size.
    """
    if path.is_file():
        frames = iter_frames(path)
    else:
        files = _frame_files(path)
        numbers = [_number(file) for file in files]
        if -1 in numbers and len(files) > 1:
            raise InputError(
                f"{path} holds {files[0].name}, whose name has no number, beside {len(files) - 1} other "
                "pictures: take it away, or number all frames"
            )
        _check_numbers(path, numbers)
        frames = map(read_picture, files)
    shape = None
    for number, frame in enumerate(frames):
        if shape not in (None, frame.shape):
            raise InputError(f"the frames of {path} have 2 sizes, from frame {number} on; a video needs one")
        shape = frame.shape
        yield frame


def film_shape(path: Path) -> tuple[int, Outline | None, Size]:
    """Frames of a film, its outline with rate and times, and its size; a folder of frames has no outline.

    Raises:
        InputError: it is not there, or no film.
    """
    first = next(iter(iter_film(path)), None)
    if first is None:
        raise InputError(f"{path} holds no frame; {_READ}")
    size = Size.of(first)
    if path.is_dir():
        return len(_frame_files(path)), None, size
    outline = read_outline(path)
    return outline.num_packets, outline, size


def _frame_files(folder: Path) -> list[Path]:
    files = [path for path in _visible(folder) if path.suffix.lower() in PICTURE_SUFFIXES]
    return sorted(files, key=lambda path: (_number(path), path.name))


def _visible(folder: Path) -> list[Path]:
    """What a folder holds, without hidden files: some systems leave ``._a.mp4`` beside ``a.mp4``."""
    return sorted(path for path in folder.iterdir() if not is_hidden(PurePath(path.name)))


def _check_numbers(folder: Path, numbers: Sequence[int]) -> None:
    """Make sure that no frame is missing or there twice: all later ones would be compared with wrong ones.

    One step between all numbers, like 0, 3, 6, is no gap.
    """
    steps = [after - before for before, after in pairwise(numbers)]
    if not steps:
        return
    if min(steps) == 0:
        twice = numbers[steps.index(0)]
        raise InputError(
            f"{folder} has several frames of number {twice}; a frame's number is the last one in its name, "
            "and each must be there once"
        )
    for place, step in enumerate(steps):
        if step != min(steps):
            raise InputError(
                f"{folder} lacks frames between the numbers {numbers[place]} and {numbers[place + 1]}; "
                "frames are compared by index, so all that follow would be paired with wrong ones"
            )


def _number(path: Path) -> int:
    """The last number in a name, -1 for none: frame_9 comes before frame_10 whatever the padding."""
    digits = "".join(c if c.isdecimal() else " " for c in path.stem).split()
    return int(digits[-1]) if digits else -1
