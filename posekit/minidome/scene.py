"""One scene of the MiniDome: who is there, what they do, what stands around, how it is lit and seen (chapter 02).

A scene is drawn from (seed, scene number) alone, so any process can make any frame of a sequence.
"""

from dataclasses import dataclass

import numpy as np

from posekit.cameras import Camera
from posekit.minidome import solids, things
from posekit.minidome.actions import FPS, draw_action, move
from posekit.minidome.body import Figure, draw_figure
from posekit.minidome.motion import Clip, at_moments, moments, retarget
from posekit.minidome.pose import FRAME, place
from posekit.minidome.solids import Solids

STAGE = 125.0
"""People stand within this distance from the middle, cm."""

CROWD = (1,) * 21 + (2,) * 14 + (3,) * 5
"""Numbers of people in forty scenes, in an order that the seed shuffles: 47.5 % of scenes have two or more."""

TOWARDS = 0.55
"""The share of people who turn to one of the cameras (give or take 30 degrees); the others face anywhere."""


@dataclass(frozen=True)
class Person:
    """A person over the T frames of a scene.

    Args:
        figure: bones and flesh.
        action: the styles, see `actions.draw_action`.
        angles: (T, 30) degrees; (T, 0) where a file gives the motion.
        heading: (T,) degrees.
        axes, origins: (T, 17, 3, 3) and (T, 17, 3), from `pose.place`.
    """

    figure: Figure
    action: dict[str, str]
    angles: np.ndarray
    heading: np.ndarray
    axes: np.ndarray
    origins: np.ndarray

    def joints(self) -> np.ndarray:
        """(T, 19, 3) cm in Panoptic's order."""
        return self.figure.joints(self.axes, self.origins)

    def flesh(self, frame: int, owner: int) -> Solids:
        """The person's shapes at one frame."""
        return self.figure.flesh(self.axes[frame], self.origins[frame], owner)


@dataclass(frozen=True)
class Scene:
    """What a camera can see, but for the room's walls.

    Args:
        people: one to three.
        things: furniture and occluders, fixed for the scene.
        cameras: names of the cameras that look on.
        light: (3,) unit vector towards the light, world.
        ambient: share of the light that comes from everywhere, 0-1.
        tint: (3,) colour of the light, about 1.
        room_seed: draws the room's surfaces.
        grain: how strong the camera's noise is, 1 in a well-lit room.
    """

    people: list[Person]
    things: Solids
    cameras: list[str]
    light: np.ndarray
    ambient: float
    tint: np.ndarray
    room_seed: int
    grain: float = 1.0


@dataclass(frozen=True)
class SceneConfig:
    """What a reader may ask of scenes beyond their number.

    Args:
        clips: real motion for the people; None draws actions.
        step: how many of the dome's frames lie between two of the scene's.
        empty: share of scenes without anybody, 0-1.
        bare: no furniture but seats (before photos).
    """

    clips: tuple[Clip, ...] | None = None
    step: int = 1
    empty: float = 0.0
    bare: bool = False


PLAIN = SceneConfig()


def nobody(seed: int, number: int, wishes: SceneConfig) -> bool:
    """Whether a scene stays empty."""
    return np.random.default_rng([seed, 0xE317, number]).random() < wishes.empty


def draw_scene(
    seed: int,
    number: int,
    frames: int,
    cameras: dict[str, Camera],
    views: int,
    wishes: SceneConfig = PLAIN,
) -> Scene:
    """Scene `number` of the sequence with this seed.

    Args:
        seed, number: what everything is drawn from.
        frames: T, how long the people move (1: a still).
        cameras: all cameras of the dome.
        views: how many of them look on.
        wishes: what the reader asked for.
    """
    rng = np.random.default_rng([seed, 0x5CE2E, number])
    block = np.random.default_rng([seed, 0xC20D, number // len(CROWD)]).permutation(CROWD)
    chosen = _draw_cameras(cameras, views, rng)
    eyes = [cameras[name].position for name in chosen]
    people: list[Person] = []
    seats: list[Solids] = []
    for _ in range(0 if nobody(seed, number, wishes) else block[number % len(CROWD)]):
        person, seat = _draw_person(frames, people, seats, eyes, wishes, rng)
        people.append(person)
        seats.append(seat)
    furniture = solids.together(
        seats if wishes.bare else seats + things.furnish(*surroundings(people), eyes, rng)
    )
    elevation, azimuth = np.deg2rad(rng.uniform(38, 72)), rng.uniform(0, 2 * np.pi)
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
        people, furniture, chosen, light, rng.uniform(0.45, 0.7), tint, int(rng.integers(2**31))
    )


def surroundings(people: list[Person]) -> tuple[Solids, list[np.ndarray]]:
    """All flesh at some moments, and where each person is: what furniture keeps clear of."""
    bodies = [person.flesh(t, i) for i, person in enumerate(people) for t in _key_frames(person, 5)]
    return solids.together(bodies), [person.origins[0, FRAME["pelvis"]] for person in people]


def _draw_cameras(cameras: dict[str, Camera], views: int, rng: np.random.Generator) -> list[str]:
    """Names of the cameras that look on: rather at eye height than at the ceiling, as most photos are taken, and rather
    on the same side of the stage as the first, so that who turns to one is not from behind in all others."""
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


# ---- people -----------------------------------------------------------------------------------------------------------


def _draw_person(
    frames: int,
    others: list[Person],
    seats: list[Solids],
    eyes: list[np.ndarray],
    wishes: SceneConfig,
    rng: np.random.Generator,
) -> tuple[Person, Solids]:
    """A person whose limbs do not pass through the body, who does not stand inside anybody else."""
    figure, action = draw_figure(rng), draw_action(rng)
    best, least = None, np.inf
    if wishes.clips:
        best, least = _as_performed(figure, frames, wishes, rng), 0
    for _ in range(0 if wishes.clips else 16 if frames == 1 else 6):
        candidate = _in_motion(figure, action, frames, rng)
        trouble = own_collision(candidate)
        if trouble < least:
            best, least = candidate, trouble
        if least <= 0:
            break
    most = -np.inf
    for _ in range(14):
        moved = _somewhere(best, eyes, rng)
        seat_there = _seat(moved, rng)
        room = _distance(moved, others, seats)
        if room > most:
            chosen, seat, most = moved, seat_there, room
        if most > 25:
            break
    return chosen, seat


def _in_motion(figure: Figure, action: dict, frames: int, rng: np.random.Generator) -> Person:
    """A person in motion; walkers go round on a circle about the middle, others turn a little on the spot. One
    frame is a still of it."""
    bones = figure.bones
    speed = rng.uniform(0.75, 1.05) if action["legs"] == "walk" else rng.uniform(1.05, 1.3)
    angles = move(action, frames, speed, rng)
    time = np.arange(frames) / FPS
    if frames == 1:
        heading, spot = np.zeros(1), np.zeros((1, 2))
    elif action["legs"] in ("walk", "run"):
        reach = 24 if action["legs"] == "walk" else 40
        pace = speed * 4 * (bones.thigh + bones.shin) * np.sin(np.deg2rad(reach))
        radius, way = rng.uniform(55, 95), rng.choice([-1.0, 1.0])
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
    axes, origins = place(bones, angles, heading, spot)
    return Person(figure, action, angles, heading, axes, origins)


def _as_performed(
    figure: Figure, frames: int, wishes: SceneConfig, rng: np.random.Generator
) -> Person:
    """A person who does what one of the clips shows, from a random moment on."""
    clip = wishes.clips[rng.integers(len(wishes.clips))]
    axes, origins, heading = retarget(
        at_moments(clip, moments(clip, frames, wishes.step, rng)), figure.bones
    )
    return Person(figure, {"legs": "motion"}, np.zeros((frames, 0)), heading, axes, origins)


def _somewhere(person: Person, eyes: list[np.ndarray], rng: np.random.Generator) -> Person:
    """The same person turned and moved as a whole: walkers turn about the middle, others stand where chance puts them,
    and most of them turn to somebody who looks on."""
    walks = len(person.angles) > 1 and person.action["legs"] in ("walk", "run")
    r = 0 if walks else STAGE * np.sqrt(rng.random())
    if person.action["legs"] == "motion":  # who crosses the stage does so about its middle
        r *= max(0.0, 1 - np.ptp(person.origins[:, 0], axis=0).max() / 200)
    bearing = rng.uniform(0, 2 * np.pi)
    shift = np.array([r * np.cos(bearing), 0, r * np.sin(bearing)])
    way = eyes[rng.integers(len(eyes))] - shift
    turn = np.rad2deg(np.arctan2(way[0], way[2])) - person.heading[0] + rng.normal(0, 30)
    if rng.random() >= TOWARDS:
        turn = rng.uniform(0, 360)
    a = np.deg2rad(turn)
    spin = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return Person(
        person.figure,
        person.action,
        person.angles,
        person.heading + turn,
        spin @ person.axes,
        person.origins @ spin.T + shift,
    )


def _key_frames(person: Person, count: int) -> np.ndarray:
    return np.unique(np.linspace(0, len(person.angles) - 1, count).astype(int))


_TRUNK = [FRAME[n] for n in ("pelvis", "waist", "chest", "head")]


def own_collision(person: Person) -> float:
    """How deep (cm) forearms and hands run into the trunk, the head, the thighs or the other arm; <= 0 if they do not."""
    worst = -np.inf
    figure = person.figure
    trunk = np.isin(figure.frame_a, _TRUNK)
    for t in _key_frames(person, 6):
        flesh = person.flesh(t, 0)
        for side, other in (("left", "right"), ("right", "left")):
            elbow = person.origins[t, FRAME[f"{side}_forearm"]]
            wrist = person.origins[t, FRAME[f"{side}_hand"]]
            tip = wrist - 0.8 * figure.bones.hand * person.axes[t, FRAME[f"{side}_hand"], :, 1]
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
            body = flesh.cones_where(trunk | np.isin(figure.frame_a, limbs))
            worst = max(worst, 1.5 - solids.clearance(body, points).min())
        knees = person.origins[t, FRAME["left_shin"]] - person.origins[t, FRAME["right_shin"]]
        ankles = person.origins[t, FRAME["left_foot"]] - person.origins[t, FRAME["right_foot"]]
        worst = max(worst, 8 - np.linalg.norm(knees), 7 - np.linalg.norm(ankles))
    return float(worst)


def _distance(person: Person, others: list[Person], seats: list[Solids]) -> float:
    """Smallest gap between a person's parts and those of the others, cm."""
    gap = np.inf
    for t in _key_frames(person, 5):
        mine = person.flesh(t, 0)
        points = np.concatenate([mine.a, (mine.a + mine.b) / 2, mine.b])
        radii = np.concatenate([mine.ra, (mine.ra + mine.rb) / 2, mine.rb])
        for other in others:
            gap = min(gap, (solids.clearance(other.flesh(t, 0), points) - radii).min())
        for seat in seats:
            if len(seat.box_centre):
                flat = np.linalg.norm(
                    points[:, None, [0, 2]] - seat.box_centre[None, :1, [0, 2]], axis=-1
                )
                gap = min(gap, (flat[:, 0] - 30 - radii).min())
    return float(gap)


def _seat(person: Person, rng: np.random.Generator) -> Solids:
    """What a sitting person sits on, as high as the seat."""
    if person.action["legs"] != "sit":
        return solids.nothing()
    pelvis, axes = person.origins[:, FRAME["pelvis"]], person.axes[0, FRAME["pelvis"]]
    lowest = pelvis[:, 1].max() + 7.5 * person.figure.bones.thigh / 42
    return things.seat(
        pelvis.mean(axis=0) * [1, 0, 1], -axes[:, 2] * [1, 0, 1], max(-lowest, 12.0), rng
    )
