"""A whole config: one section per stage plus where to work, read from YAML and checked in one go.

``load_config("demo")`` reads ``configs/demo.yaml``; a second argument ``["train.steps=200"]`` overrides.
"""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TypeVar, get_args
from urllib.parse import quote

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from mimicmotion.errors import ConfigError, InputError
from mimicmotion.redaction import HIDDEN, is_secret_name
from mimicmotion.settings import Section
from stages.engine.catalogue import STAGES
from stages.engine.contract import Location, Stage
from stages.engine.storage.workspace import is_remote, local_path
from stages.engine.storage.workspace import redacted as redacted
from stages.engine.yaml_tree import Place, Tree, did_you_mean, find_config, override_tree, read_tree, shown

_QUOTED = str.maketrans({letter: quote(letter) for letter in "%?#"})
_Model = TypeVar("_Model", bound=Section)
WORKSPACE = "WORKSPACE"
_ROOT = Path(__file__).resolve().parents[2]
_SHIPPED = _ROOT / "mimicmotion" / "configs"
"""The configs of an installed package; in a checkout a link, which nothing is read through."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


class RaySettings(Section):
    """Where item stages and training run."""

    address: str | None = Field(
        None,
        description="Address of a running cluster; else RAY_ADDRESS, else Ray starts on this machine.",
    )
    num_cpus: int | None = Field(None, ge=1, description="CPU cores that a local Ray may use; else all.")
    object_store_mb: int = Field(
        128, ge=80, description="Memory of a local Ray for objects in passing, MB; frames never pass."
    )
    dashboard: bool = Field(False, description="Whether a local Ray serves its page on 127.0.0.1.")
    runtime_env: dict[str, Any] = Field(
        default_factory=dict, description="Ray's runtime environment for the workers of a cluster."
    )


class MlflowSettings(Section):
    """Where results are shown."""

    tracking_uri: str | None = Field(
        None,
        description="MLflow's address; else MLFLOW_TRACKING_URI, else a SQLite file in the workspace.",
    )
    experiment: str = Field("mimicmotion", description="Experiment that the runs belong to.")


class Arm(Section):
    """One way of running the pipeline that an ablation compares."""

    name: str = Field(min_length=1, description="What tables and pictures call it.")
    set: tuple[str, ...] = Field(
        (), description="section.field=value, as --set takes them; what the arm it builds on sets stays set."
    )
    after: str | None = Field(
        None, description="Arm that it builds on and is compared with; null: the one before it."
    )


class Ablation(Section):
    """Arms that differ in a few fields, each run with every seed."""

    arms: tuple[Arm, ...] = Field(min_length=2, description="In the order in which they build on each other.")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="Seeds that every arm runs with.")
    seed_fields: tuple[str, ...] = Field(
        ("train.seed", "animate.seed"), min_length=1, description="Fields that a seed goes into."
    )
    metrics: tuple[str, ...] = Field(
        ("fid_vid", "fvd", "ssim", "psnr"), min_length=1, description="Columns of the table, in their order."
    )
    note: str = Field("", description="What a reader of the table must know; it stands below the table.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        from mimicmotion.metrics.scores import METRICS

        unknown = [metric for metric in self.metrics if metric not in METRICS]
        if unknown:
            raise ValueError(f"metrics {unknown} are unknown; choose of {', '.join(METRICS)}")
        names = [arm.name for arm in self.arms]
        if len({*names}) < len(names) or len({*self.seeds}) < len(self.seeds):
            raise ValueError("every arm needs a name of its own, and every seed may stand there once")
        for place, arm in enumerate(self.arms):
            if arm.after is not None and arm.after not in names[:place]:
                raise ValueError(f"arm {arm.name} comes after {arm.after}, which is no arm before it")
        return self

    def built(self) -> dict[str, tuple[str, ...]]:
        """Everything that each arm sets, with what the arms it builds on set."""
        fields: dict[str, tuple[str, ...]] = {}
        for arm in self.arms:
            base = fields.get(arm.after or next(reversed(fields), ""), ())
            fields[arm.name] = (*base, *arm.set)
        return fields

    def compared_with(self) -> dict[str, str]:
        """The arm that each is compared with; the first is compared with none."""
        return {arm.name: arm.after or before.name for before, arm in pairwise(self.arms)}


class Settings(Section):
    """What a config says besides its stages."""

    title: str = Field("", description="One sentence for people: what this config is for.")
    workspace: Location = Field(description="Folder or URI (s3://bucket/prefix) where all datasets are kept.")
    ray: RaySettings = RaySettings()
    mlflow: MlflowSettings = MlflowSettings()
    ablation: Ablation | None = Field(None, description="What `mimicmotion ablation` compares.")


@dataclass(frozen=True)
class PipelineConfig:
    """A config that was read and checked.

    Attributes:
        name: name of its file without the ending, below the folder ``configs``.
        source: path of its file, as a person wants to read it; commands take it.
        settings: what it says besides its stages.
        stages: its stages, in the order in which they run.
        overrides: ``section.field=value`` that were set besides, secrets left out.
        run_by: what runs its stages: the command ``stage``, ``rebuild``, ``ablation`` or ``track``.
        made: stage -> dataset that this run made or found, which its later stages read.
    """

    name: str
    source: str
    settings: Settings
    stages: Mapping[str, Stage]
    overrides: tuple[str, ...] = ()
    run_by: str = "stage"
    made: Mapping[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> str:
        """Folder or URI where all datasets are kept."""
        return self.settings.workspace

    def command(self, words: str) -> str:
        """The command line that does something with this very config, e.g. ``track`` or ``stage pose``."""
        changed = [part for override in self.overrides for part in ("--set", override)]
        return f"mimicmotion {words} {shlex.join([self.source, *changed])}"

    def resolved(self) -> dict[str, Any]:
        """Every field with its value as plain JSON, secrets in addresses left out."""
        sections = {name: stage.model_dump(mode="json") for name, stage in self.stages.items()}
        plain = {**self.settings.model_dump(mode="json"), **sections}
        return dict(_without_secrets(plain))

    def portable(self) -> dict[str, Any]:
        """The same with places in its workspace relative to it, as a manifest keeps it: workspaces move."""
        return without_workspace(self.resolved())

    def digest(self) -> str:
        """Key of everything that can change a result, and of where the results lie."""
        stages = self.stages.items()
        sections = {name: stage.model_dump(mode="json", exclude={"runtime"}) for name, stage in stages}
        text = json.dumps([self.workspace, sections], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_yaml(self) -> str:
        """The resolved config as a YAML file."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)


def load_config(
    name: str | Path, overrides: Sequence[str] = (), classes: Mapping[str, type[Stage]] | None = None
) -> PipelineConfig:
    """The config of a name (``demo``) or path (``configs/demo.yaml``).

    Args:
        name: a bare name is looked up in ``configs/`` of the current folder, then among the shipped ones;
            so is what a config extends, after the folder of its file.
        overrides: ``section.field=value``, each value in YAML; paths relative to the current folder.
        classes: stage classes by name, in running order; the project's own by default.

    Raises:
        ConfigError: lists every problem with its file, line and field.
    """
    folders = _config_folders()
    path = find_config(str(name), folders)
    tree = read_tree(path, folders)
    tree.merge(override_tree(overrides, Path.cwd()))
    known = list(classes or STAGES)
    models = {
        stage: (classes[stage] if classes else _stage_class(stage)) for stage in known if stage in tree.values
    }
    problems = _unknown_sections(tree, known)
    _follow(tree, models)
    settings_values = {key: value for key, value in tree.values.items() if key in Settings.model_fields}
    settings = _validate(Settings, settings_values, (), tree, problems)
    stages = {
        stage: section
        for stage, model in models.items()
        if (section := _validate(model, tree.values[stage] or {}, (stage,), tree, problems)) is not None
    }
    if not models:
        problems.append(f"{shown(path)}: it has no stage. Add a section, {known[0]} first.")
    problems += [
        f"{tree.mark((stage,)).text}: {stage}: reads {read}, but there is no section {read}. Add one."
        for stage, model in models.items()
        for read in model.reads
        if read not in models
    ]
    problems += [
        f"{tree.mark((name,)).text}: {name}: {sentence}."
        for name, stage in stages.items()
        for sentence in stage.conflicts(stages)
    ]
    if problems or settings is None:
        raise ConfigError(problems)
    return PipelineConfig(_name(path), shown(path), settings, stages, tuple(map(_shown_override, overrides)))


def _follow(tree: Tree, models: Mapping[str, type[Stage]]) -> None:
    """Give each field that follows another section's the value that is written there."""
    follows = [(stage, *one) for stage, model in models.items() for one in model.follows.items()]
    for stage, path, other in follows:
        *outer, name = path.split(".")
        values, theirs = tree.section((stage, *outer)), tree.section((other,)) or {}
        if values is not None and name in theirs:
            tree.marks.setdefault((stage, *outer, name), tree.mark((other, name)))
            values.setdefault(name, theirs[name])


def without_workspace(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config in which ``WORKSPACE`` stands for the workspace it names, wherever that lies."""
    top = str(resolved.get("workspace", WORKSPACE))

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        if isinstance(value, str) and (value == top or value.startswith(f"{top}/")):
            return WORKSPACE + value.removeprefix(top)
        return value

    return {key: plain(value) for key, value in resolved.items()}


def tracking_uri(config: PipelineConfig) -> str:
    """MLflow's address: the config's, else the environment's, else a SQLite file in a local workspace.

    Raises:
        InputError: the workspace is remote and no address is given.
    """
    given = config.settings.mlflow.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return given
    if is_remote(config.workspace):
        raise InputError(
            f"workspace {redacted(config.workspace)} is not a local folder, so MLflow needs an address: set "
            "mlflow.tracking_uri in the config, or the variable MLFLOW_TRACKING_URI."
        )
    return sqlite_uri(Path(config.workspace, "mlflow.db"))


def sqlite_uri(database: Path, driver: str = "sqlite") -> str:
    """Address of a SQLite file, whatever is in its path."""
    return f"{driver}:///{str(database).translate(_QUOTED)}"


def _name(path: Path) -> str:
    bare, folders = path.resolve().with_suffix(""), map(Path.resolve, _config_folders())
    return next((bare.relative_to(one).as_posix() for one in folders if one in bare.parents), bare.name)


def _config_folders() -> list[Path]:
    """The user's own, then those of the checkout or of the installed package."""
    return [one for one in (Path("configs"), _ROOT / "configs", _SHIPPED) if one.is_dir()]


def _stage_class(name: str) -> type[Stage]:
    module, _, attribute = STAGES[name].partition(":")
    found = getattr(import_module(module), attribute)
    assert isinstance(found, type) and issubclass(found, Stage)  # noqa: PT018
    return found


def _unknown_sections(tree: Tree, known: Sequence[str]) -> list[str]:
    allowed = [*Settings.model_fields, *known]
    return [
        f"{tree.mark((key,)).text}: {key}: unknown section{did_you_mean(key, allowed)}"
        for key in tree.values
        if key not in allowed
    ]


def _validate(
    model: type[_Model], values: Any, place: Place, tree: Tree, problems: list[str]
) -> _Model | None:
    try:
        checked = model.model_validate(values)
        sources = model.source_fields if issubclass(model, Stage) else ()
        return model.model_validate(_located(values, checked.model_dump(), place, tree, sources))
    except ValidationError as error:
        problems += [_problem(model, details, place, tree) for details in error.errors(include_url=False)]
        return None


def _located(written: Any, checked: Any, place: Place, tree: Tree, sources: Sequence[str] = ()) -> Any:
    """What was written, with every relative path made absolute; the checked values tell which are paths."""
    if isinstance(written, dict) and isinstance(checked, dict):
        return {
            key: _absolute(str(value), place, key, tree)
            if key in sources and isinstance(value, str)
            else _located(value, checked.get(key), (*place, key), tree)
            for key, value in written.items()
        }
    if isinstance(written, list) and isinstance(checked, (list, tuple)):
        return [
            _located(value, other, (*place, index), tree)
            for index, (value, other) in enumerate(zip(written, checked, strict=True))
        ]
    if isinstance(written, str) and isinstance(checked, (Path, Location)):
        return _absolute(written, place[:-1], place[-1], tree)
    return written


def _absolute(path: str, place: Place, key: str | int, tree: Tree) -> str:
    path = local_path(path)
    if _URI.match(path):
        return path
    mark = tree.mark((*place, key))
    try:
        folder, name = mark.folder, Path(path).expanduser()
    except RuntimeError as error:
        field = ".".join(map(str, (*place, key)))
        raise ConfigError([f"{mark.text}: {field}: got {path}, but no such user is known here."]) from error
    if _SHIPPED in (folder, *folder.parents):
        # Of the installed package: its weights lie in it; workspace, films and weights of yours do not.
        below = Path("configs", folder.relative_to(_SHIPPED))
        inside = (_ROOT / below / name).resolve()
        return str(inside if inside.exists() else (Path.cwd() / below / name).resolve())
    return str((folder / name).resolve())


def _problem(model: type[Section], details: ErrorDetails, place: Place, tree: Tree) -> str:
    loc = tuple(part for part in details["loc"] if not (isinstance(part, str) and "[" in part))
    where = tree.mark((*place, *loc)).text
    path = ".".join(map(str, (*place, *loc)))
    kind = details["type"]
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "extra_forbidden":
        section = _section_at(model, loc[:-1])
        if instead := section.renamed.get(str(loc[-1])):
            return f"{where}: {path}: has another name now: write {instead} instead"
        return f"{where}: {path}: unknown field{did_you_mean(str(loc[-1]), list(section.model_fields))}"
    if kind == "missing":
        return f"{where}: {path}: is required."
    if kind == "value_error":
        return f"{where}: {path}: {message}"
    return f"{where}: {path}: got {details['input']!r}, allowed: {message}."


def _section_at(model: type[Section], loc: Place) -> type[Section]:
    """The section at a place in a model, through optional and nested sections."""
    for part in loc:
        annotation = model.model_fields[str(part)].annotation if part in model.model_fields else None
        nested = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        model = next((kind for kind in nested if issubclass(kind, Section)), model)
    return model


def _shown_override(override: str) -> str:
    name, _, text = override.partition("=")
    plain = {name: yaml.safe_load(text)}
    safe = _without_secrets(plain)
    return override if safe == plain else f"{name}={json.dumps(safe[name])}"


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: HIDDEN if isinstance(item, str) and is_secret_name(str(key)) else _without_secrets(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return redacted(value) if isinstance(value, str) else value
