"""Numbers that people watch while training: losses by noise level and by hands, speed, waiting, memory."""

import resource
import sys
import time
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mimicmotion.training.distributed.group import World
from mimicmotion.training.loss import LossParts

SIGMA_EDGES = (0.1, 0.5, 2.0, 10.0)
"""Bounds between the bins of noise level; the presets put some samples in each."""

_NAMES = (
    "loss/sigma_below_0.1",
    "loss/sigma_0.1_0.5",
    "loss/sigma_0.5_2",
    "loss/sigma_2_10",
    "loss/sigma_above_10",
)


class Measures:
    """Sums since the last report.

    Args:
        device: where the losses lie; nothing is brought to the host between reports.
        peak_tflops: what the device can do at most in a second; None where it is not known.
    """

    def __init__(self, device: torch.device, peak_tflops: float | None) -> None:
        self._device = device
        self._peak_tflops = peak_tflops
        self._edges = torch.tensor(SIGMA_EDGES, device=device)
        self._reset()

    def _reset(self) -> None:
        self._total = torch.zeros(2, device=self._device)
        self._bins = torch.zeros(len(SIGMA_EDGES) + 1, 2, device=self._device)
        self._hands = torch.zeros(2, 2, device=self._device)
        self._samples = 0
        self._flops = 0.0
        self._waited_s = 0.0
        self._started_s = time.perf_counter()

    def add(self, parts: LossParts, sigma: Float[Tensor, " b"], flops: float) -> None:
        """Count one round of this worker.

        Args:
            parts: of the loss.
            sigma: noise level of each sample.
            flops: operations of one sample; see ``estimate.training_flops``.
        """
        ones = torch.ones_like(parts.per_sample)
        self._total += torch.stack([parts.total.detach(), ones[0]])
        self._bins.index_add_(
            0, torch.bucketize(sigma, self._edges), torch.stack([parts.per_sample, ones], dim=1)
        )
        self._hands += torch.stack([parts.inside_hands, parts.outside_hands])
        self._samples += len(ones)
        self._flops += flops * len(ones)

    def waited(self, seconds: float) -> None:
        """Count time spent waiting for samples."""
        self._waited_s += seconds

    def report(self, world: World) -> dict[str, float]:
        """Return the means over all workers since the last report and begin anew; all call this."""
        sums = world.sum(torch.cat([self._total, self._bins.flatten(), self._hands.flatten()])).cpu()
        pairs = sums.reshape(-1, 2).tolist()
        names = ("loss/total", *_NAMES, "loss/inside_hands", "loss/outside_hands")
        elapsed_s = time.perf_counter() - self._started_s
        values = {name: total / count for name, (total, count) in zip(names, pairs, strict=True) if count}
        values["speed/samples_per_s"] = self._samples * world.size / elapsed_s
        tflops = self._flops / elapsed_s / 1e12
        values["speed/model_tflops_per_worker"] = tflops
        if self._peak_tflops is not None:
            values["speed/model_flops_utilisation"] = tflops / self._peak_tflops
        values["speed/data_wait_share"] = self._waited_s / elapsed_s
        values["memory/peak_gb"] = peak_bytes(self._device) / 1e9
        self._reset()
        return values


def peak_bytes(device: torch.device) -> int:
    """Return the most memory: allocated on a GPU since its last reset; else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def spoilt(values: Sequence[Tensor], world: World) -> Float[Tensor, ""]:
    """Return 1 where any of these numbers of any worker is not finite, else 0; every worker calls this."""
    wrong = torch.stack([~torch.isfinite(value) for value in values]).any().to(torch.float32)
    return world.sum(wrong).clamp_(max=1)


class Later:
    """A number on its way from a GPU to the host, which can hand out work until it comes."""

    def __init__(self, value: Float[Tensor, ""]) -> None:
        self._value = value.to("cpu", non_blocking=True)
        self._there = torch.cuda.current_stream(value.device).record_event() if value.is_cuda else None

    def read(self) -> float:
        """Return the number, once the device has come as far."""
        if self._there is not None:
            self._there.synchronize()
        return float(self._value)
