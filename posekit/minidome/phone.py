"""Phone mode: people standing in front of a phone or laptop with gesturing hands (chapter 02)."""

import numpy as np

from posekit.cameras import Camera
from posekit.minidome import desk, furniture, solids
from posekit.minidome.actions import FPS, move
from posekit.minidome.body import sample_body
from posekit.minidome.dome import SEAT
from posekit.minidome.motion import at_moments, moments, retarget
from posekit.minidome.pose import forward_kinematics
from posekit.minidome.scene import (
    PLAIN,
    Person,
    Scene,
    SceneConfig,
    is_empty_scene,
    occupied_space,
    self_collision,
)

GESTURES = {
    ("show", "hang"): 30,
    ("wave", "hang"): 9,
    ("phone", "hang"): 8,
    ("before", "hang"): 9,
    ("show", "show"): 7,
    ("show", "hips"): 4,
    ("show", "folded"): 3,
    ("chest", "chest"): 5,
    ("before", "folded"): 3,
    ("reach", "hang"): 4,
    ("overhead", "hang"): 4,
    ("folded", "folded"): 3,
    ("free", "free"): 5,
    ("hang", "hang"): 6,
}
"""Poses of the two arms and their frequencies in per cent; the sides are random."""
_LEGS = (("stand", "ease", "wide"), (0.5, 0.4, 0.1))
_TRUNKS = (("upright", "lean", "turn"), (0.75, 0.15, 0.1))


def sample_scene(
    seed: int,
    number: int,
    frames: int,
    cameras: dict[str, Camera],
    views: int,
    config: SceneConfig = PLAIN,
) -> Scene:
    """Sample a scene as `scene.sample_scene`, in front of a phone; one scene in eight has a second
    person half behind the first."""
    rng = np.random.default_rng([seed, 0xF0, number])
    chosen = sorted(rng.choice(sorted(cameras), views, replace=False).tolist())
    people = []
    stuff = []
    if not is_empty_scene(seed, number, config):
        people = [
            _sample_person(frames, index, config, rng)
            for index in range(1 + (rng.random() < 0.125))
        ]
    if not config.bare:
        eyes = [cameras[name].position for name in chosen]
        stuff = furniture.place_furniture(*occupied_space(people), eyes, rng, wall=2)
    return desk.lit_by_a_screen(people, solids.merge(stuff), chosen, rng)


def _sample_person(
    frames: int, index: int, config: SceneConfig, rng: np.random.Generator
) -> Person:
    """Sample a person facing the phone within about 15 degrees; person 1 (`index`) stands half
    behind the first."""
    body = sample_body(rng)
    spot = SEAT[[0, 2]] + [rng.normal(0, 8), rng.normal(0, 8)]
    if index:
        spot = spot + [rng.choice([-1, 1]) * rng.uniform(45, 75), -rng.uniform(25, 90)]
    turn = rng.normal(0, 15)
    if config.clips:
        clip = config.clips[rng.integers(len(config.clips))]
        axes, origins, heading = retarget(
            at_moments(clip, moments(clip, frames, config.step, rng)), body.bones, 60
        )
        a = np.deg2rad(turn - heading[0])
        spin = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        there = np.array([spot[0], 0, spot[1]])
        return Person(
            body,
            {"legs": "motion"},
            np.zeros((frames, 0)),
            heading + turn - heading[0],
            spin @ axes,
            origins @ spin.T + there,
        )
    (legs, trunk) = (rng.choice(names, p=shares) for names, shares in (_LEGS, _TRUNKS))
    best = None
    least = np.inf
    for _ in range(16 if frames == 1 else 6):
        left, right = list(GESTURES)[
            rng.choice(len(GESTURES), p=np.array(list(GESTURES.values())) / 100)
        ]
        if rng.random() < 0.5:
            left, right = right, left
        action = {"legs": str(legs), "trunk": str(trunk), "left_arm": left, "right_arm": right}
        angles = move(action, frames, 1.0, rng)
        heading = turn + 5 * np.sin(
            2 * np.pi * np.arange(frames) / FPS / rng.uniform(4, 9) + rng.uniform(0, 6)
        )
        axes, origins = forward_kinematics(body.bones, angles, heading, np.tile(spot, (frames, 1)))
        person = Person(body, action, angles, heading, axes, origins)
        collision = self_collision(person)
        if collision < least:
            best = person
            least = collision
        if least <= 0:
            break
    return best
