"""One request answered by several processes of this machine, each with a share of the video.

The process that asked only watches: it shows progress, and ends all workers when one fails or on Ctrl-C, so
nothing waits for a worker that is gone.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist

from mimicmotion.animation.generate import generate
from mimicmotion.animation.request import AnimationRequest, PreparedRequest, perform_in, result_folder
from mimicmotion.diffusion.sampler import Progress
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.diffusion.spread import Share
from mimicmotion.errors import MimicMotionError
from mimicmotion.model.pipeline import MimicMotionPipeline
from mimicmotion.parent import end_with_parent

# The watching process sees a worker that is gone; this only has to be longer than compiling takes.
_PATIENCE = timedelta(hours=2)
_END_S = 5.0

Load = Callable[[], MimicMotionPipeline]
"""Loads the pipeline, onto the current GPU or the CPU; it can be pickled."""


@dataclass(frozen=True)
class WorkerGroup:
    """The workers.

    Attributes:
        size: how many.
        cuda: each on a GPU of its own, with messages by NCCL; else on the CPU, by gloo.
    """

    size: int
    cuda: bool


def perform_together(
    group: WorkerGroup,
    load: Load,
    request: AnimationRequest,
    prepared: PreparedRequest,
    settings: SamplerSettings,
    progress: Progress,
) -> int:
    """Number of frames written to the request's result: what ``perform`` writes, made by several workers.

    Args:
        group: the workers.
        load: called in each of them.
        request: what is asked for.
        prepared: by ``prepare``.
        settings: how to sample.
        progress: called with (tiles done, tiles of the whole run) of worker 0.

    Raises:
        MimicMotionError: a worker failed or died; all are ended, and no result is written.
    """
    with result_folder(request) as folder:
        task = (group, load, Path(folder), request, prepared, settings)
        with _running(group.size, task) as workers:
            return _watch(workers, progress)


Workers = dict[Connection, tuple[int, BaseProcess]]
"""Where each worker's news arrives -> its rank and process."""


@contextmanager
def _running(size: int, task: tuple[object, ...]) -> Iterator[Workers]:
    context = torch.multiprocessing.get_context("spawn")
    workers: Workers = {}
    try:
        for rank in range(size):
            receiver, sender = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_work, args=(rank, sender, *task), daemon=True)
            with _without_interrupts():
                process.start()
            # Only the worker holds this end from now on, so its death is the end of its news.
            sender.close()
            workers[receiver] = rank, process
        yield workers
    finally:
        for _, worker in workers.values():
            worker.terminate()
        for _, worker in workers.values():
            worker.join(_END_S)
            if worker.is_alive():
                worker.kill()
                worker.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes started here do not see Ctrl-C, which a console sends to all; who watches ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _watch(workers: Workers, progress: Progress) -> int:
    """Return what worker 0 wrote, when all are done."""
    num_frames, size = 0, len(workers)
    waiting = list(workers)
    while waiting:
        ready = wait(waiting)
        for receiver in [one for one in waiting if one in ready]:
            rank, process = workers[receiver]
            try:
                told = receiver.recv()
            except EOFError:
                process.join(_END_S)
                raise MimicMotionError(
                    f"worker {rank} of {size} ended with exit code {process.exitcode}, without a word; all "
                    "workers were ended and no video was written. Exit code -9 often means too little "
                    "memory: ask for fewer --workers"
                ) from None
            if isinstance(told, tuple):
                progress(*told)
            elif isinstance(told, int):
                num_frames = max(num_frames, told)
                waiting.remove(receiver)
            else:
                raise MimicMotionError(
                    f"worker {rank} of {size} failed; all workers were ended and no video was written: "
                    f"{told!s}"
                )
    return num_frames


def _work(
    rank: int,
    sender: Connection,
    group: WorkerGroup,
    load: Load,
    folder: Path,
    request: AnimationRequest,
    prepared: PreparedRequest,
    settings: SamplerSettings,
) -> None:
    """One worker: sends progress as tuples, then a number of frames, or a text where it failed."""
    end_with_parent()
    try:
        _join(rank, group, folder / "meeting")
        pipeline = load()
        pipeline.spread(Share(rank, group.size))
        num_frames = 0
        if rank == 0:
            tell: Progress = lambda done, total: sender.send((done, total))  # noqa: E731
            num_frames = perform_in(folder, request, prepared, pipeline, settings, tell)
        else:
            inputs, chunk = prepared.inputs, request.decode_chunk
            for _ in generate(pipeline, inputs, settings, request.seed, chunk):
                raise RuntimeError("a worker other than 0 was given frames")
        dist.barrier()
        dist.destroy_process_group()
        sender.send(num_frames)
    except MimicMotionError as error:
        sender.send(str(error))
    except Exception as error:
        # Whatever it is, it must reach the person who waits.
        sender.send(f"{type(error).__name__}: {error}")


def _join(rank: int, group: WorkerGroup, meeting: Path) -> None:
    """Meet the others through a file; messages stay on this machine."""
    if Path("/sys/class/net/lo").exists():
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, "lo")
    if group.cuda:
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(max(torch.get_num_threads() // group.size, 1))
    dist.init_process_group(
        "nccl" if group.cuda else "gloo",
        store=dist.FileStore(str(meeting.absolute()), group.size),  # type: ignore[attr-defined]
        rank=rank,
        world_size=group.size,
        timeout=_PATIENCE,
    )
