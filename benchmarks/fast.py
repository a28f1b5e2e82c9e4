"""What each trick of the fast preset costs and brings, on held-out dancers, side by side in one run.

    python -m mimicmotion.synthetic.trainers.corpus .cache/corpus
    python benchmarks/fast.py .cache/corpus mimicmotion/synthetic/weights

Times are the process's own CPU seconds in sampling; scores are those of
``mimicmotion.synthetic.trainers.judge``.
"""

import argparse
import json
from pathlib import Path

from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.pose.simcc import WholeBodyModel
from mimicmotion.synthetic.trainers.corpus import open_corpus
from mimicmotion.synthetic.trainers.judge import Models, judge
from mimicmotion.synthetic.world import FPS


def presets(steps: int, guidance: float) -> dict[str, SamplerSettings]:
    """Return the full sampler, each trick alone, and both: what ``fast`` does."""
    full = SamplerSettings(num_steps=steps, guidance_scale=guidance, tile=8, overlap=2, fps=FPS)
    fast = full.fast()
    return {
        "full": full,
        "fewer Karras steps": full.replaced(num_steps=fast.num_steps),
        "fewer steps, Align-Your-Steps": full.replaced(num_steps=fast.num_steps, schedule=fast.schedule),
        "guidance in the middle": full.replaced(guidance_sigmas=fast.guidance_sigmas),
        "fast": fast,
    }


def main() -> None:
    """Print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--dancers", type=int, default=6)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=2.0)
    asked = parser.parse_args()
    models = Models.load(asked.weights / "base")
    pose_model = WholeBodyModel.open(asked.weights / "wholebody.onnx", cuda=False, allow_cpu=True)
    corpus = open_corpus(asked.corpus / "held_out")
    results = {
        name: judge(models, pose_model, corpus, asked.dancers, settings)[0]
        for name, settings in presets(asked.steps, asked.guidance).items()
    }
    full = results["full"]
    print(f"{'preset':<32}{'CPU s':>8}{'ratio':>7}{'PSNR dB':>9}{'keypoint distance':>19}")
    for name, found in results.items():
        seconds = found["sampling_cpu_s"]
        print(
            f"{name:<32}{seconds:>8.1f}{seconds / full['sampling_cpu_s']:>7.2f}"
            f"{found['psnr_base']:>9.2f}{found['pose_distance_base']:>19.4f}"
        )
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
