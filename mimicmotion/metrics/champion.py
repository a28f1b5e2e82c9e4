"""Whether a new version of a model becomes champion: what both scored, on the same videos."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mimicmotion.metrics.intervals import paired_change
from mimicmotion.metrics.scores import is_below_floor, is_better

SCORED = "primary_"
"""How tags begin that say what a version scored."""


@dataclass(frozen=True)
class ModelScore:
    """What a version scored, as its tags keep it.

    Attributes:
        metric: name of the primary metric.
        value: of the model.
        low, high: interval; None with one test video.
        protocol: id of the protocol.
        data_key: content key of what scores depend on but the model: clips, true films, poses, thresholds.
        backbone: sha256 of the network behind the metric; None where it has none.
        without: the value without each video, or group of videos, in turn.
        split: side of the clips that were scored.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    protocol: str
    data_key: str
    backbone: str | None = None
    without: tuple[float | None, ...] = ()
    split: str = "test"

    def tags(self) -> dict[str, str]:
        """As text, for a registry."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        known = {name: repr(number) for name, number in numbers.items() if number is not None}
        named = {f"{SCORED}{name}": text for name, text in known.items()}
        if self.backbone is not None:
            named["primary_backbone"] = self.backbone
        return {
            "primary_metric": self.metric,
            "protocol": self.protocol,
            "data_key": self.data_key,
            "split": self.split,
            # Rounded, for a registry's tag holds a few thousand characters.
            "primary_without": json.dumps([None if v is None else float(f"{v:.10g}") for v in self.without]),
            **named,
        }

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> "ModelScore | None":
        """The standing that a version's tags keep; None where they lack it."""
        if not {"primary_metric", "primary_value", "protocol", "data_key"} <= tags.keys():
            return None
        low, high = tags.get("primary_low"), tags.get("primary_high")
        return cls(
            tags["primary_metric"],
            float(tags["primary_value"]),
            None if low is None else float(low),
            None if high is None else float(high),
            tags["protocol"],
            tags["data_key"],
            tags.get("primary_backbone"),
            tuple(json.loads(tags.get("primary_without", "[]"))),
            "val" if tags.get("split") == "val" else "test",
        )

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.value:.4g}{interval}"


def is_champion(
    standing: ModelScore,
    floor: float | None,
    identity: Mapping[str, str],
    champion: Mapping[str, str] | None,
) -> tuple[bool, str]:
    """Whether a version becomes champion, and a sentence that says why."""
    below = is_below_floor(standing.metric, standing.value, floor) and (
        f"{standing.metric} of {standing.value:.4g} is worse than that of copying the reference picture, "
        f"{floor:.4g}"
    )
    if champion is not None and identity.items() <= champion.items():
        return True, "It is the champion already" + (f", though its {below}." if below else ".")
    if below:
        return False, f"Its {below}: no champion."
    if champion is None:
        return True, "Promoted to champion: the first version."
    best = ModelScore.of(champion)
    if best is None:
        return False, "The champion's tags do not say what it scored, so nothing can be compared with it."
    form, _, _ = standing.data_key.partition(":")
    if not best.data_key.startswith(f"{form}:"):
        return False, (
            "The champion was measured by an earlier version, whose scores say less of their pictures: "
            "rebuild its config once, or, to choose this version yourself, set the alias in MLflow."
        )
    for name in ("metric", "protocol", "split", "data_key", "backbone"):
        ours, theirs = getattr(standing, name), getattr(best, name)
        if ours != theirs:
            what = "other clips, true films, poses or thresholds: " if name == "data_key" else ""
            return False, f"The champion was measured with {what}{name} {theirs}, this version with {ours}."
    change, half = paired_change(standing.value, standing.without, best.value, best.without)
    measured = f"{standing.metric} of {standing.value:.4g} against the champion's {best.value:.4g}"
    if half is None:
        return False, (
            f"{measured}: this change has no interval. It needs two val videos at least, and a metric whose "
            "change can be told video by video; to choose this version yourself, set the alias in MLflow."
        )
    better = is_better(standing.metric, change, half)
    said = f"{measured}, on the same videos {change:+.3g} [{change - half:+.3g}, {change + half:+.3g}]"
    verdict = {True: "better", False: "worse", None: "no difference beyond the interval"}[better]
    return better is True, f"{said}: {verdict}."


def told(standing: ModelScore, tested: ModelScore | None) -> str:
    """A sentence on what the test videos said and whether they decided."""
    if standing.split == "test":
        return "There is no val score, so the test videos decided: they are unseen no longer."
    if tested is None:
        return "On the test videos it has no score."
    return f"On the test videos, which were scored once and decided nothing, it has {tested.metric} {tested}."
