"""MiniDome's phone mode: people who stand before a phone or a laptop and show it something with their hands (chapter 02)."""

import numpy as np

from posekit.cameras import Camera
from posekit.minidome import desk, solids, things
from posekit.minidome.actions import FPS, move
from posekit.minidome.body import draw_figure
from posekit.minidome.dome import SEAT
from posekit.minidome.motion import at_moments, moments, retarget
from posekit.minidome.pose import place
from posekit.minidome.scene import (
    PLAIN,
    Person,
    Scene,
    SceneConfig,
    nobody,
    own_collision,
    surroundings,
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
"""What the two arms do, and how often in a hundred; which side does which is drawn."""
_LEGS, _TRUNKS = (
    (("stand", "ease", "wide"), (0.5, 0.4, 0.1)),
    (("upright", "lean", "turn"), (0.75, 0.15, 0.1)),
)


def draw_scene(
    seed: int,
    number: int,
    frames: int,
    cameras: dict[str, Camera],
    views: int,
    wishes: SceneConfig = PLAIN,
) -> Scene:
    """As `scene.draw_scene`, before a phone; in one scene of eight a second person stands half behind the first."""
    rng = np.random.default_rng([seed, 0xF0, number])
    chosen = sorted(rng.choice(sorted(cameras), views, replace=False).tolist())
    people, stuff = [], []
    if not nobody(seed, number, wishes):
        people = [
            _draw_poser(frames, beside, wishes, rng) for beside in range(1 + (rng.random() < 0.125))
        ]
    if not wishes.bare:
        eyes = [cameras[name].position for name in chosen]
        stuff = things.furnish(*surroundings(people), eyes, rng, wall=2)
    return desk.lit_by_a_screen(people, solids.together(stuff), chosen, rng)


def _draw_poser(frames: int, beside: int, wishes: SceneConfig, rng: np.random.Generator) -> Person:
    """Somebody who faces the phone, give or take 15 degrees; `beside` 1 stands half behind the first."""
    figure = draw_figure(rng)
    spot = SEAT[[0, 2]] + [rng.normal(0, 8), rng.normal(0, 8)]
    if beside:
        spot = spot + [rng.choice([-1, 1]) * rng.uniform(45, 75), -rng.uniform(25, 90)]
    turn = rng.normal(0, 15)
    if wishes.clips:
        clip = wishes.clips[rng.integers(len(wishes.clips))]
        axes, origins, heading = retarget(
            at_moments(clip, moments(clip, frames, wishes.step, rng)), figure.bones, 60
        )
        a = np.deg2rad(turn - heading[0])
        spin = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        there = np.array([spot[0], 0, spot[1]])
        return Person(figure, {"legs": "motion"}, np.zeros((frames, 0)), heading + turn - heading[0],
                      spin @ axes, origins @ spin.T + there)  # fmt: skip
    (legs, trunk), best, least = (
        (rng.choice(names, p=shares) for names, shares in (_LEGS, _TRUNKS)),
        None,
        np.inf,
    )
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
        axes, origins = place(figure.bones, angles, heading, np.tile(spot, (frames, 1)))
        person = Person(figure, action, angles, heading, axes, origins)
        trouble = own_collision(person)
        if trouble < least:
            best, least = person, trouble
        if least <= 0:
            break
    return best
