"""What the runs in MLflow say about themselves: Markdown that a person reads on the page of a run."""

from stages.config import PipelineConfig, redacted
from stages.records import Manifest

_STAGES_HEAD = "| stage | kept | rejected | dataset | run |\n|---|---|---|---|---|"
RESULT_HEAD = "## Result"


def first_note(config: PipelineConfig) -> str:
    """The description of a new run of a config, with an empty table of stages at its end."""
    return (
        f"# {config.name}\n\n{config.settings.title}\n\n"
        f"* datasets: `{redacted(config.workspace)}`\n"
        f"* again: `mimicmotion rebuild {config.source}`\n"
        f"* one stage: `mimicmotion stage NAME {config.source}`\n\n"
        "Each nested run is one stage: its curves, pictures and videos are under its artifacts.\n\n"
        f"{_STAGES_HEAD}\n"
    )


def with_stage(note: str, manifest: Manifest) -> str:
    """The description with the row of a stage, in place of the row that the stage had before."""
    stages, head, result = note.partition(f"\n{RESULT_HEAD}\n")
    row = (
        f"| {manifest.stage} | {manifest.counts.kept} | {manifest.counts.rejected} "
        f"| `{manifest.dataset_key}` | {manifest.run_id} |"
    )
    lines = [line for line in stages.splitlines() if not line.startswith(f"| {manifest.stage} ")]
    return "\n".join([*lines, row]) + (f"\n{head}{result}" if head else "")


def with_result(note: str, result: str) -> str:
    """The description with its result, Markdown below the table of stages, in place of the one before."""
    stages = note.partition(f"\n{RESULT_HEAD}\n")[0].rstrip("\n")
    return f"{stages}\n\n{RESULT_HEAD}\n\n{result}"
