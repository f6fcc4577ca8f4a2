"""Checks of the exercises of chapter 15, live: the next crop, the One-Euro filter, one person of
several, a counter."""

from collections.abc import Callable

import numpy as np

from posekit.geometry import PADDING
from posekit.live import repetitions
from posekit.live.one_euro import OneEuroParams, smooth
from posekit.notebook.checks import (
    call,
    exercise,
    expect,
    expect_array,
    expect_type,
    expect_whole,
    near,
    passed,
)
from posekit.skeleton import COCO17

# ---- exercise 1: the next crop -------------------------------------------------------------------


@exercise
def check_next_square(next_square: Callable) -> None:
    """`next_square(joints, velocity, ahead)`: the next crop, around the last pose and moved on."""
    expression = "next_square(joints, velocity, ahead)"
    rng = np.random.default_rng(1201)
    sides = []
    for stretch in ((1.0, 0.4), (0.3, 1.0)):  # once wider than high, once higher than wide
        joints = 200 + 120 * rng.uniform(-1, 1, (17, 2)) * stretch
        velocity = rng.uniform(40, 120, 2) * (1, -1)
        ahead = float(rng.uniform(0.03, 0.3))
        answer = expect_array(
            call(next_square, expression, joints, velocity, ahead), expression, (3,)
        )
        low = joints.min(axis=0)
        high = joints.max(axis=0)
        middle = (low + high) / 2
        extent = high - low
        centre = middle + velocity * ahead
        x_y = answer[:2]
        length = float(answer[2])
        expect(
            not near(x_y, middle),
            "Your square is where the person *was*. Move its centre on by the velocity.",
        )
        expect(
            not near(x_y, middle - velocity * ahead),
            "Your square moves the wrong way: the person moves along the velocity.",
        )
        expect(
            not near(x_y, middle + velocity),
            "You moved the centre on by the whole velocity. It is in pixels *per second*; the next "
            "frame is only `ahead` seconds away.",
        )
        mean = joints.mean(axis=0) + velocity * ahead
        expect(
            not near(x_y, mean),
            "Your centre is the mean of the joints. Many joints are in the face: take the middle "
            "between the outermost ones.",
        )
        expect(
            not near(x_y, centre - length / 2),
            "Your first two numbers are the square's corner. The centre is expected.",
        )
        expect(
            near(x_y, centre), f"The centre should be {centre.round(1)}, yours is {x_y.round(1)}."
        )
        sides.append((length, extent))
    for took, hint in (
        (np.min, "Your side comes from the shorter extent: the longer one would stick out."),
        (
            lambda e: e[0],
            "Your side always comes from the width. A person may stretch upwards: take the longer "
            "of the two.",
        ),
        (
            lambda e: e[1],
            "Your side always comes from the height. A person may stretch sideways: take the "
            "longer of the two.",
        ),
    ):
        expect(
            not all(near(length, 1.2 * PADDING * took(extent)) for length, extent in sides), hint
        )
    for factor, hint in (
        (
            1.0,
            "Your square touches the outermost joints. A body is larger than its joints: add the "
            "margins.",
        ),
        (
            PADDING,
            "Joints end at eyes and ankles. First 1.2 for hair, hands and feet, then the padding.",
        ),
        (1.2, "You left out `PADDING`, the margin that the network was trained with."),
    ):
        expect(not all(near(length, factor * extent.max()) for length, extent in sides), hint)
    for length, extent in sides:
        right = 1.2 * PADDING * extent.max()
        expect(near(length, right), f"The side should be {right:.1f}, yours is {length:.1f}.")
    passed("the next crop: around the last pose, and moved on")


# ---- exercise 2: the One-Euro filter -------------------------------------------------------------


def _stream(change: Callable, values: np.ndarray, times: np.ndarray, how: dict) -> np.ndarray:
    """Filtered values by `change(last, speed, value, dt, how) -> (value, speed)`."""
    last = values[0]
    speed = np.zeros_like(values[0])
    out = [values[0]]
    for k in range(1, len(values)):
        last, speed = change(last, speed, values[k], times[k] - times[k - 1], how)
        out.append(last)
    return np.array(out)


def _share(cutoff: np.ndarray | float, dt: float) -> np.ndarray | float:
    return 1 / (1 + 1 / (2 * np.pi * cutoff * dt))


def _variant(
    speed_of: Callable = abs,
    smoothed: bool = True,
    plus: Callable = lambda f, b, v: f + b * v,
    flip: bool = False,
    tau: float = 2 * np.pi,
) -> Callable:
    """The filter, with one handle for each mistake."""

    def change(
        last: np.ndarray, speed: np.ndarray, value: np.ndarray, dt: float, how: dict
    ) -> tuple:
        def share(cutoff: float) -> float:
            return 1 / (1 + 1 / (tau * cutoff * dt))

        now = (value - last) / dt
        speed = share(1.0) * now + (1 - share(1.0)) * speed if smoothed else now
        a = share(plus(how["f_min"], how["beta"], speed_of(speed)))
        return ((1 - a) * value + a * last if flip else a * value + (1 - a) * last), speed

    return change


_MISTAKES = (
    (
        _variant(flip=True),
        "You exchanged the weights of the old and the new value: at a high "
        "cutoff α is near 1, and the *new* value counts.",
    ),
    (
        _variant(plus=lambda f, b, v: f + 0 * v),
        "Your cutoff does not follow the speed: this is a low pass with one cutoff.",
    ),
    (
        _variant(speed_of=lambda v: np.maximum(v, -0.9)),
        "Your cutoff rises in one direction and falls in the other: take the speed without "
        "its sign.",
    ),
    (
        _variant(smoothed=False),
        "You use the unfiltered speed. It jitters more than the values: give it the low pass of "
        "1 Hz first.",
    ),
    (
        _variant(plus=lambda f, b, v: f * (1 + b * v)),
        "Your cutoff is f_min · (1 + β·speed). Add β·speed to f_min, and do not multiply.",
    ),
    (
        _variant(plus=lambda f, b, v: b * v + 1e-9),
        "Without f_min your filter stands still whenever the joint does: the cutoff must never "
        "fall below f_min.",
    ),
    (_variant(tau=1.0), "Your α lacks 2π: τ is 1 / (2π · cutoff)."),
)


@exercise
def check_one_euro(OneEuroFilter: Callable) -> None:
    """`OneEuroFilter(f_min, beta)`, whose call `(value, dt)` gives the filtered value; the speed
    has a low pass of 1 Hz."""
    for seed, how in ((1202, {"f_min": 0.8, "beta": 0.4}), (1204, {"f_min": 2.0, "beta": 0.1})):
        _expect_filtered(OneEuroFilter, seed, how)
    passed("a One-Euro filter, equal to posekit's at any frame rate")


def _expect_filtered(OneEuroFilter: Callable, seed: int, how: dict) -> None:
    rng = np.random.default_rng(seed)
    expression = "OneEuroFilter(f_min, beta)(value, dt)"
    times = np.cumsum(rng.uniform(0.02, 0.07, 40))
    values = (3 * np.sin(3 * times) + 0.05 * rng.normal(size=40))[:, None] * (1.0, -0.5)

    def run(series: np.ndarray) -> np.ndarray:
        one = call(OneEuroFilter, "OneEuroFilter(f_min, beta)", how["f_min"], how["beta"])
        expect_type(
            one,
            "OneEuroFilter(f_min, beta)",
            "a filter that can be called with a value and dt",
            Callable,
        )
        dt = np.diff(times, prepend=times[0] - 0.03)
        answers = []
        for value, passed_time in zip(series, dt, strict=True):
            answer = call(one, expression, value, float(passed_time))
            answers.append(expect_array(answer, expression, value.shape).copy())
        return np.array(answers)

    mine = run(values)
    again = run(values)
    expect(
        near(mine, again),
        "A second filter does not start from its own first value: keep the state in the object, "
        "not in the class or a global variable.",
    )
    expect(near(mine[0], values[0]), "There is no value before the first: return it as it is.")
    expect(not near(mine, values), "Your filter returns its input.")
    for change, hint in _MISTAKES:
        expect(not near(mine, _stream(change, values, times, how), 1e-5), hint)
    steady = _stream(_variant(), values, np.arange(40) / 30, how)
    expect(
        not near(mine, steady),
        "Your filter assumes a thirtieth of a second per frame. Frames arrive at irregular times: "
        "use dt.",
    )
    from_raw = _from_raw(values, times, how)
    expect(
        not near(mine, from_raw),
        "Your speed is the difference of two *raw* values. Take the new value minus the last "
        "*filtered* one.",
    )
    state = None
    right = []
    for value, time in zip(values, times, strict=True):
        state = smooth(state, value, time, OneEuroParams(how["f_min"], how["beta"], 1.0))
        right.append(state.value)
    far = int(np.argmax(np.abs(mine - right).max(axis=1) > 1e-6))
    expect(
        near(mine, right),
        f"Value {far} should become {right[far][0]:.4f}, yours is {mine[far][0]:.4f}. Speed "
        "first, cutoff next, then the step.",
    )


def _from_raw(values: np.ndarray, times: np.ndarray, how: dict) -> np.ndarray:
    out = [values[0]]
    speed = np.zeros(2)
    for k in range(1, len(values)):
        dt = times[k] - times[k - 1]
        speed = speed + _share(1.0, dt) * ((values[k] - values[k - 1]) / dt - speed)
        out.append(
            out[-1] + _share(how["f_min"] + how["beta"] * np.abs(speed), dt) * (values[k] - out[-1])
        )
    return np.array(out)


# ---- exercise 3: follow one of several people ----------------------------------------------------


def _follow(
    presence: np.ndarray, times: np.ndarray, acquire: float, keep: float, lost_after_s: float
) -> np.ndarray:
    """Index of the person who is followed at each time, -1 for none."""
    followed = -1
    low_since = None
    out = []
    for row, now in zip(presence, times, strict=True):
        if followed < 0:
            best = int(np.argmax(row))
            followed = best if row[best] >= acquire else -1
            low_since = None
        elif row[followed] >= keep:
            low_since = None
        else:
            low_since = now if low_since is None else low_since
            followed = followed if now - low_since < lost_after_s else -1
        out.append(followed)
    return np.array(out)


@exercise
def check_follow_one(follow_one: Callable) -> None:
    """`follow_one(presence, times, acquire, keep, lost_after_s)`: the index of the person who is
    followed at each time, or -1; two thresholds and a waiting time."""
    expression = "follow_one(presence, times, acquire, keep, lost_after_s)"

    def ask(
        presence: np.ndarray | list,
        times: np.ndarray,
        lost_after_s: float,
        acquire: float = 0.6,
        keep: float = 0.3,
    ) -> np.ndarray:
        presence = np.array(presence, float)
        answer = call(follow_one, expression, presence, times, acquire, keep, lost_after_s)
        array = expect_array(answer, expression, (len(presence),))
        expect(
            np.isin(array, np.arange(-1, presence.shape[1])).all(),
            "The answer for each time is the index of a person, from 0 on, or -1 for none.",
        )
        return array.astype(int)

    _expect_hysteresis(ask)
    _expect_one_of_two(ask)
    _expect_limits(ask)
    rng = np.random.default_rng(1203)
    for _ in range(30):
        people = int(rng.integers(2, 5))
        presence = rng.uniform(0, 1, (60, people))
        times = np.cumsum(rng.uniform(0.02, 0.2, 60))
        keep, acquire, wait = rng.uniform((0.2, 0.5, 0.1), (0.4, 0.8, 0.5)).round(2)
        right = _follow(presence, times, acquire, keep, wait)
        wrong = np.flatnonzero(ask(presence, times, wait, acquire, keep) != right)
        k = int(wrong[0]) if len(wrong) else 0
        expect(
            not len(wrong),
            f"On a random signal of {people} people, with acquire={acquire:g}, keep={keep:g} and "
            f"lost_after_s={wait:g}, the answer at index {k} is wrong: expected "
            f"{right[k]} after {right[max(k - 2, 0) : k]}, where presence is "
            f"{presence[k].round(2)}.",
        )
    passed("one person of several is followed, found and lost with two thresholds")


def _expect_hysteresis(follow: Callable) -> None:
    """Check when a single person is found, kept and lost."""

    def ask(presence: list, step: float = 0.1) -> np.ndarray:
        times = 100 + step * np.arange(len(presence))
        return follow(np.array(presence)[:, None], times, 0.25) == 0

    expect(
        not ask([0.5, 0.4, 0.5]).any(),
        "A person is found at `acquire`; between the two thresholds a lost person stays lost.",
    )
    expect(
        ask([0.9, 0.9]).all(),
        "A presence of .9 is above both thresholds, and your answer is: no person.",
    )
    kept = ask([0.9] + [0.45] * 8)
    expect(
        kept[1],
        "A person who was found stays until presence falls below `keep`: .45 lies above it.",
    )
    expect(
        kept.all(),
        "Between the thresholds nothing is in doubt: the time to `lost_after_s` runs only while "
        "presence is below `keep`.",
    )
    gone = ask([0.9] + [0.1] * 8)
    expect(gone[1], "After one low frame your person is gone: wait for `lost_after_s`.")
    expect(
        not gone.all(), "Your person never leaves: count how long presence has been below `keep`."
    )
    expect(
        not gone[5:].any(),
        f"After half a second below `keep`, with 0.25 for `lost_after_s`, the person is still "
        f"there: {gone.astype(int)}.",
    )
    expect(
        not gone[4:].any() and gone[3],
        "The waiting time starts at the *first* low frame; 0.3 seconds after it, 0.25 seconds are "
        f"over. Yours: {gone.astype(int)}, expected {np.array([1] * 4 + [0] * 5)}.",
    )
    dips = ask([0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1])
    expect(
        dips.all(),
        "Three short dips are not one long one: when presence is back, the waiting time starts "
        "again from zero.",
    )
    slow = ask([0.9, 0.1, 0.1, 0.1, 0.1, 0.9], step=0.02)
    expect(
        slow.all(),
        "You count frames. The waiting time is in *seconds*: at fifty frames per second it lasts "
        "for more of them.",
    )
    back = ask([0.9] + [0.1] * 5 + [0.45] * 3 + [0.7, 0.45])
    expect(
        not back[6:9].any(),
        "Once lost, a person must reach `acquire` again; your answer takes `keep`.",
    )
    expect(back[9:].all(), "Presence was back above `acquire`, and your person was not.")


def _expect_limits(follow: Callable) -> None:
    """Check what happens exactly at each of the three limits."""
    times = 0.125 * np.arange(4)
    expect(
        follow([[0.6]] * 4, times, 0.25)[0] == 0,
        "A presence of exactly `acquire` is enough: the rule is *at least*.",
    )
    expect(
        (follow([[0.9], [0.3], [0.3], [0.3]], times, 0.125) == 0).all(),
        "A presence of exactly `keep` is enough to stay: the rule is *at least*.",
    )
    expect(
        follow([[0.9], [0.1], [0.1], [0.1]], times, 0.25).tolist() == [0, 0, 0, -1],
        "A person whose presence has been low for exactly `lost_after_s` is lost.",
    )


def _expect_one_of_two(follow: Callable) -> None:
    """Check who is followed if there are two people."""

    def ask(first: list, second: list) -> np.ndarray:
        return follow(np.transpose([first, second]), 100 + 0.1 * np.arange(len(first)), 0.25)

    expect(
        ask([0.7], [0.9])[0] == 1,
        "Two people reach `acquire` in the first frame, with .7 and .9: follow the one with the "
        "higher presence.",
    )
    expect(
        not ask([0.9, 0.5, 0.4, 0.5], [0.1, 0.8, 0.9, 0.9]).any(),
        "You change to another person because their presence is higher. The person who is "
        "followed is above `keep`: stay.",
    )
    answer = ask([0.9] + [0.1] * 7, [0.1] + [0.9] * 7)
    expect(
        answer[1] != 1,
        "After one low frame of the person who is followed, you follow the other: for "
        "`lost_after_s` you should still wait for the first.",
    )
    expect(
        answer[5] != 0,
        "The person who is followed has been below `keep` for 0.4 seconds, and you still follow "
        "them: the presence of *another* person must not count.",
    )
    expect(
        answer[4] != 1,
        "In the frame in which a person is lost, you already follow the next one. There the "
        "answer is -1, and the search starts with the following frame.",
    )
    expect(
        (answer[5:] == 1).all(),
        "After the first person is lost, the second one is at .9, and is not followed: any person "
        "who reaches `acquire` may be found.",
    )
    answer = ask([0.9] + [0.1] * 7, [0.1] + [0.45] * 7)
    expect(
        not (answer[5:] == 1).any(),
        "A new person must reach `acquire`: .45 is only enough to stay.",
    )


# ---- exercise 4: a counter -----------------------------------------------------------------------

_ARM_RAISES = repetitions.EXERCISES["arm raises"]


def arm_poses(
    left: np.ndarray, right: np.ndarray, lean: float = 0.0, size: float = 1.0
) -> np.ndarray:
    """Make poses of a person who faces the camera, upper arms held away from the torso.

    Args:
        left, right: (T,) degrees of the person's own left and right arm; 0 hangs down.
        lean: degrees by which the whole body is tilted in the image.
        size: 1 is a torso of 50 pixels.

    Returns:
        (T, 17, 2) pixels.
    """
    poses = np.zeros((len(left), len(COCO17), 2))
    for side, sign, degrees in (("left", 1, left), ("right", -1, right)):
        raised = np.deg2rad(degrees)

        def put(name: str, xy: np.ndarray, side: str = side) -> None:
            poses[:, COCO17.index(f"{side}_{name}")] = xy

        way = np.stack([sign * np.sin(raised), np.cos(raised)], axis=1)
        for name, x, y in (
            ("hip", 12, 50),
            ("knee", 12, 95),
            ("ankle", 12, 140),
            ("eye", 3, -25),
            ("ear", 6, -24),
        ):
            put(name, (sign * x, y))
        shoulder = np.array([sign * 12.0, 0])
        put("shoulder", shoulder)
        put("elbow", shoulder + 28 * way)
        put("wrist", shoulder + 52 * way)
    poses[:, 0] = (0, -20)
    c = np.cos(np.deg2rad(lean))
    s = np.sin(np.deg2rad(lean))
    return 200 + size * poses @ np.array([[c, s], [-s, c]])


@exercise
def check_count_raises(count_raises: Callable) -> None:
    """`count_raises(poses)`: how often both arms go up, from poses (T, 17, 2)."""
    expression = "count_raises(poses)"

    def ask(*left: float, right: tuple | None = None, lean: float = 0.0, size: float = 1.0) -> int:
        poses = arm_poses(
            np.array(left, float), np.array(left if right is None else right, float), lean, size
        )
        return expect_whole(call(count_raises, expression, poses), expression)

    expect(ask(20, 20, 20) == 0, "Arms that hang down do not count.")
    whole = (20, 60, 100, 130, 150, 130, 60, 20)
    one = ask(*whole)
    expect(
        one < 3,
        f"One raise, and you count {one}: it lasts many frames and counts once, when the goal is "
        "reached.",
    )
    expect(
        one != 0,
        "One raise, to 150 degrees and down again, and you count none. Are your angles in "
        "degrees, and measured at the shoulder?",
    )
    expect(one == 1, f"One raise, up and down again, and you count {one}.")
    leaning = ask(*whole, lean=55)
    expect(
        leaning == 1,
        f"A leaning person raises the arms once, and you count {leaning}: measure between upper "
        "arm and torso, not against the image.",
    )
    far = ask(*whole, size=0.2)
    expect(
        far == 1,
        f"The same raise from far away counts {far}: an angle does not depend on the size.",
    )
    expect(ask(20, 80, 20, 80, 20) == 0, "Halfway up is no raise: 110 degrees must be reached.")
    still = (20,) * 8
    for name, count in (("left", ask(*whole, right=still)), ("right", ask(*still, right=whole))):
        expect(
            count == 0,
            f"Only the {name} arm went up, and you count {count}: take the mean of both "
            "shoulders' angles.",
        )
    expect(
        ask(20, 130) == 1,
        "Count when the goal is *reached*, not when the arms are down again: a player wants to see "
        "it at once.",
    )
    trembling = ask(20, 100, 112, 108, 113, 107, 111, 105, 20)
    expect(
        trembling == 1,
        f"Arms that jitter about 110 degrees count {trembling} times. Between two raises the "
        "angle must fall below 45.",
    )
    half = ask(20, 130, 60, 130, 60, 130, 20)
    expect(
        half == 1,
        f"Down to 60 degrees is not down, and you count {half}: only below 45 may the next begin.",
    )
    expect(
        ask(150, 150, 20) == 0,
        "At the start the arms are up, and have not been raised: a raise begins below 45 degrees.",
    )
    expect(
        ask(20, 130, 20, 130, 20, 130, 20) == 3,
        f"Three raises, and you count {ask(20, 130, 20, 130, 20, 130, 20)}.",
    )
    for low, high, count in ((20, 109, 0), (20, 111, 1), (46, 130, 0), (44, 130, 1)):
        mine = ask(low, high, low, 60)
        expect(
            mine == count,
            f"From {low} up to {high} degrees {'is a' if count else 'is no'} raise, and you count "
            f"{mine}: it begins at 45 or below and counts at 110 or above.",
        )
    rng = np.random.default_rng(1205)
    for _ in range(20):
        poses = arm_poses(*rng.uniform(0, 175, (2, 40)), lean=rng.uniform(-30, 30))
        state = repetitions.RepCount()
        for pose in poses:
            state = repetitions.count(
                state, repetitions.exercise_angle(pose, np.ones(17), _ARM_RAISES), _ARM_RAISES
            )
        mine = expect_whole(call(count_raises, expression, poses), expression)
        expect(
            mine == state.done,
            f"On random poses you count {mine} raises, and there are {state.done}.",
        )
    passed("raises that count once: the counter of the book's own page")
