"""The register stage: the trained checkpoint becomes a version of a named model, with aliases.

``mimicmotion stage register configs/demo.yaml``

Every version becomes ``candidate``, and stays that where it scores worse than copying the reference.
Otherwise it becomes ``champion`` when there is none, or when its primary metric
is better than the champion's on the same val videos, under the same protocol, beyond the interval of that
change. What it scored on the test videos is told, and decides nothing unless there is no val video.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from mimicmotion.errors import StageError
from stages.clip_rows import FRAMING_COLUMNS, Split, checkpoint_of, kept_clips
from stages.engine.contract import WHOLE, Context, Dataset, DatasetStage, Report
from stages.engine.keys import content_sha256

if TYPE_CHECKING:
    from mimicmotion.metrics.champion import ModelScore

_LOG = logging.getLogger(__name__)

MODELS_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("version", pa.string()),
        ("aliases", pa.list_(pa.string())),
        ("primary_metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("split", pa.string()),
        ("protocol", pa.string()),
        ("data_key", pa.string()),
        ("reason", pa.string()),
    ]
)
"""One row: the registered version, and why it did or did not become champion.

``split`` is the side whose scores decided; ``value``, ``low``, ``high`` and ``data_key`` are of that side."""

CANDIDATE, CHAMPION = "candidate", "champion"


class Register(DatasetStage):
    """Keeps the trained checkpoint as a version of a named model."""

    name: ClassVar[str] = "register"
    version: ClassVar[int] = 6
    reads: ClassVar[tuple[str, ...]] = ("train", "evaluate", "clips", "animate", "decode", "pose")
    optional_reads: ClassVar[tuple[str, ...]] = ("distill",)
    schema: ClassVar[pa.Schema] = MODELS_SCHEMA

    model_name: str = Field("mimicmotion", min_length=1, description="Name of the model in the registry.")

    def check(self) -> list[str]:
        """A name that MLflow would refuse only after the training."""
        name = self.model_name
        if name.strip() and not {"/", ":", '"'} & {*name} and name not in (".", ".."):
            return []
        return [f'model_name: got {name!r}, allowed is a name without /, : and "']

    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        """Register the checkpoint and decide about its aliases.

        Raises:
            StageError: there is no registry, or the primary metric could not be measured.
        """
        from mimicmotion.metrics.champion import is_champion, told

        if context.registry is None:
            raise StageError("register needs a model registry: set mlflow in the config")
        registry = context.registry
        standing, floor = _standing(inputs, "val") or _standing(inputs, "test") or _unscored(inputs)
        tested, _ = _standing(inputs, "test") or (None, None)
        weights = checkpoint_of(inputs)
        checkpoint = weights.path(WHOLE, "checkpoint")
        # Trained again by force, other weights come under the same key.
        identity = {
            "checkpoint_key": weights.item_key(WHOLE),
            "checkpoint_sha256": content_sha256(checkpoint),
        }
        if weights is not inputs["train"]:
            identity["teacher_key"] = inputs["train"].item_key(WHOLE)
        tags = {**standing.tags(), **identity, "scores_key": inputs["evaluate"].item_key(WHOLE)}
        wins, reason = is_champion(standing, floor, identity, registry.tags(self.model_name, CHAMPION))
        said = told(standing, tested)
        description = (
            f"**{standing.metric} {standing}** under protocol `{standing.protocol}`, {standing.split} clips "
            f"`{standing.data_key}`. {reason} {said} "
            "Scores, floors and videos: the run `evaluate` beside the source run."
        )
        version = registry.register(self.model_name, checkpoint, tags, description)
        aliases = [CANDIDATE, CHAMPION] if wins else [CANDIDATE]
        for alias in aliases:
            registry.set_alias(self.model_name, alias, version)
        _LOG.info("%s version %s: %s. %s", self.model_name, version, " and ".join(aliases), reason)
        row = {
            "name": self.model_name,
            "version": version,
            "aliases": aliases,
            "primary_metric": standing.metric,
            "value": standing.value,
            "low": standing.low,
            "high": standing.high,
            "split": standing.split,
            "protocol": standing.protocol,
            "data_key": standing.data_key,
            "reason": f"{reason} {said}",
        }
        return pa.Table.from_pylist([row], schema=MODELS_SCHEMA)

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log which version it is and why it is, or is not, champion."""
        row = dataset.table().to_pylist()[0]
        lines = [
            f"# {row['name']} version {row['version']}",
            "",
            f"Aliases: {', '.join(row['aliases'])}. {row['reason']}",
            "",
            f"Primary metric: {row['primary_metric']} {row['value']:.4g} under protocol `{row['protocol']}`, "
            f"{row['split']} data `{row['data_key']}`.",
        ]
        report.text("registered.md", "\n".join(lines) + "\n")
        report.section("Model", "\n".join([f"**{row['name']} version {row['version']}**", *lines[1:]]) + "\n")


def _primary(inputs: Mapping[str, Dataset], split: Split) -> dict[str, dict[str, Any]]:
    """Rows of the primary metric over all clips of a side, by method."""
    from mimicmotion.metrics.scores import SUMMARY

    rows = inputs["evaluate"].table().filter(pc.field("is_primary")).to_pylist()
    return {row["method"]: row for row in rows if (row["split"], row["clip_id"]) == (split, SUMMARY)}


def _standing(inputs: Mapping[str, Dataset], split: Split) -> "tuple[ModelScore, float | None] | None":
    """What the model scored on a side by the primary metric, and what copying the reference did."""
    from mimicmotion.metrics.champion import ModelScore
    from mimicmotion.metrics.scores import COPY, MODEL

    primary = _primary(inputs, split)
    row = primary.get(MODEL)
    if row is None or row["value"] is None:
        return None
    floor = primary[COPY]["value"] if COPY in primary else None
    standing = ModelScore(
        row["metric"],
        row["value"],
        row["low"],
        row["high"],
        row["protocol"],
        _data_key(inputs, split, row["metric"]),
        row["backbone_sha256"],
        tuple(row["without"] or ()),
        split,
    )
    return standing, floor


def _unscored(inputs: Mapping[str, Dataset]) -> NoReturn:
    from mimicmotion.metrics.scores import MODEL

    row = _primary(inputs, "test").get(MODEL)
    why = row["note"] if row else "it is not in the scores"
    raise StageError(
        f"the primary metric of the evaluate stage has no value ({why}); choose another primary_metric"
    )


def _data_key(inputs: Mapping[str, Dataset], split: Split, metric: str) -> str:
    """Key of all that a score depends on but the model and its backbone."""
    from mimicmotion.metrics.scores import JUDGE, MODEL
    from mimicmotion.metrics.settings import BODY_METRICS, BodySettings

    rows = [row for row in inputs["evaluate"].table().to_pylist() if row["split"] == split]
    scored = {row["clip_id"] for row in rows}
    of_metric = [row for row in rows if (row["method"], row["metric"]) == (MODEL, metric)]
    without = sorted(row["clip_id"] for row in of_metric if row["value"] is None)
    of_bodies = metric.startswith((JUDGE, *BODY_METRICS))
    clips = [row for row in kept_clips(inputs["clips"], split, "clip") if row.clip_id in scored]
    windows = sorted(
        [
            *(row.video_id, row.first_frame, row.num_frames, row.step, row.fps, [*row.reference_frames]),
            *(getattr(row, name) for name in FRAMING_COLUMNS),
        ]
        for row in clips
    )
    read = ("decode", "pose") if of_bodies else ("decode",)
    made = sorted({inputs[stage].item_key(row.video_id) for row in clips for stage in read})
    if metric.startswith(JUDGE):
        fields = inputs["animate"].fields
        settings = {name: fields.get(name) for name in ("judge", "calibration")}
    else:
        fields = inputs["evaluate"].fields if of_bodies else {}
        settings = {name: fields.get(name) for name in BodySettings.model_fields if name in fields}
    told = json.dumps([windows, without, made, settings], sort_keys=True)
    return f"3:{hashlib.sha256(told.encode()).hexdigest()[:16]}"
