"""Random dances: smooth joint angles over time."""

import numpy as np

Array = np.ndarray

# Joint: (middle, how far the middle varies between dances, how far it swings), radians.
JOINTS: dict[str, tuple[float, float, float]] = {
    "yaw": (0.0, 0.30, 0.30),
    "hip_tilt": (0.0, 0.04, 0.10),
    "torso_twist": (0.0, 0.10, 0.20),
    "side_bend": (0.0, 0.06, 0.13),
    "lean": (0.03, 0.05, 0.06),
    "head_yaw": (0.0, 0.20, 0.28),
    "head_pitch": (0.05, 0.08, 0.10),
    "head_roll": (0.0, 0.05, 0.12),
    "sway": (0.0, 0.0, 0.045),
    "hop": (0.0, 0.0, 0.02),
}
LIMBS: dict[str, tuple[float, float, float]] = {
    "lift": (1.25, 0.55, 0.75),
    "swing": (0.25, 0.30, 0.35),
    "elbow": (1.05, 0.40, 0.65),
    "twist": (0.2, 0.50, 0.55),
    "wrist": (0.0, 0.15, 0.30),
    "roll": (0.0, 0.30, 0.40),
    "curl": (0.22, 0.22, 0.25),
    "spread": (0.7, 0.30, 0.30),
    "out": (0.16, 0.08, 0.10),
    "raise": (0.18, 0.12, 0.25),
    "knee": (0.35, 0.15, 0.30),
}
LIMITS: dict[str, tuple[float, float]] = {
    "lift": (0.08, 2.75),
    "elbow": (0.0, 2.3),
    "curl": (0.0, 0.95),
    "spread": (0.0, 1.2),
    "knee": (0.02, 1.3),
    "out": (-0.02, 0.5),
    "raise": (-0.25, 0.9),
}


def _swing(rng: np.random.Generator, time_s: Array, tempo_hz: float, size: float) -> Array:
    """A sum of three waves at fractions of the tempo; their sizes vary from dance to dance."""
    waves = np.zeros_like(time_s)
    for factor in (0.25, 0.5, 1.0):
        phase, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.0)
        waves += strength * np.sin(2 * np.pi * tempo_hz * factor * time_s + phase) / (1 + factor)
    return size * waves


def dance(rng: np.random.Generator, time_s: Array) -> dict[str, Array]:
    """Joint angles (n,) in radians by name, at the given instants."""
    tempo_hz = rng.uniform(0.7, 1.5)
    energy = rng.uniform(0.7, 1.15)
    angles: dict[str, Array] = {}

    def add(name: str, spec: tuple[float, float, float], limits: tuple[float, float] | None) -> None:
        middle, vary, size = spec
        values = middle + rng.normal(0, vary) + _swing(rng, time_s, tempo_hz, size * energy)
        angles[name] = np.clip(values, *limits) if limits else values

    for name, spec in JOINTS.items():
        add(name, spec, None)
    for side in ("left", "right"):
        for name, spec in LIMBS.items():
            add(f"{side}_{name}", spec, LIMITS.get(name))
        for finger in range(5):
            angles[f"{side}_finger{finger}"] = np.full_like(time_s, rng.normal(0, 1.0))
    if rng.random() < 0.15:  # now and then the dancer turns further
        angles["yaw"] += rng.choice([-1, 1]) * rng.uniform(0.5, 0.9)
    return angles
