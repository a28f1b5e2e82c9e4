"""Normalising in a killable child: a hang or a crash of a codec costs one video, not the run.

Each video gets a fresh interpreter that imports only PyAV and NumPy (about 0.2 s). Forking a worker
would be quicker, but a worker holds threads, which do not survive a fork; and a child kept for several
videos would let a broken one spoil the next.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import mimicmotion
from mimicmotion.errors import RejectedItem, StageError
from mimicmotion.video.normalise import VideoFacts, staging_of
from mimicmotion.video.settings import NormaliseSettings

_OUTSIDE_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends a child from outside, e.g. when memory runs out: no fault of the video."""


def normalise_isolated(
    source: Path, target: Path, settings: NormaliseSettings, timeout_s: float
) -> VideoFacts:
    """Facts of a source video whose normalised form now lies at ``target``, made by a child process.

    Args:
        source: the video.
        target: where the normalised file goes, in a folder that exists.
        settings: what it shall be.
        timeout_s: seconds after which the child is killed.

    Raises:
        RejectedItem: as ``normalise_video``, and ``timeout`` or ``decoder_crashed``.
        StageError: the child failed for a reason that is not the video's, e.g. a full disk.
    """
    command = [sys.executable, "-m", "mimicmotion.video.normalise", str(source), str(target)]
    chosen = settings.model_dump_json(include=set(NormaliseSettings.model_fields))  # it may be a whole stage
    try:
        return run_child([*command, chosen], source.name, timeout_s)
    finally:
        # What a killed child leaves behind.
        staging_of(target).unlink(missing_ok=True)


def run_child(command: list[str], name: str, timeout_s: float) -> VideoFacts:
    """Facts that a child printed.

    Args:
        command: prints one line of JSON, as the module ``normalise`` does.
        name: of the video, for messages.
        timeout_s: seconds after which the child is killed.

    Raises:
        RejectedItem, StageError: as ``normalise_isolated``.
    """
    root = str(Path(mimicmotion.__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as child:
        try:
            output, complaint = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise RejectedItem("timeout", f"{name} took longer than {timeout_s:g} s to decode") from None
        finally:
            # Also on an interrupt: no child outlives the call.
            child.kill()
    if child.returncode < 0 and -child.returncode not in _OUTSIDE_SIGNALS:
        fault = signal.Signals(-child.returncode).name
        raise RejectedItem("decoder_crashed", f"the decoder of {name} crashed with {fault}")
    if child.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines() or [f"status {child.returncode}"]
        raise StageError(f"decoding {name} failed, and not for the video's sake: {lines[-1]}")
    return _facts(json.loads(output))


def _facts(answer: dict[str, dict]) -> VideoFacts:
    if "rejected" in answer:
        code, sentence = answer["rejected"]
        raise RejectedItem(code, sentence)
    facts = answer["facts"]
    for name in ("scene_cuts", "bad_frames", "source_frames"):
        facts[name] = tuple(facts[name])
    facts["fades"] = tuple((first, end) for first, end in facts["fades"])
    return VideoFacts(**facts)
