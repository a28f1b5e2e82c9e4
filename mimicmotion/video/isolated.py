"""Normalising in a killable child: a hang or a crash of a codec costs one video, not the run.

Each video gets a child of its own, since one kept for several would let a broken one spoil the next. Children
are forked from a process that has imported PyAV and NumPy (``forks.py``), since an interpreter for each took
longer to start than a short film to decode. A worker cannot fork itself, for its threads do not survive that.
"""

import json
import signal
import time
from functools import cache
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from mimicmotion.errors import MachineError, RejectedItem, StageError
from mimicmotion.video.forks import Forks
from mimicmotion.video.normalise import VideoFacts, staging_of
from mimicmotion.video.settings import NormaliseSettings

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends a child because everything ends: no fault of the video."""


@cache
def _children() -> Forks:
    return Forks("mimicmotion.video.normalise")


def normalise_isolated(
    source: Path, target: Path, settings: NormaliseSettings, timeout_s: float, retries: int = 2
) -> VideoFacts:
    """Facts of a source video whose normalised form now lies at ``target``, made by a child process.

    Args:
        source: the video.
        target: where the normalised file goes, in a folder that exists.
        settings: what it shall be.
        timeout_s: seconds after which the child is killed.
        retries: how often a child that was killed from outside is started again, within that time.

    Raises:
        RejectedItem: as ``normalise_video``, and ``timeout``, ``decoder_crashed`` or ``decoder_killed``.
        StageError: the child failed for a reason that is not the video's, e.g. a full disk.
    """
    chosen = settings.model_dump_json(include=set(NormaliseSettings.model_fields))  # it may be a whole stage
    try:
        arguments = [str(source.absolute()), str(target.absolute()), chosen]
        return facts_from(_children(), arguments, source.name, timeout_s, retries)
    finally:
        # What a killed child leaves behind.
        staging_of(target).unlink(missing_ok=True)


def facts_from(
    children: Forks, arguments: list[str], name: str, timeout_s: float, retries: int = 0
) -> VideoFacts:
    """Facts that a child printed as one line of JSON, as ``normalise.main`` does.

    Args:
        children: start it.
        arguments: what it works on.
        name: of the video, for messages.
        timeout_s: seconds after which the child is killed.
        retries: as for ``normalise_isolated``.

    Raises:
        RejectedItem, StageError: as ``normalise_isolated``.
    """
    end_s = time.monotonic() + timeout_s
    try:
        for _ in range(retries + 1):
            child = children.run(arguments, max(0.0, end_s - time.monotonic()))
            if child.returncode != -signal.SIGKILL:
                break
    except TimeoutExpired:
        raise RejectedItem("timeout", f"{name} took longer than {timeout_s:g} s to decode") from None
    if child.returncode == -signal.SIGKILL:
        raise RejectedItem(
            "decoder_killed",
            f"the decoder of {name} was killed {retries + 1} times (SIGKILL), as systems do that run out of "
            "memory: give it more, lower decode.runtime.workers, or make the film smaller",
        )
    if child.returncode < 0 and -child.returncode not in _ENDING_SIGNALS:
        fault = signal.Signals(-child.returncode).name
        raise RejectedItem("decoder_crashed", f"the decoder of {name} crashed with {fault}")
    if child.returncode != 0:
        complaint = child.stderr.decode(errors="replace").strip().splitlines()
        last = complaint[-1] if complaint else f"status {child.returncode}"
        raise StageError(f"decoding {name} failed, and not for the video's sake: {last}")
    return _facts(json.loads(child.stdout), name)


def _facts(answer: dict[str, Any], name: str) -> VideoFacts:
    if "rejected" in answer:
        code, sentence = answer["rejected"]
        raise RejectedItem(code, sentence)
    if "away" in answer:
        raise MachineError(f"decoding {name} failed, and not for the video's sake: {answer['away']}")
    facts = answer["facts"]
    for field in ("scene_cuts", "bad_frames", "source_frames"):
        facts[field] = tuple(facts[field])
    facts["fades"] = tuple((first, end) for first, end in facts["fades"])
    return VideoFacts(**facts)
