"""The demo's eight stages in a minute of a free core, for scripts that break, move or repeat a rebuild.

Two dancers, two dances each, pictures of 64x96, three steps of training, one worker a stage: too little to
learn anything, and every stage is the real one.
"""

import subprocess
import sys
from pathlib import Path

from stages.engine.config import PipelineConfig, load_config
from stages.engine.plan import StageGraph

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("decode", "pose", "clips", "latents", "train", "animate", "evaluate", "register")
_BASE = ROOT / "mimicmotion" / "synthetic" / "weights" / "base"
_SIZE = "[[64, 96]]"
OVERRIDES = (
    "decode.runtime.workers=1",
    "pose.runtime.workers=1",
    f"latents.base={_BASE}",
    f"clips.sizes_px={_SIZE}",
    "train.steps=3",
    "train.batch=1",
    "train.warmup_steps=1",
    "train.runtime={cpus_per_worker: 1, log_every: 1, checkpoint_every: 1, sample_every: 100}",
    "animate.num_steps=1",
    "animate.runtime.workers=1",
)


def render(folder: Path, num_dancers: int = 2, num_dances: int = 2, num_frames: int = 24) -> None:
    """Write the films of a few dancers."""
    sizes = [f"--num-dancers={num_dancers}", f"--num-dances={num_dances}", f"--num-frames={num_frames}"]
    command = [sys.executable, "-m", "mimicmotion.synthetic.world", str(folder), *sizes]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def write_config(file: Path, source: Path, workspace: str, overrides: tuple[str, ...] = OVERRIDES) -> None:
    """Write the demo's config as it is now, with other films, workspace and fields and absolute paths."""
    changed = [f"workspace={workspace}", f"decode.source={source}", *overrides]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(load_config(ROOT / "configs" / "demo.yaml", changed).to_yaml(), encoding="utf-8")


def keys(config: PipelineConfig) -> dict[str, tuple[str, str]]:
    """Recipe key and dataset key of each published stage."""
    graph = StageGraph(config)
    manifests = {name: graph.dataset(name).manifest for name in config.stages}
    return {name: (manifest.recipe_key, manifest.dataset_key) for name, manifest in manifests.items()}
