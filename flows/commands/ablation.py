"""The command ``ablation``: every arm and seed of a config's ablation, and the table they come to."""

from rich.markdown import Markdown

from flows.commands.run import Config, Overrides
from flows.servers import start_prefect
from flows.settings import check_parameters
from flows.study import CHART_FILE, FRAMES_FILE, load_study
from flows.terminal import Terminal


def ablation(config: Config, overrides: Overrides = None) -> None:
    """Run the ablation of a config (configs/ablation/*.yaml), as a Prefect flow in this process."""
    check_parameters(overrides)
    study = load_study(config, overrides or [])
    console = Terminal()
    runs = sum(len(trial.stages) for trial in study.trials)
    arms, seeds = len(study.settings.arms), len(study.settings.seeds)
    console.lines(f"{arms} arms with {seeds} seeds need {runs} stages; what they share runs once")
    start_prefect(study.config)
    # Imported late: Prefect takes seconds, and reads its settings on import.
    from flows.ablation import ablation as flow

    result = flow(config, overrides or [])
    console.print(Markdown(result.markdown))
    console.lines(
        f"table, {CHART_FILE}, {FRAMES_FILE}, videos: {result.folder}",
        f"arms and seeds: {study.config.command('ui')}",
    )
