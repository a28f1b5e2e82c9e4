"""What is told of a config before any of its stages runs."""

from mimicmotion.errors import ConfigError
from mimicmotion.weights.fetching import wrong_weights
from stages.engine.config import PipelineConfig
from stages.engine.contract import DatasetStage


def check_stages(config: PipelineConfig, names: list[str]) -> None:
    """Refuse a config whose stages would fail anyway.

    Raises:
        ConfigError: lists every problem of every stage.
    """
    problems = []
    for name in names:
        stage = config.stages[name]
        problems += [f"{config.source}: {name}: {problem}" for problem in stage.check()]
        if isinstance(stage, DatasetStage) and stage.one_process and stage.runtime.workers > 1:
            problems.append(
                f"{config.source}: {name}.runtime.workers: got {stage.runtime.workers}, allowed is 1: "
                f"{name} works in one process."
            )
        problems += [
            f"{config.source}: {name}.{field}: there is no file or folder {path}. "
            f"`{config.command('weights list')}` says where weights come from."
            for field, path in stage.weight_files().items()
            if not path.exists()
        ]
        problems += [
            f"{config.source}: {name}.{field}: {wrong}"
            for field, path in stage.weight_files().items()
            if path.exists() and (wrong := wrong_weights(path))
        ]
    if problems:
        raise ConfigError(problems)
