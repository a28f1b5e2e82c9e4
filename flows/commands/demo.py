"""The command ``demo``: the whole pipeline on the built-in toy world, in the current folder."""

from pathlib import Path

from flows.commands.run import rebuild
from stages.engine.config import load_config

_FIRST_SEED, _NUM_DANCERS, _NUM_DANCES, _NUM_FRAMES, _NUM_VAL_DANCERS = 900_000, 4, 4, 36, 2
"""Seeds below the first one trained the models."""


def demo() -> None:
    """Render the toy world's dancers where they are not there yet, and run every stage over them."""
    from mimicmotion.synthetic.world import make_videos

    config: dict = load_config("demo").stages["decode"].model_dump()
    dancers = range(_FIRST_SEED, _FIRST_SEED + _NUM_DANCERS)
    make_videos(Path(config["source"]), dancers, _NUM_DANCES, _NUM_FRAMES, num_val_dancers=_NUM_VAL_DANCERS)
    rebuild("demo")
