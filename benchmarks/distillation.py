"""Quality of a student and of its teacher by sampling steps, as a Markdown table.

    python benchmarks/distillation.py demo-distilled --student 1 2 4 8 --teacher 1 2 4 8 25 --seeds 0 1 2 3 4

Each row is the config's own ``animate`` and ``evaluate`` with other fields, so it resumes, and what is there
already is not done again. The teacher's rows are those of the config without its section ``distill``: on
Align-Your-Steps' levels as the student, with the guidance of ``--scale`` and without any.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from mimicmotion.metrics.scores import MODEL, SUMMARY
from stages.engine.config import PipelineConfig, load_config
from stages.engine.plan import StageGraph
from stages.runner import run_stage

METRICS = ("psnr", "hand_psnr", "pose_error_body", "pose_error_hands")


def measured(config: PipelineConfig) -> tuple[dict[str, tuple[float, float, float]], float]:
    """Value and interval of each metric, and the seconds that ``animate`` took where it had to run."""
    started_s = time.perf_counter()
    run_stage(config, "animate")
    animate_s = time.perf_counter() - started_s
    run_stage(config, "evaluate")
    rows = StageGraph(config).dataset("evaluate").table().to_pylist()
    summary = [row for row in rows if (row["clip_id"], row["method"]) == (SUMMARY, MODEL)]
    found = {row["metric"]: row for row in summary if row["value"] is not None}
    nan = float("nan")
    return {
        name: (found[name]["value"], found[name]["low"] or nan, found[name]["high"] or nan)
        for name in METRICS
        if name in found
    }, animate_s


def line(name: str, overrides: Sequence[str], seeds: Sequence[int], config: str) -> str:
    """One row of the table, the mean over seeds."""
    told = [measured(load_config(config, [*overrides, f"animate.seed={seed}"])) for seed in seeds]
    cells = []
    for metric in METRICS:
        values = [scores[metric] for scores, _ in told if metric in scores]
        mean = [sum(one) / len(values) for one in zip(*values, strict=True)]
        cells.append("{:.4g} [{:.4g}, {:.4g}]".format(*mean) if mean else "-")
    seconds = sum(animate_s for _, animate_s in told) / len(told)
    return " | ".join([f"| {name}", *cells, f"{seconds:.0f} |"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config")
    parser.add_argument("--student", type=int, nargs="*", default=[1, 2, 4, 8], help="steps of its rows")
    parser.add_argument("--teacher", type=int, nargs="*", default=[1, 2, 4, 8, 25], help="steps of its rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--scale", type=float, default=2.0, help="guidance scale of the teacher's guided rows"
    )
    options = parser.parse_args()
    student = load_config(options.config)
    sections = {name: value for name, value in yaml.safe_load(student.to_yaml()).items() if name != "distill"}
    print("| sampled by | " + " | ".join(METRICS) + " | animate, s |\n" + "|---" * (len(METRICS) + 2) + "|")
    with tempfile.TemporaryDirectory() as folder:
        teacher = Path(folder, f"{student.name}-teacher.yaml")
        teacher.write_text(yaml.safe_dump(sections), encoding="utf-8")
        for steps in options.student:
            fields = [f"animate.num_steps={steps}"]
            print(line(f"student, {steps} steps", fields, options.seeds, options.config), flush=True)
        for scale in sorted({1.0, options.scale}):
            for steps in options.teacher:
                fields = [f"animate.num_steps={steps}", f"animate.guidance_scale={scale}"]
                name = f"teacher, {steps} steps, guidance {scale:g}"
                print(line(name, fields, options.seeds, str(teacher)), flush=True)


if __name__ == "__main__":
    main()
