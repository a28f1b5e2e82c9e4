"""What the runs in MLflow say about themselves: Markdown that a person reads on the page of a run."""

from stages.engine.config import PipelineConfig, redacted

_SECTION = "\n## "
_STAGES = "Stages"
_STAGES_HEAD = "| stage | kept | rejected | dataset | run |\n|---|---|---|---|---|"


def first_note(config: PipelineConfig) -> str:
    """The description of a new run of a config: what it is, and an empty table of stages.

    What came out is added by ``with_section`` above the stages, since MLflow's page shows the first lines.
    """
    return (
        f"{config.settings.title or config.name}\n"
        f"{_SECTION}{_STAGES}\n\n"
        "Each nested run is one stage: its curves, pictures and videos are under its artifacts.\n\n"
        f"* datasets: `{redacted(config.workspace)}`\n"
        f"* again: `mimicmotion rebuild {config.source}`\n"
        f"* one stage: `mimicmotion stage NAME {config.source}`\n\n"
        f"{_STAGES_HEAD}\n"
    )


def with_stage_row(note: str, stage: str, row: str) -> str:
    """The description with the row of a stage, in place of the row that the stage had before."""
    before, heading, stages = note.partition(f"{_SECTION}{_STAGES}\n")
    lines = [line for line in stages.splitlines() if not line.startswith(f"| {stage} ")]
    return before + heading + "\n".join([*lines, row]) + "\n"


def with_section(note: str, title: str, text: str) -> str:
    """The description with a section above the stages, in place of the one of that title."""
    before, heading, stages = note.partition(f"{_SECTION}{_STAGES}\n")
    head, *sections = before.split(_SECTION)
    others = [section.rstrip("\n") for section in sections if section.partition("\n")[0] != title]
    parts = [head.rstrip("\n") + "\n", *(f"{section}\n" for section in [*others, f"{title}\n\n{text}"])]
    return _SECTION.join(parts) + heading + stages
