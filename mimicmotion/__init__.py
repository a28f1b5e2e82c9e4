"""MimicMotion as a library: video, pose, guidance, model, diffusion, training, metrics, synthetic.

Imports none of prefect, ray and mlflow, and importing it has no effect.
"""

__version__ = "0.1.0"
