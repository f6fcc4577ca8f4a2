"""Sample one MiniDome scene: people, actions, furniture, light and cameras (chapter 02).

A scene is drawn from (seed, scene number) alone, so any process can make any frame of a sequence.
"""

from dataclasses import dataclass

import numpy as np

from posekit.cameras import Camera
from posekit.minidome import furniture, solids
from posekit.minidome.actions import FPS, move, sample_action
from posekit.minidome.body import Body, sample_body
from posekit.minidome.motion import Clip, at_moments, moments, retarget
from posekit.minidome.pose import FRAME, forward_kinematics
from posekit.minidome.solids import Solids

STAGE = 125.0
"""People stand within this distance from the middle, cm."""

PEOPLE_COUNTS = (1,) * 21 + (2,) * 14 + (3,) * 5
"""Numbers of people in forty scenes, in an order that the seed shuffles: 47.5 % of scenes have two
or more."""

FACING_CAMERA_SHARE = 0.55
"""Fraction of people who face one of the cameras within about 30 degrees; the others face a random
direction."""


@dataclass(frozen=True)
class Person:
    """A person over the T frames of a scene.

    Args:
        body: bones and surface.
        action: the styles, see `actions.draw_action`.
        angles: (T, 30) degrees; (T, 0) where a file gives the motion.
        heading: (T,) degrees.
        axes, origins: (T, 17, 3, 3) and (T, 17, 3), from `pose.place`.
    """

    body: Body
    action: dict[str, str]
    angles: np.ndarray
    heading: np.ndarray
    axes: np.ndarray
    origins: np.ndarray

    def joints(self) -> np.ndarray:
        """(T, 19, 3) cm in Panoptic's order."""
        return self.body.joints(self.axes, self.origins)

    def solids_at(self, frame: int, owner: int) -> Solids:
        """Return the person's solids at one frame."""
        return self.body.solids_at(self.axes[frame], self.origins[frame], owner)


@dataclass(frozen=True)
class Scene:
    """Contents of one scene, without the walls of the room.

    Args:
        people: one to three.
        things: furniture and occluders, fixed for the scene.
        cameras: names of the active cameras.
        light: (3,) unit vector towards the light, world.
        ambient: fraction of the light that comes from everywhere, 0-1.
        tint: (3,) colour of the light, about 1.
        room_seed: draws the room's surfaces.
        grain: how strong the camera's noise is, 1 in a well-lit room.
    """

    people: list[Person]
    furniture: Solids
    cameras: list[str]
    light: np.ndarray
    ambient: float
    tint: np.ndarray
    room_seed: int
    grain: float = 1.0


@dataclass(frozen=True)
class SceneConfig:
    """Options of scenes.

    Args:
        clips: real motion for the people; None draws actions.
        step: how many of the dome's frames lie between two of the scene's.
        empty: fraction of scenes without people, 0-1.
        bare: no furniture but seats (in front of photos).
    """

    clips: tuple[Clip, ...] | None = None
    step: int = 1
    empty: float = 0.0
    bare: bool = False


PLAIN = SceneConfig()


def is_empty_scene(seed: int, number: int, config: SceneConfig) -> bool:
    """Return whether the scene has no people."""
    return np.random.default_rng([seed, 0xE317, number]).random() < config.empty


def sample_scene(
    seed: int,
    number: int,
    frames: int,
    cameras: dict[str, Camera],
    views: int,
    config: SceneConfig = PLAIN,
) -> Scene:
    """Scene `number` of the sequence with this seed.

    Args:
        seed, number: what everything is drawn from.
        frames: T, how long the people move (1: a still).
        cameras: all cameras of the dome.
        views: number of active cameras.
        config: options.
    """
    rng = np.random.default_rng([seed, 0x5CE2E, number])
    block = np.random.default_rng([seed, 0xC20D, number // len(PEOPLE_COUNTS)]).permutation(
        PEOPLE_COUNTS
    )
    chosen = _sample_cameras(cameras, views, rng)
    eyes = [cameras[name].position for name in chosen]
    people: list[Person] = []
    seats: list[Solids] = []
    for _ in range(
        0 if is_empty_scene(seed, number, config) else block[number % len(PEOPLE_COUNTS)]
    ):
        person, seat = _sample_person(frames, people, seats, eyes, config, rng)
        people.append(person)
        seats.append(seat)
    placed = solids.merge(
        seats
        if config.bare
        else seats + furniture.place_furniture(*occupied_space(people), eyes, rng)
    )
    elevation = np.deg2rad(rng.uniform(38, 72))
    azimuth = rng.uniform(0, 2 * np.pi)
    light = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            -np.sin(elevation),
            np.cos(elevation) * np.sin(azimuth),
        ]
    )
    warm = rng.normal(0, 0.05)
    tint = np.array([1 + warm, 1.0, 1 - warm]) * rng.uniform(0.9, 1.1)
    return Scene(
        people, placed, chosen, light, rng.uniform(0.45, 0.7), tint, int(rng.integers(2**31))
    )


def occupied_space(people: list[Person]) -> tuple[Solids, list[np.ndarray]]:
    """Return the solids of all people at five frames and their positions, which furniture must
    avoid."""
    bodies = [
        person.solids_at(t, i) for i, person in enumerate(people) for t in _key_frames(person, 5)
    ]
    return solids.merge(bodies), [person.origins[0, FRAME["pelvis"]] for person in people]


def _sample_cameras(cameras: dict[str, Camera], views: int, rng: np.random.Generator) -> list[str]:
    """Sample the active cameras: mostly near eye height, as most photos are taken, and mostly on
    the same side as the first, so that a person facing one camera is not seen from behind by all
    others."""
    names = sorted(cameras)
    position = np.array([cameras[name].position for name in names])
    bearing = np.arctan2(position[:, 0], position[:, 2])
    weights = np.exp(-np.clip(-position[:, 1] - 150, 0, None) / 80)
    chosen: list[int] = []
    for _ in range(views):
        chosen.append(int(rng.choice(len(names), p=weights / weights.sum())))
        if len(chosen) == 1:
            weights *= 1 + 0.8 * np.cos(bearing - bearing[chosen[0]])
        weights[chosen[-1]] = 0
    return [names[i] for i in sorted(chosen)]


# ---- people --------------------------------------------------------------------------------------


def _sample_person(
    frames: int,
    others: list[Person],
    seats: list[Solids],
    eyes: list[np.ndarray],
    config: SceneConfig,
    rng: np.random.Generator,
) -> tuple[Person, Solids]:
    """Sample a person without self-collisions who does not overlap another person."""
    body = sample_body(rng)
    action = sample_action(rng)
    best = None
    least = np.inf
    if config.clips:
        best = _performing_clip(body, frames, config, rng)
        least = 0
    for _ in range(0 if config.clips else 16 if frames == 1 else 6):
        candidate = _in_motion(body, action, frames, rng)
        collision = self_collision(candidate)
        if collision < least:
            best = candidate
            least = collision
        if least <= 0:
            break
    most = -np.inf
    for _ in range(14):
        moved = _placed(best, eyes, rng)
        seat_there = _seat(moved, rng)
        room = _distance(moved, others, seats)
        if room > most:
            chosen = moved
            seat = seat_there
            most = room
        if most > 25:
            break
    return chosen, seat


def _in_motion(body: Body, action: dict, frames: int, rng: np.random.Generator) -> Person:
    """A person in motion; walkers go round on a circle about the middle, others turn a little on
    the spot. One frame is a still of it."""
    bones = body.bones
    speed = rng.uniform(0.75, 1.05) if action["legs"] == "walk" else rng.uniform(1.05, 1.3)
    angles = move(action, frames, speed, rng)
    time = np.arange(frames) / FPS
    if frames == 1:
        heading = np.zeros(1)
        spot = np.zeros((1, 2))
    elif action["legs"] in ("walk", "run"):
        reach = 24 if action["legs"] == "walk" else 40
        pace = speed * 4 * (bones.thigh + bones.shin) * np.sin(np.deg2rad(reach))
        radius = rng.uniform(55, 95)
        way = rng.choice([-1.0, 1.0])
        turn = way * pace * time / radius
        spot = radius * np.stack([np.sin(turn), np.cos(turn)], axis=1)
        heading = np.rad2deg(turn) + 90 * way
    else:
        heading = rng.normal(0, 12) * np.sin(
            2 * np.pi * time / rng.uniform(4, 8) + rng.uniform(0, 6)
        )
        if action["legs"] == "sit":
            heading = np.zeros(frames)
        spot = np.zeros((frames, 2))
    axes, origins = forward_kinematics(bones, angles, heading, spot)
    return Person(body, action, angles, heading, axes, origins)


def _performing_clip(
    body: Body, frames: int, config: SceneConfig, rng: np.random.Generator
) -> Person:
    """Return a person performing a motion clip from a random frame on."""
    clip = config.clips[rng.integers(len(config.clips))]
    axes, origins, heading = retarget(
        at_moments(clip, moments(clip, frames, config.step, rng)), body.bones
    )
    return Person(body, {"legs": "motion"}, np.zeros((frames, 0)), heading, axes, origins)


def _placed(person: Person, eyes: list[np.ndarray], rng: np.random.Generator) -> Person:
    """Return the person rotated and moved as a whole: walkers circle the centre, others stand at a
    random position, most of them facing an active camera."""
    walks = len(person.angles) > 1 and person.action["legs"] in ("walk", "run")
    r = 0 if walks else STAGE * np.sqrt(rng.random())
    if person.action["legs"] == "motion":  # moving people cross the centre of the stage
        r *= max(0.0, 1 - np.ptp(person.origins[:, 0], axis=0).max() / 200)
    bearing = rng.uniform(0, 2 * np.pi)
    shift = np.array([r * np.cos(bearing), 0, r * np.sin(bearing)])
    way = eyes[rng.integers(len(eyes))] - shift
    turn = np.rad2deg(np.arctan2(way[0], way[2])) - person.heading[0] + rng.normal(0, 30)
    if rng.random() >= FACING_CAMERA_SHARE:
        turn = rng.uniform(0, 360)
    a = np.deg2rad(turn)
    spin = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return Person(
        person.body,
        person.action,
        person.angles,
        person.heading + turn,
        spin @ person.axes,
        person.origins @ spin.T + shift,
    )


def _key_frames(person: Person, count: int) -> np.ndarray:
    return np.unique(np.linspace(0, len(person.angles) - 1, count).astype(int))


_TRUNK = [FRAME[n] for n in ("pelvis", "waist", "chest", "head")]


def self_collision(person: Person) -> float:
    """Compute how deep (cm) forearms and hands run into the torso, the head, the thighs or the
    other arm; <= 0 if they do not."""
    worst = -np.inf
    body = person.body
    trunk = np.isin(body.frame_a, _TRUNK)
    for t in _key_frames(person, 6):
        solids_at = person.solids_at(t, 0)
        for side, other in (("left", "right"), ("right", "left")):
            elbow = person.origins[t, FRAME[f"{side}_forearm"]]
            wrist = person.origins[t, FRAME[f"{side}_hand"]]
            tip = wrist - 0.8 * body.bones.hand * person.axes[t, FRAME[f"{side}_hand"], :, 1]
            points = np.concatenate(
                [
                    elbow + np.linspace(0.25, 1, 4)[:, None] * (wrist - elbow),
                    [tip, (wrist + tip) / 2],
                ]
            )
            limbs = [
                FRAME[f"{other}_upper_arm"],
                FRAME[f"{other}_forearm"],
                FRAME[f"{side}_thigh"],
                FRAME[f"{other}_thigh"],
            ]
            obstacles = solids_at.select_cones(trunk | np.isin(body.frame_a, limbs))
            worst = max(worst, 1.5 - solids.clearance(obstacles, points).min())
        knees = person.origins[t, FRAME["left_shin"]] - person.origins[t, FRAME["right_shin"]]
        ankles = person.origins[t, FRAME["left_foot"]] - person.origins[t, FRAME["right_foot"]]
        worst = max(worst, 8 - np.linalg.norm(knees), 7 - np.linalg.norm(ankles))
    return float(worst)


def _distance(person: Person, others: list[Person], seats: list[Solids]) -> float:
    """Smallest gap between a person's parts and those of the others, cm."""
    gap = np.inf
    for t in _key_frames(person, 5):
        mine = person.solids_at(t, 0)
        points = np.concatenate([mine.a, (mine.a + mine.b) / 2, mine.b])
        radii = np.concatenate([mine.ra, (mine.ra + mine.rb) / 2, mine.rb])
        for other in others:
            gap = min(gap, (solids.clearance(other.solids_at(t, 0), points) - radii).min())
        for seat in seats:
            if len(seat.box_centre):
                flat = np.linalg.norm(
                    points[:, None, [0, 2]] - seat.box_centre[None, :1, [0, 2]], axis=-1
                )
                gap = min(gap, (flat[:, 0] - 30 - radii).min())
    return float(gap)


def _seat(person: Person, rng: np.random.Generator) -> Solids:
    """Return the seat of a sitting person."""
    if person.action["legs"] != "sit":
        return solids.no_solids()
    pelvis = person.origins[:, FRAME["pelvis"]]
    axes = person.axes[0, FRAME["pelvis"]]
    lowest = pelvis[:, 1].max() + 7.5 * person.body.bones.thigh / 42
    return furniture.seat(
        pelvis.mean(axis=0) * [1, 0, 1], -axes[:, 2] * [1, 0, 1], max(-lowest, 12.0), rng
    )
