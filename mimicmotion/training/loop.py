"""The training run as each worker runs it: plain torch, one process or many.

``train({"job": job, "report": report})`` begins, or goes on from the newest checkpoint, and ends with the
averaged network in ``job.result``. The number of a step says which samples it sees and which noise they
get, so a checkpoint needs to remember no random state beside it.
"""

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from mimicmotion.durable import put_in_place
from mimicmotion.errors import DataError, StageError
from mimicmotion.training.building import autocast, build, products_in_tf32
from mimicmotion.training.curves import Curves, Report
from mimicmotion.training.data.batch import Batch, collate, pinned
from mimicmotion.training.data.order import SampleIndex, share
from mimicmotion.training.data.samples import Sample, draw, make_sample, order_of
from mimicmotion.training.distributed.checkpoints import Checkpoints, training_tensors
from mimicmotion.training.distributed.group import World, lost_workers_are_connection_errors
from mimicmotion.training.distributed.parts import learning_rate
from mimicmotion.training.distributed.stopping import stop_request
from mimicmotion.training.estimate.needs import peak_tflops, training_flops
from mimicmotion.training.job import FACTS_FILE, LEARNT, NETWORK_FILE, SAMPLING, TrainingJob, read_clips
from mimicmotion.training.measures import Later, Measures, spoilt
from mimicmotion.training.optimiser import set_moments
from mimicmotion.training.pictures import comparison, sample_picture
from mimicmotion.training.step import accumulate, clip, update, whole
from mimicmotion.training.validation import Validation
from mimicmotion.video.ahead import prefetched
from mimicmotion.video.files import write_preview
from mimicmotion.video.size import Size

logger = logging.getLogger(__name__)

_BATCHES_AHEAD = 2
_PREVIEW_FPS = 8


def train(arguments: dict[str, Any]) -> None:
    """Train as one worker of a group; see ``Training.run``.

    Args:
        arguments: ``job``, a ``TrainingJob``, and ``report``, a ``Report``.

    Raises:
        ConnectionError: another worker is gone; a new group goes on from the newest checkpoint.
        MimicMotionError: see ``Training``.
    """
    world = World.current()
    job, report = arguments["job"], arguments["report"]
    with (
        lost_workers_are_connection_errors(world),
        _machine_watched(report),
        products_in_tf32(job, world.device),
    ):
        Training(job, report, world).run()


def _machine_watched(report: Report) -> AbstractContextManager[None]:
    """The first worker of each machine shows its load; launchers tell workers apart by these variables."""
    if int(os.environ.get("LOCAL_RANK", "0")):
        return nullcontext()
    number = int(os.environ.get("NODE_RANK", "0"))
    return report.watched(f"machine-{number}" if number else "")


class Training:
    """One worker's part in a training run.

    Args:
        job: the run.
        report: where to show it.
        world: this worker and the others.

    Raises:
        DataError: the batch does not divide over the workers.
    """

    def __init__(self, job: TrainingJob, report: Report, world: World) -> None:
        self.job, self.report, self.world = job, Curves(report, job.recorded), world
        job.state.mkdir(parents=True, exist_ok=True)
        self.clips = read_clips(job.clips)
        sizes = {clip.fit.target for clip in self.clips}
        slots = 1 + len(self.clips[0].frames)
        self.order = order_of(self.clips, job.settings.batch, job.settings.seed)
        self.accumulation_steps = accumulation_steps(job, world)
        self.built = build(job, world, cached=all(clip.latents is not None for clip in self.clips))
        pinned = job.settings.optimiser != "adamw_8bit"
        self.checkpoints = Checkpoints(job.checkpoints, job.runtime.keep, world, pinned)
        unet: Any = self.built.network.unet
        self.flops = {
            size: training_flops(unet.config, size, slots, job.settings.extra_passes) for size in sizes
        }
        self._unseen: tuple[Later, Callable[[], StageError]] | None = None
        self.measures = Measures(world.device, peak_tflops(world.device))
        self.validation = Validation(
            read_clips(job.test_clips)[: job.settings.validation_clips],
            job,
            self.built.encoders,
            world.device,
        )

    def run(self) -> None:
        """Train to the last step and write the result, or stop early with a checkpoint when asked to.

        Raises:
            StageError: the loss is not finite, or a clip cannot be read.
        """
        try:
            self._run()
        finally:
            self.checkpoints.close()

    def _run(self) -> None:
        done = self._resume()
        if self.world.is_first:
            self.report.begin(done)
        if done == 0:
            self._validate(0)
        with stop_request(self.job.stop_request, self.world) as stop:
            for step, batches in enumerate(self._batches(done), start=done + 1):
                self._step(step, batches)
                if step == self.job.steps:
                    break
                if step % self.job.runtime.sample_every == 0:
                    self._validate(step)
                stopping = stop.seen()
                if stopping or step % self.job.runtime.checkpoint_every == 0:
                    self._save(step)
                if stopping:
                    self.checkpoints.wait()
                    logger.warning("asked to stop: the checkpoint of step %d is written", step)
                    return
        self._finish()

    def _batches(self, done: int) -> Iterator[list[Batch]]:
        """Yield this worker's micro-batches of each step still to do."""

        def sample(index: SampleIndex) -> Sample:
            clip = self.clips[index.clip]
            return make_sample(clip, draw(clip, index, self.job.settings), self.job.settings)

        own = self.job.settings.batch // self.world.size
        ready = prefetched(
            sample, self._sample_indices(done), self.job.runtime.loader_threads, _BATCHES_AHEAD * own
        )

        channels = self.built.encoders.channels

        def joined(_: int) -> Batch:
            return pinned(
                collate(list(islice(ready, own // self.accumulation_steps)), channels), self.world.device
            )

        # One thread joins the samples of the next step, and draws their noise, while this one trains.
        ahead = prefetched(
            joined, range((self.job.steps - done) * self.accumulation_steps), 1, self.accumulation_steps
        )
        for _ in range(done, self.job.steps):
            started_s = time.perf_counter()
            batches = list(islice(ahead, self.accumulation_steps))
            self.measures.waited(time.perf_counter() - started_s)
            yield batches

    def _sample_indices(self, done: int) -> Iterator[SampleIndex]:
        for step in range(done, self.job.steps):
            for indices in share(
                self.order.at(step), self.world.rank, self.world.size, self.accumulation_steps
            ):
                yield from indices

    def _step(self, step: int, batches: list[Batch]) -> None:
        """Do one optimiser step; ``step`` counts from 1."""
        job, built = self.job, self.built
        numbers = []
        for index, batch in enumerate(batches):
            parts, sigma = accumulate(built, batch, job, self.world, index, len(batches))
            height, width = batch.poses.shape[-2:]
            self.measures.add(parts, sigma, self.flops[Size(width, height)])
            numbers.append(parts.total.detach())
        norm = clip(built, job)
        self._look()
        flag = spoilt([*numbers, norm], self.world)
        self._unseen = Later(flag), partial(self._not_finite, step, batches, numbers, norm)
        rate = learning_rate(step - 1, job.settings.learning_rate, job.settings.warmup_steps)
        try:
            update(built, rate, flag)
        except FloatingPointError:
            self._look()
            raise
        if step % job.runtime.log_every == 0 or step == job.steps:
            self._look()
            self._log(step, {"optimiser/gradient_norm": float(norm), "optimiser/learning_rate": rate})

    def _look(self) -> None:
        """Stop if the newest step was not finite. It changed no weights, but nothing may be made of it.

        A GPU is a step ahead by the time of the look, so that it has work while the number comes.
        """
        unseen, self._unseen = self._unseen, None
        if unseen is not None and unseen[0].read():
            raise unseen[1]()

    def _log(self, step: int, extra: Mapping[str, float]) -> None:
        values = {**self.measures.report(self.world), **extra}
        if self.world.is_first:
            self.report.metrics(values, step)
            samples_left = (self.job.steps - step) * self.job.settings.batch
            logger.info(
                "step %d of %d: loss %.4f, gradient %.3f, %.2f samples/s, %s left",
                step,
                self.job.steps,
                values["loss/total"],
                values["optimiser/gradient_norm"],
                values["speed/samples_per_s"],
                timedelta(seconds=round(samples_left / values["speed/samples_per_s"])),
            )

    def _not_finite(self, step: int, batches: list[Batch], losses: list[Tensor], norm: Tensor) -> StageError:
        """The same error on every worker, with the clips of whichever worker met the bad loss."""
        self.checkpoints.wait()
        own = [(float(loss), batch.clip_ids) for loss, batch in zip(losses, batches, strict=True)]
        seen = self.world.joined(own)
        bad = [(loss, ids) for loss, ids in seen if not math.isfinite(loss)] or seen
        clips = sorted({clip for _, ids in bad for clip in ids})
        return StageError(
            f"training stopped at step {step}: the loss is {[loss for loss, _ in bad]} with the clips "
            f"{', '.join(clips)}, and the norm of the gradient of all is {float(norm)}. "
            f"Newest checkpoint: {self.checkpoints.newest() or 'none'}. Look at these clips, or lower "
            "learning_rate; a new run goes on from the checkpoint."
        )

    def _validate(self, step: int) -> float | None:
        """Validate and show pictures with the averaged weights; returns the loss, if there are test clips."""
        self._look()
        if not self.validation.samples:
            return None
        built = self.built
        with built.average.applied(built.network), autocast(self.job, self.world.device):
            loss = self.validation.loss(built.network, built.teacher)
            generated = self.validation.generate(built.network)
        if self.world.is_first:
            self.report.metrics({"loss/validation": loss}, step)
            pictures = comparison(self.validation.samples, generated)
            # MLflow's page puts sections in the order of their names: pictures, then loss.
            self.report.image("generated/samples", pictures[len(pictures) // 2], step)
            video = self.job.state / f"samples-step-{step:08d}.mp4"
            write_preview(video, pictures, _PREVIEW_FPS)
            self.report.file(video, "samples")
            video.unlink()
            if step == 0:
                for number, sample in enumerate(self.validation.samples):
                    self.report.image(f"hand_map/{number}", sample_picture(sample))
        return loss

    def _tensors(self) -> dict[str, Tensor]:
        return training_tensors(self.built.network, self.built.optimiser, self.built.average)

    def _resume_contract(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be gone on from."""
        return {"batch": self.job.settings.batch, "seed": self.job.settings.seed, "clips": len(self.clips)}

    def _save(self, step: int) -> None:
        self._look()
        settings = self.job.settings
        facts = {**self._resume_contract(), SAMPLING: settings.sampling, LEARNT: settings.learnt}
        path = self.checkpoints.save(step, self._tensors(), facts)
        logger.info("writing checkpoint %s", path)

    def _resume(self) -> int:
        """Load the newest checkpoint; returns the steps done."""
        newest = self.checkpoints.newest_sound()
        if newest is None:
            return 0
        tensors = self._tensors()
        facts = self.checkpoints.load(newest, tensors)
        for name, value in self._resume_contract().items():
            if facts[name] != value:
                raise DataError(
                    f"{newest} was made with {name} {facts[name]}, this run has {value}: remove the folder "
                    f"{newest.parent} to begin anew"
                )
        self.built.average.updates = facts["step"]
        set_moments(self.built.network, self.built.optimiser, tensors, facts["step"])
        logger.info("going on from %s", newest)
        return int(facts["step"])

    def _finish(self) -> None:
        """Write the averaged network, whole, and what the run came to; all workers gather, one writes."""
        loss = self._validate(self.job.steps)
        self._save(self.job.steps)
        self.checkpoints.wait()
        average = self.built.average.state_dict()
        network = {}
        for name, value in self.built.network.state_dict().items():
            gathered = whole(average.get(name, value))
            if self.world.is_first:
                network[name] = gathered.cpu().contiguous()
        if not self.world.is_first:
            return
        staging = self.job.result.with_name(self.job.result.name + ".partial")
        for old in (staging, self.job.result):
            if old.exists():
                shutil.rmtree(old)
        staging.mkdir(parents=True)
        save_file(network, staging / NETWORK_FILE)
        facts = {
            "steps": self.job.steps,
            "validation_loss": loss,
            "num_parameters": sum(value.numel() for value in network.values()),
            "num_trained_parameters": sum(value.numel() for value in self.built.trained),
            **self._resume_contract(),
        }
        (staging / FACTS_FILE).write_text(json.dumps(facts, indent=2))
        put_in_place(staging, self.job.result)


def accumulation_steps(job: TrainingJob, world: World) -> int:
    """Return how many micro-batches each worker sums up for one optimiser step.

    Raises:
        DataError: the batch does not divide over workers and micro-batches.
    """
    micro = job.runtime.micro_batch or max(1, job.settings.batch // world.size)
    count, rest = divmod(job.settings.batch, world.size * micro)
    if rest or not count:
        raise DataError(
            f"a batch of {job.settings.batch} samples does not divide over {world.size} workers with {micro} "
            "samples at once: let train.batch be a multiple of workers x runtime.micro_batch"
        )
    return count
