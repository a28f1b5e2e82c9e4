"""A dancer's skeleton: joint angles over time in, 133 true keypoints in three dimensions out.

Axes: x to the picture's right, y down, z towards the camera. A dancer who faces the camera has the left
shoulder at positive x. Lengths are in units of the body height.
"""

from dataclasses import dataclass, replace

import numpy as np

Array = np.ndarray

FINGER_LENGTHS = np.array([0.62, 0.86, 0.95, 0.88, 0.70])
"""Thumb to little finger, as a share of the palm's length plus finger of the middle finger."""


@dataclass(frozen=True)
class Proportions:
    """Sizes of one body, in units of its height."""

    head: float
    shoulder: float
    hip: float
    torso: float
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shin: float
    foot: float
    girth: float

    @staticmethod
    def sample(rng: np.random.Generator) -> "Proportions":
        """A random body. Heads and hands are larger than life so that they can be seen in small pictures."""
        u = rng.uniform
        return Proportions(
            head=u(0.185, 0.215), shoulder=u(0.105, 0.135), hip=u(0.060, 0.082), torso=u(0.27, 0.31),
            upper_arm=u(0.145, 0.175), forearm=u(0.130, 0.155), hand=u(0.120, 0.140),
            thigh=u(0.205, 0.235), shin=u(0.19, 0.22), foot=u(0.085, 0.11), girth=u(0.85, 1.25),
        )  # fmt: skip

    def stretched(self, limbs: float) -> "Proportions":
        """The body with arms and legs as many times as long."""
        lengths = {name: limbs * getattr(self, name) for name in ("upper_arm", "forearm", "thigh", "shin")}
        return replace(self, **lengths)


def _unit(v: Array) -> Array:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _vec(x: Array | float, y: Array | float, z: Array | float) -> Array:
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float64)


def _rotation(axis: str, angle: Array) -> Array:
    """Rotation matrices (n, 3, 3) about one axis."""
    c, s, o, i = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    rows = {
        "x": [[i, o, o], [o, c, -s], [o, s, c]],
        "y": [[c, o, s], [o, i, o], [-s, o, c]],
        "z": [[c, -s, o], [s, c, o], [o, o, i]],
    }[axis]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _apply(rotation: Array, points: Array) -> Array:
    return np.einsum("nij,n...j->n...i", rotation, points)


def face_landmarks() -> Array:
    """The 68 face points (68, 2) on the unit face: u to the picture's right, v down, seen from the front."""
    t = np.linspace(0, np.pi, 17)
    jaw = np.stack([-0.92 * np.cos(t), 0.93 * np.sin(t)], 1)
    arch = np.array([0.06, -0.03, -0.06, -0.04, 0.02])
    right_brow = np.stack([np.linspace(-0.72, -0.2, 5), -0.40 + arch], 1)
    bridge = np.stack([np.zeros(4), np.linspace(-0.15, 0.20, 4)], 1)
    nostrils = np.stack([np.linspace(-0.16, 0.16, 5), 0.28 + 0.04 * np.array([0, 0.7, 1, 0.7, 0])], 1)
    eye = np.array([[-1, 0], [-0.4, -1], [0.4, -1], [1, 0], [0.4, 1], [-0.4, 1]]) * [0.17, 0.10]
    right_eye, left_eye = eye + np.array([-0.42, -0.13]), eye + np.array([0.42, -0.13])
    a = np.linspace(np.pi, 3 * np.pi, 13)[:12]
    outer = np.stack([0.30 * np.cos(a), 0.57 + 0.11 * np.sin(a)], 1)
    b = np.linspace(np.pi, 3 * np.pi, 9)[:8]
    inner = np.stack([0.20 * np.cos(b), 0.57 + 0.045 * np.sin(b)], 1)
    left_brow = right_brow[::-1] * [-1, 1]
    return np.concatenate([jaw, right_brow, left_brow, bridge, nostrils, right_eye, left_eye, outer, inner])


def _arm(
    angles: dict[str, Array], side: str, torso: Array, shoulder: Array, p: Proportions
) -> tuple[Array, ...]:
    """Elbow, wrist and the forearm's direction; elevation 0 hangs down, pi/2 is level."""
    sign = 1.0 if side == "left" else -1.0
    lift, swing = angles[f"{side}_lift"], angles[f"{side}_swing"]
    bend, twist = angles[f"{side}_elbow"], angles[f"{side}_twist"]
    upper = _vec(sign * np.sin(lift) * np.cos(swing), np.cos(lift), np.sin(lift) * np.sin(swing))
    prefer = _vec(-0.35 * sign, -0.8 * np.cos(twist), 0.6 + 0.6 * np.sin(twist))
    prefer = _unit(prefer - upper * (prefer * upper).sum(-1, keepdims=True))
    lower = np.cos(bend)[:, None] * upper + np.sin(bend)[:, None] * prefer
    upper, lower = _apply(torso, upper), _unit(_apply(torso, lower))
    elbow = shoulder + upper * p.upper_arm
    return elbow, elbow + lower * p.forearm, lower


def _hand(angles: dict[str, Array], side: str, wrist: Array, along: Array, length: float) -> Array:
    """The 21 points (n, 21, 3) of a hand: wrist, then four joints from thumb to little finger."""
    sign = 1.0 if side == "left" else -1.0
    roll, curl, spread = angles[f"{side}_roll"], angles[f"{side}_curl"], angles[f"{side}_spread"]
    bent = _apply(_rotation("z", angles[f"{side}_wrist"]), along)
    along = _unit(bent * [1, 1, 0.6])
    flat = _unit(_vec(-along[:, 1], along[:, 0], np.zeros(len(along)))) * -sign
    across = np.cos(roll)[:, None] * flat + np.sin(roll)[:, None] * np.cross(along, flat)
    palm = np.cross(along, across)
    points = [wrist]
    for finger in range(5):
        angle = (2 - finger) * (0.10 + 0.16 * spread) + (0.55 if finger == 0 else 0.0)
        way = np.cos(angle)[:, None] * along + np.sin(angle)[:, None] * across
        start = 0.22 if finger == 0 else 0.46
        at = wrist + way * length * start
        points.append(at)
        amount = curl * (0.6 if finger == 0 else 1.0) * (1 + 0.15 * angles[f"{side}_finger{finger}"])
        reach = (FINGER_LENGTHS[finger] - start) * length * np.array([0.42, 0.32, 0.26])
        for joint in range(3):
            turn = amount * (0.9 + 0.7 * joint)
            at = at + (np.cos(turn)[:, None] * way + np.sin(turn)[:, None] * palm) * reach[joint]
            points.append(at)
    return np.stack(points, 1)


def _leg(angles: dict[str, Array], side: str, pelvis: Array, hip: Array, p: Proportions) -> tuple[Array, ...]:
    sign = 1.0 if side == "left" else -1.0
    out, raise_, bend = angles[f"{side}_out"], angles[f"{side}_raise"], angles[f"{side}_knee"]
    thigh = _vec(sign * np.sin(out), np.cos(out) * np.cos(raise_), np.sin(raise_))
    shin = _vec(sign * np.sin(out * 0.35), np.cos(raise_ - bend), np.sin(raise_ - bend))
    knee = hip + _apply(pelvis, _unit(thigh)) * p.thigh
    ankle = knee + _apply(pelvis, _unit(shin)) * p.shin
    turnout = 0.55 * sign
    ahead = _apply(pelvis, _vec(np.sin(turnout), 0.12, np.cos(turnout)) * np.ones((len(out), 1)))
    aside = _unit(np.cross(np.array([0.0, 1.0, 0.0]), ahead)) * sign
    sole = ankle + np.array([0, 0.035, 0])
    big, small = sole + ahead * p.foot - aside * 0.012, sole + ahead * p.foot * 0.85 + aside * 0.022
    return knee, ankle, np.stack([big, small, sole - ahead * 0.03], 1)


@dataclass(frozen=True)
class Skeleton:
    """One dancer over n frames: 133 keypoints and what the painter needs besides.

    Attributes:
        keypoints: float64 (n, 133, 3), COCO-WholeBody order.
        neck, pelvis: float64 (n, 3).
        head: centre of the head, float64 (n, 3).
        head_rotation: float64 (n, 3, 3).
    """

    keypoints: Array
    neck: Array
    pelvis: Array
    head: Array
    head_rotation: Array


def _head(
    angles: dict[str, Array], torso: Array, neck: Array, p: Proportions
) -> tuple[Array, Array, Array, Array]:
    """Centre, rotation, the 5 head points of the body and the 68 of the face."""
    turn = torso @ _rotation("y", angles["head_yaw"])
    turn = turn @ _rotation("x", angles["head_pitch"]) @ _rotation("z", angles["head_roll"])
    radii = np.array([0.40, 0.5, 0.42]) * p.head
    centre = neck + _apply(turn, np.array([[0, -0.60 * p.head, 0.01]]) * np.ones((len(neck), 1)))
    uv = face_landmarks()
    front = np.sqrt(np.maximum(1 - (uv * 0.95) ** 2 @ np.ones(2), 0.02))
    local = np.concatenate([uv * radii[:2], (front * radii[2])[:, None]], 1)
    local[30, 2] *= 1.12  # the tip of the nose stands out
    face = centre[:, None] + _apply(turn, np.broadcast_to(local, (len(neck), 68, 3)))
    ears = np.array([[radii[0], -0.02 * p.head, 0], [-radii[0], -0.02 * p.head, 0]])
    ears = centre[:, None] + _apply(turn, np.broadcast_to(ears, (len(neck), 2, 3)))
    nose, left_eye, right_eye = face[:, 30], face[:, 42:48].mean(1), face[:, 36:42].mean(1)
    return centre, turn, np.stack([nose, left_eye, right_eye, ears[:, 0], ears[:, 1]], 1), face


def pose_skeleton(p: Proportions, angles: dict[str, Array], camera_pitch: float) -> Skeleton:
    """The skeleton in every frame.

    Args:
        p: sizes of the body.
        angles: radians (n,) by joint, as ``motion.dance`` gives them.
        camera_pitch: how far the camera looks down, in radians.

    The lower foot stands on y = 0; x = 0 lies under the pelvis plus the sway.
    """
    frames = len(angles["yaw"])
    pelvis_turn = _rotation("y", angles["yaw"]) @ _rotation("z", angles["hip_tilt"])
    torso = _rotation("y", angles["yaw"] + angles["torso_twist"]) @ _rotation("z", angles["side_bend"])
    torso = torso @ _rotation("x", angles["lean"])
    pelvis = np.zeros((frames, 3))

    def at(turn: Array, x: float, y: float) -> Array:
        return _apply(turn, np.array([[x, y, 0.0]]) * np.ones((frames, 1)))

    neck = pelvis + at(torso, 0, -p.torso)
    shoulder = {s: neck + at(torso, k * p.shoulder, 0.028) for s, k in (("left", 1), ("right", -1))}
    hip = {s: pelvis + at(pelvis_turn, k * p.hip, 0.01) for s, k in (("left", 1), ("right", -1))}
    elbow, wrist, hand, knee, ankle, foot = {}, {}, {}, {}, {}, {}
    for side in ("left", "right"):
        elbow[side], wrist[side], along = _arm(angles, side, torso, shoulder[side], p)
        hand[side] = _hand(angles, side, wrist[side], along, p.hand)
        knee[side], ankle[side], foot[side] = _leg(angles, side, pelvis_turn, hip[side], p)
    centre, turn, head_points, face = _head(angles, torso, neck, p)
    pair = [np.stack([part["left"], part["right"]], 1) for part in (shoulder, elbow, wrist, hip, knee, ankle)]
    feet = np.concatenate([foot["left"], foot["right"]], 1)
    keypoints = np.concatenate([head_points, *pair, feet, face, hand["left"], hand["right"]], 1)
    camera = _rotation("x", np.full(frames, -camera_pitch))
    keypoints, neck, pelvis, centre = (_apply(camera, points) for points in (keypoints, neck, pelvis, centre))
    ground = keypoints[:, 17:23, 1].max(1)
    shift = _vec(angles["sway"], -ground + np.minimum(0, angles["hop"]), np.zeros(frames))
    return Skeleton(keypoints + shift[:, None], neck + shift, pelvis + shift, centre + shift, camera @ turn)
