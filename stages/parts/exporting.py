"""Weights out of a checkpoint that a training run has written; when the run is done its checkpoints go."""

from pathlib import Path

from stages.train import CLIPS_FILE, Distill, Train


def wrote(stage: Train, checkpoint: Path) -> bool:
    """Whether a checkpoint is of a run of a section, not of its teacher or student, and learnt what it says.

    Raises:
        DataError: it is no checkpoint.
    """
    from mimicmotion.training.export import checkpoint_facts
    from mimicmotion.training.job import LEARNT, SAMPLING

    facts = checkpoint_facts(checkpoint)
    if facts.get(LEARNT, stage.learnt) != stage.learnt:
        return False
    if SAMPLING in facts:
        return bool(facts[SAMPLING] == stage.sampling)
    # Checkpoints of earlier versions do not say it, so the folder of their stage tells.
    folder = [place.name for place in checkpoint.absolute().parents[4:5]]
    return (folder == [Distill.name]) == bool(stage.sampling)


def export_checkpoint(stage: Train, checkpoint: Path, folder: Path) -> int:
    """Write the averaged weights of any checkpoint of a run in both forms; returns its step.

    Args:
        stage: section of the run.
        checkpoint: folder ``step-NNNNNNNN``, as the run's log names it.
        folder: where the pipeline folder and the released file go.

    Raises:
        DataError: it is no checkpoint.
        InputError: the list of clips of its run is gone.
        WeightsError: it does not fit the base.
    """
    from mimicmotion.training.export import export, read_checkpoint
    from mimicmotion.training.job import read_clips

    network, facts = read_checkpoint(checkpoint)
    clips = read_clips(checkpoint.parent.parent / CLIPS_FILE)
    training = {**stage.training_facts(clips), "step": facts["step"]}
    export(network, stage.base, stage.drawing, folder, training)
    return int(facts["step"])
