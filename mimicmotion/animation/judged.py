"""Films judged without their truth: what ``animate`` made, and what anybody else did.

Poses are compared in the space in which the film was driven: on the body of the reference picture, as
``animate`` aligns them. A film whose number of frames is that of its driver is compared frame by frame; any
other by time from the start, and may be shorter than its driver.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from pydantic import Field

from mimicmotion.animation.driving import (
    Driver,
    Drivers,
    Driving,
    aligned,
    driver_from_poses,
    driver_from_video,
    driver_of,
    reference_pose,
    reference_pose_from,
    source_shape,
    uneven_timing,
)
from mimicmotion.animation.generate import AnimationInputs
from mimicmotion.animation.request import AnimationRequest, result_folder
from mimicmotion.diffusion.memory import is_out_of_memory
from mimicmotion.diffusion.settings import Fusion, SamplerSettings
from mimicmotion.durable import put_in_place, write_file
from mimicmotion.errors import InputError, MimicMotionError
from mimicmotion.lists import read_list
from mimicmotion.metrics.film.drift import film_borders
from mimicmotion.metrics.film.film_scores import Verdict, Wanted
from mimicmotion.metrics.film.looks import FilmTools
from mimicmotion.metrics.film.verdicts import mean_ranks, verdict_line, verdict_values
from mimicmotion.metrics.folders import entries, film_shape, iter_film
from mimicmotion.metrics.judging import judge_film
from mimicmotion.names import existing, is_hidden, normal
from mimicmotion.pictures.verdict import verdict_picture
from mimicmotion.pose.framing import framed_track
from mimicmotion.pose.models.estimator import CalibratedEstimator
from mimicmotion.pose.settings import AlignmentMode
from mimicmotion.pose.table import PoseTrack, stored_models
from mimicmotion.settings import Section
from mimicmotion.video.files import iter_frames
from mimicmotion.video.framing import framing
from mimicmotion.video.listing import VIDEO_SUFFIXES
from mimicmotion.video.picture_files import PICTURE_SUFFIXES, read_picture, write_picture
from mimicmotion.video.size import Size
from mimicmotion.video.sources import Outline

FILES = ("generated", "driving", "reference", "poses", "reference_poses")
COLUMNS = (*FILES, "name")


class JudgeRequest(Section):
    """A film to judge, and what it was to show."""

    generated: Path = Field(description="The film: a video, or a folder of frames.")
    reference: Path = Field(description="The picture of the person who is to dance.")
    driving: Path | None = Field(None, description="The driving video.")
    poses: Path | None = Field(None, description="Stored poses in place of those found in the driving video.")
    reference_poses: Path | None = Field(None, description="Stored pose of the reference picture.")
    name: str = Field("", description="What the film is called in the scores; else its file's name.")
    person: int = Field(0, ge=0, description="Which person drives; 0 is the main person.")
    alignment: AlignmentMode = Field("robust", description="How driving poses were brought onto the body.")
    tile: int | None = Field(None, ge=2, description="Slots of a tile, the reference included.")
    overlap: int | None = Field(None, ge=0, description="Slots that neighbouring tiles share.")
    fusion: Fusion = Field("progressive", description="How predictions of overlapping tiles were joined.")

    @property
    def film_id(self) -> str:
        """What the film is called."""
        return self.name or self.generated.stem


def wanted_of(inputs: AnimationInputs, settings: SamplerSettings, camera: str | None) -> Wanted:
    """What an animation was to show.

    Args:
        inputs: what it was made from.
        settings: how it was sampled, with the tile that memory sufficed for.
        camera: the reason why the background may move; None where the camera stands still.
    """
    borders = film_borders(settings.fusion, len(inputs.driving), settings.tile, settings.overlap)
    return _wanted(inputs.reference, inputs.reference_pose, inputs.driving, borders, camera)


@dataclass(frozen=True)
class Judged:
    """What the judge says of the tries of one film.

    Attributes:
        best: place of the try of the best mean rank, the first of equals.
        verdict: on it.
        values: of all tries, as JSON.
    """

    best: int
    verdict: Verdict
    values: dict[str, Any]

    def write(self, values: Path, picture: Path, reference: np.ndarray) -> None:
        """Write all scores as JSON, and curves and worst frames of the best try as a picture."""
        write_file(values, (json.dumps(self.values, indent=1) + "\n").encode())
        write_picture(picture, verdict_picture(self.verdict, reference))


def judge_tries(
    films: Mapping[int, Path], wanted: Mapping[int, Wanted], tools: FilmTools, film_id: str
) -> Judged:
    """Which of several tries of one film is the best, see ``mean_ranks``.

    Args:
        films: the file of each seed.
        wanted: what each was to show.
        tools: what looks at them.
        film_id: names the film.
    """
    torch.cuda.empty_cache()  # what sampling has freed, which the judge's other library could not use
    verdicts = [judge_film(iter_frames(path), wanted[seed], tools, film_id) for seed, path in films.items()]
    ranks = mean_ranks(verdicts)
    best = int(np.argmin(ranks))
    values = [
        {"seed": seed, "mean_rank": rank, "line": verdict_line(verdict.scores), **verdict_values(verdict)}
        for seed, rank, verdict in zip(films, ranks, verdicts, strict=True)
    ]
    others = [*values[:best], *values[best + 1 :]]
    return Judged(best, verdicts[best], {"film": film_id, "kept": values[best], "others": others})


def tried(
    request: AnimationRequest,
    make: Callable[[AnimationRequest], SamplerSettings],
    wanted: Callable[[SamplerSettings], Wanted],
    tools: FilmTools | None,
) -> str | None:
    """Make the result of a request, the best of its tries, and write beside it what the judge says.

    The film's name with ``.judge.json`` has the scores of all tries, with ``.judge.png`` the curves and worst
    frames of the one that is kept.

    Args:
        request: its seed is that of the first try, each further one has the next.
        make: writes the film of a request, and gives the settings that it was sampled with.
        wanted: what a film of these settings is to show.
        tools: what judges; None judges nothing, and there is one try.

    Returns:
        The judge's line.

    Raises:
        InputError: the judge cannot look at what was made; the film of the first seed is there nevertheless.
    """
    values, picture = (request.out.with_suffix(f".judge.{ending}") for ending in ("json", "png"))
    with result_folder(request) as folder:
        seeds = range(request.seed, request.seed + (1 if tools is None else request.tries))
        films, used = dict[int, Path](), dict[int, SamplerSettings]()
        for seed in seeds:
            films[seed] = Path(folder) / f"{seed}.mp4"
            used[seed] = make(request.replaced(seed=seed, tries=1, out=films[seed]))
        # What was said of an earlier film is not said of this one.
        values.unlink(missing_ok=True)
        picture.unlink(missing_ok=True)
        # Whatever ends the judge, even a signal, does not cost what took long.
        put_in_place(films[request.seed], request.out)
        films[request.seed] = request.out
        if tools is None:
            return None
        try:
            shown = {seed: wanted(settings) for seed, settings in used.items()}
            judged = judge_tries(films, shown, tools, request.out.stem)
        except (MimicMotionError, MemoryError, RuntimeError) as error:
            if not isinstance(error, MimicMotionError) and not is_out_of_memory(error):
                raise
            kind = "" if isinstance(error, MimicMotionError) else f"{type(error).__name__}: "
            raise InputError(
                f"{request.out} is there, made with seed {request.seed}, but could not be judged: "
                f"{kind}{error}; judge it by `mimicmotion judge`, or make films with --no-judge"
            ) from error
        seed = seeds[judged.best]
        if films[seed] != request.out:
            put_in_place(films[seed], request.out)
    judged.write(values, picture, shown[seed].reference)
    of = f"seed {seed}, the best of {len(films)}; " if len(films) > 1 else ""
    return f"judge: {of}{judged.values['kept']['line']}"


def judge_generated(
    request: JudgeRequest, tools: FilmTools, drivers: Drivers | None = None
) -> tuple[Verdict, np.ndarray]:
    """What can be said of a film without its truth, and its reference picture at the film's size.

    Args:
        request: the film, and what it was to show.
        tools: what looks at it.
        drivers: driving poses of films before this one; those of this one are added.

    Raises:
        InputError: a file cannot be used, nobody is in it, or the film does not fit its driver.
    """
    num_frames, outline, size = film_shape(request.generated)
    picture = read_picture(request.reference)
    fit = framing(Size.of(picture), [size])
    reference = fit.frames(picture[None])[0]
    if request.reference_poses is not None:
        stored = reference_pose_from(request.reference_poses, fit.source)
        own = _as_found(framed_track(stored, fit), request.reference_poses, tools)
    elif tools.estimator is None:
        raise InputError(
            "finding the pose of the reference needs a detector and a whole-body model: give --config, whose "
            "section pose names them (demo, finetune), --detector and --wholebody, or --reference-poses"
        )
    else:
        own = reference_pose(reference, tools.estimator)
    fps, times_s = _timing(request, num_frames, outline)
    driving = _driving(request, fps, tools, {} if drivers is None else drivers)
    track = _as_found(_fitted(driving, times_s, request), request.poses, tools)
    borders: tuple[int, ...] | str = "tile and overlap of this film are not given"
    if request.tile is not None and request.overlap is not None:
        borders = film_borders(request.fusion, num_frames, request.tile, request.overlap)
    wanted = _wanted(reference, own, aligned(request.alignment, track, own), borders, driving.camera)
    return judge_film(iter_film(request.generated), wanted, tools, request.film_id), reference


def _as_found(track: PoseTrack, poses: Path | None, tools: FilmTools) -> PoseTrack:
    """The track with probabilities, where it is stored and poses that are found again have them."""
    if poses is None or not isinstance(tools.estimator, CalibratedEstimator):
        return track
    calibration = tools.estimator.calibration
    calibration.check(stored_models(poses), f"the poses {poses}")
    return track.calibrated(calibration)


def _wanted(
    reference: np.ndarray,
    own: PoseTrack,
    driving: PoseTrack,
    borders: tuple[int, ...] | str,
    camera: str | None,
) -> Wanted:
    return Wanted(
        reference=reference,
        reference_pose=(own.keypoints, own.confidences),
        driving=(driving.keypoints, driving.confidences),
        borders=borders,
        background=camera,
    )


def _timing(request: JudgeRequest, num_frames: int, own: Outline | None) -> tuple[float, np.ndarray]:
    """Rate of the driving poses, and seconds of the film's frames; frame by frame where both have as many."""
    drives = request.poses if request.poses is not None else request.driving
    if drives is None:
        raise InputError(f"nothing drives {request.film_id}: give a driving video or stored poses")
    num_driving, fps = source_shape(request.driving, request.poses)
    if num_driving == num_frames:
        uneven = uneven_timing(request.driving) if request.driving and request.poses is None else None
        return uneven or (fps, np.arange(num_frames) / fps)
    if own is None:
        raise InputError(
            f"{request.generated} is a folder of {num_frames} frames without a rate, and its driver {drives} "
            f"has {num_driving}; both need the same number"
        )
    # Between frames at uneven times no rate but the driver's own is fine enough.
    return float(own.rate.fps) if own.rate.constant else fps, own.times_s


def _driving(request: JudgeRequest, fps: float, tools: FilmTools, drivers: Drivers) -> Driving:
    """The driver's poses at a rate."""

    def find(folder: Path) -> Driver:
        if request.poses is not None:
            return driver_from_poses(request.poses, request.driving, fps, folder)
        if tools.estimator is None or request.driving is None:
            raise InputError("finding driving poses needs a detector and a whole-body model, or stored poses")
        return driver_from_video(request.driving, fps, tools.estimator, folder)

    return driver_of(drivers, (request.driving, request.poses, fps), find).driving(request.person)


def _fitted(driving: Driving, times_s: np.ndarray, request: JudgeRequest) -> PoseTrack:
    """The pose at the time of each frame, also where these come at uneven times; the last one may be held."""
    places = np.round(times_s * driving.fps).astype(int)
    if places[-1] > len(driving.track):
        raise InputError(
            f"{request.generated} has {len(times_s)} frames and lasts longer than its driver, which has "
            f"{len(driving.track)} at its rate: they do not belong together, or the film plays at another "
            "speed; give a driver with as many frames"
        )
    return driving.track.select(np.minimum(places, len(driving.track) - 1))


def judge_requests(
    pairs: Path | None, files: Mapping[str, Path | None], wishes: Mapping[str, Any]
) -> list[JudgeRequest]:
    """What to judge: one film, one for each row of a list, or one for each film of a folder.

    Args:
        pairs: CSV with the columns generated and reference, one of driving and poses, and any of
            ``COLUMNS``; paths are relative to its folder.
        files: by column, where there is no list. Where generated is a folder of films, the others may be
            folders too, with files of the same names, or one file for all.
        wishes: further fields.

    Raises:
        InputError: files are missing or do not pair, or films have one name or none that a file can have.
    """
    given: dict[str, Any] = {name: path for name, path in files.items() if path is not None}
    if pairs is not None:
        if given:
            raise InputError(f"{', '.join(given)} given beside a list of pairs, which names the files")
        named = _rows(pairs)
    elif "generated" in given and _is_folder_of_films(given["generated"]):
        films = entries(given["generated"])
        named = [
            {name: _of_name(path, film, name) for name, path in given.items() if name != "generated"}
            | {"generated": path, "name": film}
            for film, path in films.items()
        ]
    else:
        named = [dict(given)]
    requests = [_request(fields, wishes) for fields in named]
    names = Counter(request.film_id for request in requests)
    wrong = [name for name, count in names.items() if count > 1 or PurePath(name).name != name]
    if wrong:
        raise InputError(
            f"films are called {', '.join(wrong)}: each needs a plain name of its own, or the scores of one "
            "replace those of another; give names in the column name"
        )
    return requests


def _rows(pairs: Path) -> list[dict[str, Any]]:
    table = read_list(pairs, COLUMNS)
    unknown = [name for name in table.column_names if name not in COLUMNS]
    if unknown or not len(table):
        raise InputError(
            f"{pairs} has {len(table)} rows under {', '.join(table.column_names)}; needed is one row "
            f"for each film, and allowed are {', '.join(COLUMNS)}"
        )
    rows = [{name: str(value or "").strip() for name, value in row.items()} for row in table.to_pylist()]
    return [
        {name: pairs.parent / value if name in FILES else value for name, value in row.items() if value}
        for row in rows
    ]


def _is_folder_of_films(path: Path) -> bool:
    if not path.is_dir():
        return False
    forms = {one.suffix.lower() for one in path.iterdir() if not is_hidden(PurePath(one.name))}
    # Beside films lie pictures, e.g. those that ``animate`` writes; beside frames no films.
    return not forms.isdisjoint(VIDEO_SUFFIXES) or forms.isdisjoint(PICTURE_SUFFIXES)


def _of_name(path: Path, name: str, kind: str) -> Path:
    """What belongs to the film of this name in a folder; the path itself where it is no folder.

    In the folder that ``animate`` wrote, the poses of ``x.mp4`` are ``x.poses.parquet``.
    """
    if not path.is_dir():
        return path
    forms = {"driving": VIDEO_SUFFIXES, "reference": PICTURE_SUFFIXES}.get(kind)
    shown = {*VIDEO_SUFFIXES, *PICTURE_SUFFIXES}
    found = sorted(
        one
        for one in path.iterdir()
        if (one.suffix.lower() in forms if forms else one.suffix.lower() not in shown)
        and name in (normal(one.stem), *([] if forms else [normal(one.stem.removesuffix(".poses"))]))
    )
    if len(found) != 1:
        other = "" if forms else f", or {name}.poses.parquet as `animate` writes them"
        raise InputError(
            f"{path} has {len(found)} files of the kind {kind} called {name}{other}; each film needs one"
        )
    return found[0]


def _request(fields: Mapping[str, Any], wishes: Mapping[str, Any]) -> JudgeRequest:
    lacking = [name for name in ("generated", "reference") if name not in fields]
    if lacking:
        raise InputError(f"no {' and no '.join(lacking)} is given to judge")
    paths = {name: existing(Path(fields[name])) for name in FILES if name in fields}
    missing = [f"{name} {path}" for name, path in paths.items() if not path.exists()]
    if missing:
        raise InputError(f"{', '.join(missing)} is not there")
    return JudgeRequest.model_validate({**wishes, **fields, **paths})
