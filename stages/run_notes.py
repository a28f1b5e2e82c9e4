"""What the runs in MLflow say about themselves: Markdown that a person reads on the page of a run."""

from stages.config import PipelineConfig, redacted
from stages.records import Manifest

_STAGES_HEAD = "| stage | kept | rejected | dataset | run |\n|---|---|---|---|---|"
_SECTION = "\n## "


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
    stages, heading, sections = note.partition(_SECTION)
    row = (
        f"| {manifest.stage} | {manifest.counts.kept} | {manifest.counts.rejected} "
        f"| `{manifest.dataset_key}` | {manifest.run_id} |"
    )
    lines = [line for line in stages.splitlines() if not line.startswith(f"| {manifest.stage} ")]
    return "\n".join([*lines, row]) + (f"\n{heading}{sections}" if heading else "")


def with_section(note: str, title: str, text: str) -> str:
    """The description with a section below the table of stages, in place of the one of that title."""
    stages, *sections = note.split(_SECTION)
    others = [section for section in sections if section.partition("\n")[0] != title]
    return _SECTION.join([stages.rstrip("\n") + "\n", *others, f"{title}\n\n{text}"])
