"""What the ``gpu_*.py`` benchmarks share: what the machine can do, what work costs, and how it is shown.

A benchmark measures the machine first, in the same run: the rate of a large matrix product and of a copy.
Work is counted, never guessed: floating point operations by torch's counter, bytes as what every operator
reads and writes when nothing is fused. A roofline line sets the measured time against the larger of
operations over the matrix rate and bytes over the bandwidth.

Needs torch, diffusers and ``mimicmotion`` only. ``--small`` runs everything end to end on a CPU.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from mimicmotion.diffusion.memory import is_out_of_memory
from mimicmotion.training.measures import peak_bytes

Work = Callable[[], object]

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
LARGEST_COSTS = 3


@dataclass(frozen=True)
class Machine:
    """A device and what it does at best, measured in this run.

    Attributes:
        name: of the device.
        matrix_tflops: rate of a large matrix product by dtype, in 1e12 operations per second.
        copy_gb_s: bytes read and written per second by a large copy, in 1e9.
        memory_gb: of the device, in 1e9 bytes.
        versions: of Python and the packages.
        date: when.
        small: whether sizes are those for a CPU, so that no figure speaks of the full size.
    """

    name: str
    matrix_tflops: dict[str, float]
    copy_gb_s: float
    memory_gb: float
    versions: dict[str, str]
    date: str
    small: bool


@dataclass
class Row:
    """One line of a table: what was measured, or why it could not be.

    Attributes:
        part: what ran.
        seconds: median of one run.
        peak_gb: most memory during it: allocated on a GPU, resident in the process on a CPU.
        tflop: counted operations, in 1e12.
        gbytes: counted bytes, in 1e9.
        roofline: the least time the measured rates allow, over the measured time.
        bound: which of the two rates sets that least time: ``matrix`` or ``memory``.
        note: anything else; the reason where nothing was measured.
        extra: further numbers.
    """

    part: str
    seconds: float | None = None
    peak_gb: float | None = None
    tflop: float | None = None
    gbytes: float | None = None
    roofline: float | None = None
    bound: str = ""
    note: str = ""
    extra: dict[str, float] = field(default_factory=dict)


def arguments(description: str | None, name: str) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="sizes for a CPU, to see that it runs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each part; the median counts")
    parser.add_argument("--out", type=Path, default=Path("outputs") / f"{name}.json")
    return parser


def measure_machine(device: torch.device, small: bool) -> Machine:
    """Return the device's rates; a matrix product of 8192 (small: 512) and a copy of 2 GB (small: 64 MB)."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory
    else:
        name, memory = _processor(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    side, num_bytes = (512, 2**26) if small else (8192, 2**31)
    rates = {}
    for label, dtype in DTYPES.items():
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        rates[label] = 2 * side**3 / time_work(lambda a=a, b=b: a @ b, device, 5) / 1e12
    source = torch.ones(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = 2 * num_bytes / time_work(lambda: target.copy_(source), device, 5) / 1e9
    return Machine(name, rates, copied, memory / 1e9, _versions(), f"{datetime.now(UTC):%Y-%m-%d}", small)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.machine()}, {torch.get_num_threads()} threads"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("torch", "diffusers", "transformers", "onnxruntime-gpu", "onnxruntime", "triton"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def time_work(work: Work, device: torch.device, repeats: int) -> float:
    """Return the median seconds of one run, after one that does not count.

    On a GPU by its own clock; on a CPU the process's own time over the threads, since others may share it.
    """
    work()
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(device)
            begin.record()
            work()
            end.record()
            torch.cuda.synchronize(device)
            times.append(begin.elapsed_time(end) / 1000)
        else:
            started = time.process_time()
            work()
            times.append((time.process_time() - started) / torch.get_num_threads())
    return median(times)


def count_flops(work: Work) -> int:
    """Return the floating point operations of one run: matrix products, convolutions, attention.

    Works on the meta device too. Backward passes that happen inside are counted.
    """
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU) as counter:
        work()
    return int(counter.get_total_flops())


# torch's counter knows the attention of GPUs only.
_ATTENTION_ON_CPU: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, query, key, value, *_, **__: sdpa_backward_flop_count(gradient, query, key, value)
    ),
}


class _Traffic(TorchDispatchMode):
    """Bytes that operators read and write; views and metadata move none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and func.name() not in _MOVES_NOTHING:
            for value in tree_leaves((args, kwargs, result)):
                if isinstance(value, torch.Tensor):
                    # A broadcast tensor is read once: what is stored counts, not what is seen.
                    self.bytes += min(value.numel() * value.element_size(), value.untyped_storage().nbytes())
        return result


_MOVES_NOTHING = {"aten::empty.memory_format", "aten::empty_like", "aten::empty_strided", "aten::detach"}


def count_bytes(work: Work) -> int:
    """Return the bytes that one run's operators read and write, none of them fused.

    So it is what eager execution moves at least through memory; fusion and caches may move less.
    """
    with _Traffic() as traffic:
        work()
    return traffic.bytes


def least_seconds(flops: float, num_bytes: float, machine: Machine, dtype: str) -> tuple[float, str]:
    """Return the larger of operations over the matrix rate and bytes over the bandwidth, and which it is."""
    by_matrix = flops / (machine.matrix_tflops[dtype] * 1e12)
    by_memory = num_bytes / (machine.copy_gb_s * 1e9)
    return (by_matrix, "matrix") if by_matrix >= by_memory else (by_memory, "memory")


def measure(
    part: str, work: Work, machine: Machine, device: torch.device, *, dtype: str, repeats: int
) -> Row:
    """Return time, peak memory, counted work and roofline of one part; too little memory is a row too."""
    row = Row(part)
    try:
        reset_peak(device)
        row.seconds = time_work(work, device, repeats)
        row.peak_gb = peak_gb(device)
        flops, num_bytes = count_flops(work), count_bytes(work)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return Row(part, note="out of memory")
    least, row.bound = least_seconds(flops, num_bytes, machine, dtype)
    row.tflop, row.gbytes, row.roofline = flops / 1e12, num_bytes / 1e9, least / row.seconds
    return row


def reset_peak(device: torch.device) -> None:
    """Begin to watch the peak anew; a CPU has only one peak, that of the process's whole life."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)


def peak_gb(device: torch.device) -> float:
    """Return the most memory since the last reset, in 1e9 bytes."""
    return peak_bytes(device) / 1e9


def largest_costs(work: Work, device: torch.device) -> list[tuple[str, float]]:
    """Return the three operators that take the most time of their own, each with its share of all."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as recorded:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    name = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    spent = [(event.key, float(getattr(event, name))) for event in recorded.key_averages()]
    whole = sum(value for _, value in spent)
    largest = sorted(spent, key=lambda pair: -pair[1])[:LARGEST_COSTS]
    return [(key, value / whole) for key, value in largest]


_HEADER = f"{'part':<46}{'s':>10}{'peak GB':>9}{'TFLOP':>9}{'GB moved':>10}{'roofline':>16}"


def show(machine: Machine, rows: list[Row], costs: list[tuple[str, float]], out: Path) -> None:
    """Print machine, table and largest costs, and write all of it as JSON.

    Args:
        machine: what ran it.
        rows: of the table.
        costs: see ``largest_costs``.
        out: the JSON file.
    """
    rates = ", ".join(f"{name} {rate:,.1f}" for name, rate in machine.matrix_tflops.items())
    packages = ", ".join(f"{name} {value}" for name, value in machine.versions.items())
    size = "; small sizes, no figure speaks of the full size" if machine.small else ""
    print(f"{machine.name}, {machine.memory_gb:.0f} GB, {machine.date}{size}\n{packages}")
    print(f"matrix product, TFLOP/s: {rates}; copy {machine.copy_gb_s:,.0f} GB/s\n\n{_HEADER}")
    for row in rows:
        print(_line(row))
    if costs:
        print("\nlargest costs: " + "; ".join(f"{name} {share:.0%}" for name, share in costs))
    out.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": asdict(machine), "rows": [asdict(row) for row in rows], "largest_costs": costs}
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"\n{out}")


def _line(row: Row) -> str:
    def cell(value: float | None, width: int, digits: int) -> str:
        return f"{'-':>{width}}" if value is None else f"{value:>{width},.{digits}f}"

    roofline = "-" if row.roofline is None else f"{row.roofline:.0%} {row.bound}"
    numbers = [f"{name} {value:.4g}" for name, value in row.extra.items()]
    notes = "  ".join([*numbers, *([row.note] if row.note else [])])
    return (
        f"{row.part:<46}{cell(row.seconds, 10, 4)}{cell(row.peak_gb, 9, 2)}{cell(row.tflop, 9, 3)}"
        f"{cell(row.gbytes, 10, 2)}{roofline:>16}  {notes}".rstrip()
    )
