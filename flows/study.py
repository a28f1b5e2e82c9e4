"""An ablation: which runs it needs, what they share, and the table and pictures they come to.

``mimicmotion ablation configs/ablation/demo.yaml``

Every run is a config of its own with a few fields set, so stages that do not differ have the same keys and
are done once. Results lie in ``ablations/<key>/`` of the workspace, and in MLflow: a run for the ablation, a
nested one for each arm, and below it the run of each seed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mimicmotion.errors import InputError
from mimicmotion.metrics.comparison import Compared, compare, comparison_markdown
from mimicmotion.metrics.scores import FLOORS, Score
from stages.engine.config import Ablation, Arm, PipelineConfig, load_config
from stages.engine.plan import StageGraph
from stages.engine.storage.workspace import staged
from stages.parts.generated import (
    GeneratedClip,
    generated_clips,
    iter_generated,
    iter_truth,
    read_generated,
    read_true,
)
from stages.parts.scored import scores_of

if TYPE_CHECKING:
    import numpy as np

    from stages.adapters.mlflow.reports import MlflowReport

TABLE_FILE, ROWS_FILE, CHART_FILE, FRAMES_FILE = "table.md", "table.json", "chart.png", "frames.png"
_LAST = "evaluate"
_NUM_SHOWN = 4


@dataclass(frozen=True)
class Trial:
    """One arm with one seed.

    Attributes:
        arm: its name.
        seed: its seed.
        config: the config that this gives.
        stages: stages that no trial before it shares, in running order.
        identities: stage -> what it shares with the same stage of other trials, up to the scores.
    """

    arm: str
    seed: int
    config: PipelineConfig
    stages: tuple[str, ...]
    identities: Mapping[str, str]

    def on(self, made: Mapping[str, str]) -> "Trial":
        """The trial on the datasets that were made so far, by identity."""
        known = {name: made[identity] for name, identity in self.identities.items() if identity in made}
        return replace(self, config=replace(self.config, made=known, run_by="ablation"))


@dataclass(frozen=True)
class Study:
    """An ablation that is to run.

    Attributes:
        config: the config that it was written in.
        settings: its arms and seeds.
        trials: all of them, seed by seed.
    """

    config: PipelineConfig
    settings: Ablation
    trials: tuple[Trial, ...]

    @property
    def key(self) -> str:
        """Hash of what can change a result."""
        text = json.dumps([[trial.arm, trial.seed, trial.config.digest()] for trial in self.trials])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def of(self, arm: str) -> list[Trial]:
        """The trials of an arm, in the order of seeds."""
        return [trial for trial in self.trials if trial.arm == arm]


@dataclass(frozen=True)
class StudyResult:
    """What an ablation came to.

    Attributes:
        rows: the table.
        markdown: the table for people.
        folder: where the files lie in the workspace.
        run_id: MLflow run that shows it, if there is one.
    """

    rows: Sequence[Compared]
    markdown: str
    folder: str
    run_id: str | None


def load_study(name: str, overrides: Sequence[str] = ()) -> Study:
    """The ablation of a config, with every trial's config checked.

    Raises:
        ConfigError: a config is wrong; lists every problem.
        InputError: the config has no ablation, or nothing that measures.
    """
    config = load_config(name, overrides)
    settings = config.settings.ablation
    if settings is None:
        raise InputError(
            f"{config.source} has no section ablation. Choose one of configs/ablation, or add arms and seeds."
        )
    if _LAST not in config.stages:
        raise InputError(f"{config.source} has no section {_LAST}, so arms could not be compared. Add one.")
    seen: set[str] = set()
    trials = []
    for seed in settings.seeds:
        for arm, fields in settings.built().items():
            chosen = (*overrides, *fields, *(f"{field}={seed}" for field in settings.seed_fields))
            made = load_config(name, chosen)
            identities = dict(_identities(made))
            new = tuple(name for name, identity in identities.items() if identity not in seen)
            seen.update(identities.values())
            trials.append(Trial(arm, seed, made, new, identities))
    return Study(config, settings, tuple(trials))


def publish_study(study: Study) -> StudyResult:
    """Compare the arms from what their trials published; writes and logs the table and its pictures.

    Raises:
        StageError: a trial has no scores yet.
        InputError: trials were measured on different videos.
    """
    from mimicmotion.pictures.comparison import comparison_chart
    from mimicmotion.video.picture_files import write_picture

    arms = [arm.name for arm in study.settings.arms]
    scores = {arm: [_scores(trial) for trial in study.of(arm)] for arm in arms}
    rows = compare(scores, study.settings.metrics, FLOORS, study.settings.compared_with())
    markdown = "\n".join(filter(None, (comparison_markdown(rows), study.settings.note)))
    workspace = StageGraph(study.config).workspace
    place = f"ablations/{study.key}"
    report = _parent_report(study, comparison_markdown(rows))
    with staged(workspace, "ablations") as folder:
        (folder / TABLE_FILE).write_text(f"# {study.config.settings.title}\n\n{markdown}", encoding="utf-8")
        text = json.dumps([asdict(row) for row in rows], indent=1)
        (folder / ROWS_FILE).write_text(text + "\n", encoding="utf-8")
        write_picture(folder / CHART_FILE, comparison_chart(rows, FLOORS))
        if "animate" in study.config.stages:
            write_looks(folder, {arm: _clips(study.of(arm)[0]) for arm in arms})
        for path in sorted(folder.iterdir()):
            report.file(path)
        workspace.publish(folder, place, ROWS_FILE)
    for arm in study.settings.arms:
        _show_arm(study, arm, [row for row in rows if row.arm == arm.name], report.run_id)
    return StudyResult(rows, markdown, f"{workspace.uri}/{place}", report.run_id)


def _identities(config: PipelineConfig) -> Iterator[tuple[str, str]]:
    """Stages up to the scores with a hash of their own fields and those of the stages before them."""
    fields = []
    for name, stage in config.stages.items():
        fields.append([name, stage.model_dump(mode="json", exclude={"runtime"})])
        yield name, hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        if name == _LAST:
            return


def _scores(trial: Trial) -> list[Score]:
    return scores_of(StageGraph(trial.config).dataset(_LAST).table())


def write_looks(folder: Path, by_arm: Mapping[str, Sequence[GeneratedClip]]) -> None:
    """A video of each of the first clips with all arms side by side, and a picture of middle frames.

    Args:
        folder: where ``<clip_id>.mp4`` and ``frames.png`` go.
        by_arm: arm -> its clips, the same ones in the same order for every arm.
    """
    from mimicmotion.pictures.comparison import panel_frames
    from mimicmotion.pictures.panels import grid, labelled_row
    from mimicmotion.video.files import write_preview
    from mimicmotion.video.picture_files import write_picture

    rows = []
    for place, clip in enumerate(next(iter(by_arm.values()))[:_NUM_SHOWN]):
        made = {arm: clips[place] for arm, clips in by_arm.items()}
        videos: dict[str, Iterator[np.ndarray]] = {"true": (frame for frame, _ in iter_truth(clip))}
        videos |= {arm: iter_generated(one) for arm, one in made.items()}
        write_preview(folder / f"{clip.clip_id}.mp4", panel_frames(videos), clip.fps)
        middle = len(clip.frames) // 2
        panels = {"reference": read_true(clip, clip.reference_frame)}
        panels |= {"true": read_true(clip, clip.frames[middle])}
        rows.append(labelled_row(panels | {arm: read_generated(one, middle) for arm, one in made.items()}))
    write_picture(folder / FRAMES_FILE, grid(rows))


def _clips(trial: Trial) -> list[GeneratedClip]:
    graph = StageGraph(trial.config)
    names = ("animate", "clips", "decode", "pose")
    return list(generated_clips({name: graph.dataset(name) for name in names}))


def _parent_report(study: Study, tables: str) -> "MlflowReport":
    from stages.adapters.mlflow.tracking import named_report

    note = (
        f"**{study.config.settings.title}.** {study.settings.note}\n\n"
        f"Again: `{study.config.command('ablation')}`. A nested run for each arm, in it one for each "
        f"seed. `{TABLE_FILE}` and `{CHART_FILE}` show the tables, `{FRAMES_FILE}` and the videos what "
        f"the arms made.\n\n## Arms compared\n\n{tables}"
    )
    return named_report(study.config, study.key, f"ablation {study.config.name}", note)


def _show_arm(study: Study, arm: Arm, rows: Sequence[Compared], parent_id: str | None) -> None:
    from stages.adapters.mlflow.tracking import named_report, place_below

    fields = study.settings.built()[arm.name]
    listed = "\n".join(f"* `{field}`" for field in fields)
    note = f"# {arm.name}\n\nDiffers from `{study.config.source}` in\n\n{listed}\n"
    report = named_report(study.config, f"{study.key} {arm.name}", arm.name, note, parent_id)
    for row in rows:
        numbers = {"": row.value, "/low": row.low, "/high": row.high, "/change": row.change}
        report.metrics({f"{row.metric}{end}": value for end, value in numbers.items() if value is not None})
    for trial in study.of(arm.name):
        place_below(trial.config, report.run_id, f"{arm.name}, seed {trial.seed}")
