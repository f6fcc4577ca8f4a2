"""Reading motion from a BVH file: the skeleton, its channels, and where every joint is (chapter 02).

Source of the format: Biovision's HIERARCHY and MOTION sections as described in M. Meredith and S. Maddock, "Motion capture
file formats explained" (Sheffield, 2001). y is up, as in nearly all BVH files.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posekit.errors import DataError

CHANNELS = ("Xposition", "Yposition", "Zposition", "Xrotation", "Yrotation", "Zrotation")
MOST_JOINTS = 1000


@dataclass(frozen=True)
class Skeleton:
    """A BVH file's joints (J; ends of chains count as joints) and motion (F frames).

    Args:
        names: joints, each after its parent; an end is called after its parent, with " end".
        parents: (J,) number of the parent, -1 for a root.
        offsets: (J, 3) from the parent, in the file's unit.
        channels: of each joint, in the file's order.
        values: (F, C) all channels of all joints, degrees or the file's unit.
        frame_time: seconds.
    """

    names: list[str]
    parents: list[int]
    offsets: np.ndarray
    channels: list[tuple[str, ...]]
    values: np.ndarray
    frame_time: float

    def place(self) -> tuple[np.ndarray, np.ndarray]:
        """Forward kinematics: positions (F, J, 3) and rotations (F, J, 3, 3) in the file's world.

        A joint's rotation is the product of its axis rotations in the order in which its channels are listed; positions
        among the channels take the place of the offset.
        """
        frames, column = len(self.values), 0
        where, turn = (
            np.zeros((frames, len(self.names), 3)),
            np.zeros((frames, len(self.names), 3, 3)),
        )
        for j, parent in enumerate(self.parents):
            shift, local = np.tile(self.offsets[j], (frames, 1)), np.tile(np.eye(3), (frames, 1, 1))
            for channel in self.channels[j]:
                axis, value = "XYZ".index(channel[0]), self.values[:, column]
                column += 1
                if channel.endswith("position"):
                    shift[:, axis] = value
                else:
                    local = local @ _about(axis, np.deg2rad(value))
            if parent < 0:
                where[:, j], turn[:, j] = shift, local
            else:
                where[:, j] = where[:, parent] + np.einsum("fij,fj->fi", turn[:, parent], shift)
                turn[:, j] = turn[:, parent] @ local
        return where, turn


def _about(axis: int, angle: np.ndarray) -> np.ndarray:
    out = np.zeros((len(angle), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1
    out[:, i, i] = out[:, j, j] = np.cos(angle)
    out[:, i, j], out[:, j, i] = -np.sin(angle), np.sin(angle)
    return out


class _Words:
    """The file's words one after the other, with the line each stands in."""

    def __init__(self, path: Path, text: str):
        self.path = path
        self.words = [
            (word, n) for n, line in enumerate(text.splitlines(), 1) for word in line.split()
        ]
        self.at = 0

    def fail(self, problem: str) -> DataError:
        line = self.words[min(self.at, len(self.words)) - 1][1] if self.words else 1
        return DataError(
            f"{self.path}, line {line}", problem, "expected a BVH file: HIERARCHY, then MOTION"
        )

    def next(self, *wanted: str) -> str:
        if self.at >= len(self.words):
            raise self.fail("the file ends too early")
        word = self.words[self.at][0]
        self.at += 1
        if wanted and word.lower() not in wanted:
            raise self.fail(f"expected {' or '.join(wanted)}, got {word[:40]!r}")
        return word

    def number(self) -> float:
        word = self.next()
        try:
            value = float(word)
        except ValueError:
            raise self.fail(f"expected a number, got {word[:40]!r}") from None
        if not np.isfinite(value) or abs(value) > 1e9:
            raise self.fail(f"expected a number, got {word[:40]!r}")
        return value

    def whole(self, low: int, high: int) -> int:
        value = self.number()
        if value != int(value) or not low <= value <= high:
            raise self.fail(f"expected a whole number from {low} to {high}, got {value:g}")
        return int(value)


def parse(text: str, path: Path = Path("motion.bvh")) -> Skeleton:
    """A BVH file's text -> its skeleton and motion.

    Raises:
        DataError: with the line, on anything that is not BVH.
    """
    words = _Words(path, text)
    words.next("hierarchy")
    names, parents, offsets, channels, open_joints = [], [], [], [], []
    while True:
        word = words.next("root", "joint", "end", "}", "motion") if names else words.next("root")
        kind = word.lower()
        if kind == "motion":
            if open_joints:
                raise words.fail("MOTION comes before all joints are closed")
            break
        if kind == "}":
            if not open_joints:
                raise words.fail("a } too many")
            open_joints.pop()
            continue
        if (kind == "root") == bool(open_joints):
            raise words.fail(f"{word} is out of place")
        parent = open_joints[-1] if open_joints else -1
        if kind == "end":
            words.next("site")
            name = f"{names[parent]} end"
        else:
            name = _name(words)
        if len(names) >= MOST_JOINTS:
            raise words.fail(f"more than {MOST_JOINTS} joints")
        words.next("{")
        names.append(name)
        parents.append(parent)
        words.next("offset")
        offsets.append([words.number() for _ in range(3)])
        channels.append(())
        if kind == "end":
            words.next("}")
            continue
        words.next("channels")
        listed = [words.next().capitalize() for _ in range(words.whole(0, 6))]
        if any(c not in CHANNELS for c in listed) or len(set(listed)) < len(listed):
            raise words.fail(
                f"channels of {name[:40]!r}: got {' '.join(listed)[:80]}, expected some of {' '.join(CHANNELS)}"
            )
        channels[-1] = tuple(listed)
        open_joints.append(len(names) - 1)
    words.next("frames:")
    frames = words.whole(1, 10**7)
    words.next("frame")
    words.next("time:")
    frame_time = words.number()
    if frame_time <= 0:
        raise words.fail(f"the frame time is {frame_time:g} s")
    width = sum(len(c) for c in channels)
    rest = [word for word, _ in words.words[words.at :]]
    if len(rest) != frames * width:
        raise words.fail(
            f"{frames} frames of {width} channels are {frames * width} numbers, got {len(rest)}"
        )
    try:
        values = np.array(rest, np.float64).reshape(frames, width)
    except ValueError as error:
        raise words.fail(f"the motion holds no numbers only: {str(error)[-60:]}") from None
    if not np.isfinite(values).all() or np.abs(values).max(initial=0) > 1e9:
        raise words.fail("the motion holds numbers that are not finite")
    return Skeleton(names, parents, np.array(offsets), channels, values, frame_time)


def _name(words: _Words) -> str:
    """A joint's name, which may hold blanks."""
    begin = words.at
    while words.at < len(words.words) and words.words[words.at][0] != "{":
        if words.at - begin > 20:
            raise words.fail("a joint's name does not end")
        words.at += 1
    if words.at == begin:
        raise words.fail("a joint has no name")
    return " ".join(word for word, _ in words.words[begin : words.at])
