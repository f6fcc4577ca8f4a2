"""The people that chapter 01 shows as difficult."""

from pathlib import Path

import numpy as np

from posekit.datasets import PersonAnnotation
from posekit.datasets.examples import hard_examples
from posekit.skeleton import COCO17

FACE = [COCO17.index(name) for name in ("nose", "left_eye", "right_eye")]
SHOULDERS = [COCO17.index(f"{side}_shoulder") for side in ("left", "right")]


def person(name, bbox, area=100.0, flags=None, shoulders=(60, 40), image="a.jpg"):
    keypoints = np.zeros((17, 2))
    keypoints[SHOULDERS, 0] = shoulders
    flags = np.full(17, 2) if flags is None else np.asarray(flags)
    known = np.ones(17, bool)
    return PersonAnnotation(
        Path(image), image, name, keypoints, flags, known, np.array(bbox), area, "minidome"
    )


def test_each_difficulty_is_found():
    from_behind = np.full(17, 2)
    from_behind[FACE] = 1
    people = [
        person("plain", (0, 0, 10, 10), image="b.jpg"),
        person("hidden", (0, 0, 10, 10), flags=[1] * 17, image="c.jpg"),
        person("cut", (0, 0, 10, 10), flags=[0] * 9 + [2] * 8, image="d.jpg"),
        person("one of two", (0, 0, 10, 10)),
        person("small neighbour", (5, 0, 10, 10), area=1.0),
        person("back", (0, 0, 10, 10), flags=from_behind, shoulders=(30, 70), image="e.jpg"),
        *(person(f"tiny {i}", (0, 0, 1, 1), area=1.0, image=f"{i}.jpg") for i in range(6)),
    ]
    found = {name: p.person_id for name, p in hard_examples(people).items()}
    assert found == {
        "hidden": "hidden",
        "cut off": "cut",
        "overlapping": "one of two",
        "from behind": "back",
    }
