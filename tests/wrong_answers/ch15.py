"""Wrong answers to the exercises of chapter 15, and a piece of the hint that each must get."""

import numpy as np

from posekit.geometry import PADDING
from posekit.notebook.checks import ch15
from posekit.skeleton import COCO17

# ---- exercise 1 ----------------------------------------------------------------------------------


def square(
    joints,
    velocity,
    ahead,
    *,
    middle=None,
    way=1.0,
    whole=False,
    extent=np.max,
    factor=1.2 * PADDING,
    corner=False,
):
    """The right answer, with one handle for each mistake."""
    low, high = joints.min(axis=0), joints.max(axis=0)
    centre = ((low + high) / 2 if middle is None else middle(joints)) + way * velocity * (
        1 if whole else ahead
    )
    side = factor * extent(high - low)
    return (*(centre - side / 2 * corner), side)


def square_with(**mistake):
    return lambda *given: square(*given, **mistake)


def moves_the_joints(joints, velocity, ahead):
    joints += velocity * ahead
    return square(joints, velocity, 0)


# ---- exercise 2 ----------------------------------------------------------------------------------


def share(cutoff, dt, two_pi=2 * np.pi):
    return 1 / (1 + 1 / (two_pi * cutoff * dt))


def euro(
    *,
    cutoff=lambda f, b, v: f + b * abs(v),
    raw_speed=False,
    other_share=False,
    two_pi=2 * np.pi,
    fixed=False,
    from_raw=False,
    late=False,
):
    class Filter:
        def __init__(self, f_min, beta):
            self.f_min, self.beta, self.last, self.raw, self.speed = f_min, beta, None, None, 0.0

        def __call__(self, value, dt):
            dt = 1 / 30 if fixed else dt
            if self.last is None:
                self.last = self.raw = np.zeros_like(value) if late else value
                if not late:
                    return value
            now = (value - (self.raw if from_raw else self.last)) / dt
            self.speed = (
                now if raw_speed else self.speed + share(1.0, dt, two_pi) * (now - self.speed)
            )
            a = share(cutoff(self.f_min, self.beta, self.speed), dt, two_pi)
            a = 1 - a if other_share else a
            self.last, self.raw = self.last + a * (value - self.last), value
            return self.last

    return Filter


class Shared(euro()):
    kept = None

    def __call__(self, value, dt):
        self.last = Shared.kept
        Shared.kept = super().__call__(value, dt)
        return Shared.kept


class Through:
    def __init__(self, f_min, beta):
        pass

    def __call__(self, value, dt):
        return value


# ---- exercise 3 ----------------------------------------------------------------------------------


def follow(
    presence,
    times,
    acquire,
    keep,
    lost_after_s,
    *,
    clock=None,
    forget=True,
    back=False,
    never=False,
    begin=None,
    choose=np.argmax,
    jump=False,
    no_wait=False,
    any_presence=False,
    at_once=False,
    only=False,
):
    """The right answer, with one handle for each mistake."""
    followed, doubt, out = -1, None, []
    clock = times if clock is None else clock(times)
    for k, row in enumerate(presence):
        now = clock[k] if begin is None else begin(clock, k)
        if followed >= 0 and not (row.max() if any_presence else row[followed]) >= keep:
            doubt = now if doubt is None else doubt
            lost = not never and clock[k] - doubt >= lost_after_s
            if no_wait and row.max() >= acquire:
                followed, doubt = int(np.argmax(row)), None
            elif lost:
                followed, doubt = -1, None
                if at_once and row.max() >= acquire:
                    followed = int(np.argmax(row))
        elif followed >= 0:
            doubt = None if forget else doubt
            followed = int(np.argmax(row)) if jump else followed
        else:
            enough = keep if back and max(out, default=-1) >= 0 else acquire
            best = int(choose(row) if choose is np.argmax else choose(row, enough))
            best = max(out) if only and max(out, default=-1) >= 0 else best
            followed = best if row[best] >= enough else -1
        out.append(followed)
    return np.array(out)


def first_above(row, enough):
    return np.argmax(row >= enough)


def doubts_between_the_thresholds(presence, times, acquire, keep, lost_after_s):
    return follow(np.where(presence < acquire, 0, presence), times, acquire, keep, lost_after_s)


def follow_with(**mistake):
    return lambda *given: follow(*given, **mistake)


def follows_the_most_present(presence, times, acquire, keep, lost_after_s):
    followed = follow(presence.max(axis=1)[:, None], times, acquire, keep, lost_after_s)
    return np.where(followed < 0, -1, presence.argmax(axis=1))


def any_above(threshold):
    return lambda presence, times, acquire, keep, lost_after_s: np.where(
        presence.max(axis=1) >= {"acquire": acquire, "keep": keep}[threshold], 0, -1
    )


# ---- exercise 4 ----------------------------------------------------------------------------------


def angle_at(poses, side, radians=False, vertical=False):
    hip, shoulder, elbow = (
        poses[:, COCO17.index(f"{side}_{part}")] for part in ("hip", "shoulder", "elbow")
    )
    arm, torso = elbow - shoulder, (np.array([0.0, 1.0]) if vertical else hip - shoulder)
    cosine = (arm * torso).sum(-1) / np.linalg.norm(arm, axis=-1) / np.linalg.norm(torso, axis=-1)
    turn = np.arccos(np.clip(cosine, -1, 1))
    return turn if radians else np.rad2deg(turn)


def raises(
    poses,
    *,
    start=45.0,
    goal=110.0,
    sides=("left", "right"),
    ready=False,
    mean=np.mean,
    when="goal",
    measure=angle_at,
    **how,
):
    angles = mean([measure(poses, side, **how) for side in sides], axis=0)
    done = 0
    for value in angles:
        if value <= start:
            done += when == "down" and ready == "up"
            ready = True
        elif ready is True and value >= goal:
            done += when == "goal"
            ready = "up" if when == "down" else False
    return done


def raises_with(**mistake):
    return lambda poses: raises(poses, **mistake)


def counts_frames(poses):
    return int(np.sum(np.mean([angle_at(poses, side) for side in ("left", "right")], axis=0) > 110))


def height_of_the_wrists(poses, side):
    drop = (
        poses[:, COCO17.index(f"{side}_wrist"), 1] - poses[:, COCO17.index(f"{side}_shoulder"), 1]
    )
    return 90 - drop


def moves_poses(poses):
    done = raises(poses)
    poses -= 1
    return done


# ---- found by changing the solutions piece by piece ----------------------------------------------


def follows_above(presence, times, acquire, keep, lost_after_s):
    """More than `acquire`, where at least `acquire` was asked for."""
    return follow(presence, times, np.nextafter(acquire, 1), keep, lost_after_s)


def follows_above_keep(presence, times, acquire, keep, lost_after_s):
    return follow(presence, times, acquire, np.nextafter(keep, 1), lost_after_s)


def waits_longer(presence, times, acquire, keep, lost_after_s):
    return follow(presence, times, acquire, keep, np.nextafter(lost_after_s, 9))


def square_at_twenty_frames(joints, velocity, ahead):
    """For a camera of twenty frames per second."""
    low, high = joints.min(axis=0), joints.max(axis=0)
    return [*((low + high) / 2 + velocity / 20), 1.2 * PADDING * (high - low).max()]


WRONG = [
    (ch15.check_next_square, square_with(way=0.0), "where the person *was*"),
    (ch15.check_next_square, square_with(way=-1.0), "moves the wrong way"),
    (ch15.check_next_square, square_with(whole=True), "pixels *per second*"),
    (
        ch15.check_next_square,
        square_with(middle=lambda joints: joints.mean(axis=0)),
        "mean of the joints",
    ),
    (ch15.check_next_square, square_with(corner=True), "the square's corner"),
    (ch15.check_next_square, square_with(middle=lambda joints: joints[0]), "The centre should be"),
    (ch15.check_next_square, square_with(extent=np.min), "the shorter extent"),
    (ch15.check_next_square, square_with(extent=lambda e: e[0]), "comes from the width"),
    (ch15.check_next_square, square_with(extent=lambda e: e[1]), "comes from the height"),
    (ch15.check_next_square, square_with(factor=1.0), "add the margins"),
    (ch15.check_next_square, square_with(factor=PADDING), "hair, hands and feet"),
    (ch15.check_next_square, square_with(factor=1.2), "left out `PADDING`"),
    (ch15.check_next_square, square_with(factor=2.0), "The side should be"),
    (ch15.check_next_square, moves_the_joints, "changed the `joints`"),
    (ch15.check_next_square, lambda joints, velocity, ahead: joints["nose"], "stops with"),
    (ch15.check_one_euro, euro(other_share=True), "exchanged the weights"),
    (ch15.check_one_euro, euro(cutoff=lambda f, b, v: f), "does not follow the speed"),
    (
        ch15.check_one_euro,
        euro(cutoff=lambda f, b, v: f + b * np.maximum(v, -0.9)),
        "without its sign",
    ),
    (ch15.check_one_euro, euro(raw_speed=True), "low pass of 1 Hz first"),
    (ch15.check_one_euro, euro(cutoff=lambda f, b, v: f * (1 + b * abs(v))), "do not multiply"),
    (ch15.check_one_euro, euro(cutoff=lambda f, b, v: b * abs(v) + 1e-9), "Without f_min"),
    (ch15.check_one_euro, euro(two_pi=1.0), "lacks 2π"),
    (ch15.check_one_euro, euro(fixed=True), "use dt"),
    (ch15.check_one_euro, euro(from_raw=True), "two *raw* values"),
    (ch15.check_one_euro, euro(late=True), "no value before the first"),
    (ch15.check_one_euro, euro(cutoff=lambda f, b, v: f + 2 * b * abs(v)), "should become"),
    (ch15.check_one_euro, Shared, "does not start from its own first value"),
    (ch15.check_one_euro, Through, "returns its input"),
    (ch15.check_one_euro, lambda f_min, beta: 3.0, "can be called"),
    (ch15.check_follow_one, any_above("keep"), "is found at `acquire`"),
    (
        ch15.check_follow_one,
        lambda presence, times, acquire, keep, lost_after_s: np.full(len(presence), -1),
        "your answer is: no person",
    ),
    (ch15.check_follow_one, any_above("acquire"), "until presence falls below `keep`"),
    (ch15.check_follow_one, doubts_between_the_thresholds, "nothing is in doubt"),
    (
        ch15.check_follow_one,
        lambda presence, times, acquire, keep, lost_after_s: follow(
            presence, times, acquire, keep, 0.0
        ),
        "wait for `lost_after_s`",
    ),
    (ch15.check_follow_one, follow_with(never=True), "never leaves"),
    (ch15.check_follow_one, follow_with(begin=lambda clock, k: clock[k] + 0.25), "is still there"),
    (
        ch15.check_follow_one,
        follow_with(begin=lambda clock, k: clock[k - 1]),
        "at the *first* low frame",
    ),
    (ch15.check_follow_one, follow_with(forget=False), "again from zero"),
    (
        ch15.check_follow_one,
        follow_with(clock=lambda times: 0.1 * np.arange(len(times))),
        "You count frames",
    ),
    (ch15.check_follow_one, follow_with(back=True), "must reach `acquire` again"),
    (
        ch15.check_follow_one,
        lambda presence, times, acquire, keep, lost_after_s: presence[:, 0],
        "index of a person",
    ),
    (ch15.check_follow_one, follow_with(choose=first_above), "the higher presence"),
    (ch15.check_follow_one, follow_with(jump=True), "You change to another person"),
    (ch15.check_follow_one, follows_the_most_present, "You change to another person"),
    (ch15.check_follow_one, follow_with(no_wait=True), "still wait for the first"),
    (ch15.check_follow_one, follow_with(any_presence=True), "*another* person must not count"),
    (ch15.check_follow_one, follow_with(at_once=True), "search starts with the following frame"),
    (ch15.check_follow_one, follow_with(only=True), "any person who reaches `acquire`"),
    (
        ch15.check_follow_one,
        lambda presence, times, acquire, keep, lost_after_s: np.minimum(
            follow(presence, times, acquire, keep, lost_after_s), 1
        ),
        "On a random signal",
    ),
    (ch15.check_count_raises, lambda poses: 1, "Arms that hang"),
    (ch15.check_count_raises, counts_frames, "lasts many frames"),
    (ch15.check_count_raises, raises_with(radians=True), "in degrees"),
    (ch15.check_count_raises, raises_with(vertical=True), "not against the image"),
    (ch15.check_count_raises, raises_with(measure=height_of_the_wrists), "not against the image"),
    (ch15.check_count_raises, raises_with(sides=("left",)), "Only the left arm"),
    (ch15.check_count_raises, raises_with(sides=("right",)), "Only the right arm"),
    (ch15.check_count_raises, raises_with(mean=np.max), "Only the left arm"),
    (ch15.check_count_raises, raises_with(when="down"), "goal is *reached*"),
    (ch15.check_count_raises, raises_with(goal=70.0), "Halfway up"),
    (ch15.check_count_raises, raises_with(start=109.0), "jitter about"),
    (ch15.check_count_raises, raises_with(start=80.0), "Down to 60"),
    (ch15.check_count_raises, raises_with(ready=True), "At the start the arms are up"),
    (ch15.check_count_raises, lambda poses: min(raises(poses), 1), "Three raises"),
    (ch15.check_count_raises, raises_with(mean=np.min), "On random poses"),
    (ch15.check_count_raises, moves_poses, "changed the `poses`"),
    (ch15.check_follow_one, follows_above, "exactly `acquire` is enough"),
    (ch15.check_follow_one, follows_above_keep, "exactly `keep` is enough"),
    (ch15.check_follow_one, waits_longer, "exactly `lost_after_s` is lost"),
    (ch15.check_next_square, square_at_twenty_frames, "The centre should be"),
    (ch15.check_count_raises, raises_with(goal=105.0), "counts at 110"),
    (ch15.check_count_raises, raises_with(start=50.0), "begins at 45"),
    (ch15.check_count_raises, lambda poses: raises(poses) + 0.4, "should be a whole number"),
]
