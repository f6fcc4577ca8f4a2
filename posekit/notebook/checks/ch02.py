"""Checks of the exercises of chapter 02, data sets."""

from collections.abc import Callable

import numpy as np

from posekit import cameras
from posekit.cameras import Camera
from posekit.notebook.checks import (
    call,
    exercise,
    expect,
    expect_array,
    expect_close,
    expect_parts,
    expect_type,
    expect_whole,
    judge,
    passed,
)
from posekit.skeleton import COCO17, LSP14, convert, convert_flags

K = len(COCO17)

# ---- exercise 1: from 3D into an image -----------------------------------------------------------


def _camera() -> Camera:
    """A camera with a distorted, tilted lens, so that each mistake shows."""
    a = 0.5
    b = 0.35
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return Camera(
        name="00_05",
        K=np.array([[1400.0, 0, 950], [0, 1310, 545], [0, 0, 1]]),
        distCoef=np.array([-0.25, 0.18, 0.012, -0.02, 0.06]),
        R=tilt @ turn,
        t=np.array([22.0, 95.0, 340.0]),
        resolution=(1920, 1080),
    )


def _project(points: np.ndarray, camera: Camera, *, xyz=None, lens=None) -> np.ndarray:
    """The correct projection, with parameters for the mistakes in each step."""
    xyz = points @ camera.R.T + camera.t if xyz is None else xyz
    lens = camera.distCoef if lens is None else lens
    return cameras.distort(xyz[:, :2] / xyz[:, 2:], lens) @ camera.K[:2, :2].T + camera.K[:2, 2]


def _mistakes_of_projection(points: np.ndarray, camera: Camera) -> list[tuple[np.ndarray, str]]:
    """The results of typical mistakes, each with its hint."""
    R = camera.R
    t = camera.t
    matrix = camera.K
    k1, k2, p1, p2, k3 = camera.distCoef
    xyz = points @ R.T + t
    straight = xyz[:, :2] / xyz[:, 2:]
    bent = cameras.distort(straight, camera.distCoef)
    copied = bent + np.stack(
        [np.zeros(len(points)), 2 * p2 * (bent[:, 0] - straight[:, 0]) * straight[:, 1]], axis=1
    )
    scaled = xyz[:, :2] @ matrix[:2, :2].T + matrix[:2, 2]
    return [
        (
            _project(points, camera, xyz=points @ R + t),
            "The camera is rotated the other way. Points lie in rows: for each of them R X is "
            "`points @ R.T`.",
        ),
        (
            _project(points, camera, xyz=points @ R.T),
            "The points are rotated, but not shifted: in R X + t the t is missing.",
        ),
        (
            _project(points, camera, xyz=(points - t) @ R.T),
            "You treated t as the position of the camera and subtracted it. t is added, after the "
            "rotation: R X + t.",
        ),
        (
            _project(points, camera, lens=np.zeros(5)),
            "Your lens has no distortion. Step 3 is missing: distort the directions with distCoef.",
        ),
        (
            _project(points, camera, lens=np.array([k1, k2, p2, k3, p1])),
            "k3 is not the third number: the file's order is k1, k2, p1, p2, k3.",
        ),
        (
            _project(points, camera, lens=np.array([k1, k2, p2, p1, k3])),
            "p1 and p2 are swapped. In x, p1 multiplies 2xy and p2 multiplies r² + 2x²; in "
            "y the other way around.",
        ),
        (
            copied @ matrix[:2, :2].T + matrix[:2, 2],
            "All x are right and some y are off by a little: this is the toolbox's bug. Compute "
            "y' from the old x, not from x'.",
        ),
        (
            bent @ matrix[:2, :2].T,
            "The optical axis should be near the middle of the image, and yours is at (0, 0): add "
            "cx and cy.",
        ),
        (
            bent * matrix[0, 0] + matrix[:2, 2],
            "You used fx for both axes. y has its own focal length, K[1, 1].",
        ),
        (
            _project(points, camera)[:, ::-1],
            "x and y are swapped: a pixel is (x, y), across and down.",
        ),
        (
            scaled,
            "An object twice as far away should look half as large. Divide X and Y by Z in step 2.",
        ),
        (
            cameras.distort(straight @ matrix[:2, :2].T + matrix[:2, 2], camera.distCoef),
            "You distorted the pixels. The lens comes before the sensor: distort the directions X "
            "/ Z and Y / Z, then apply K.",
        ),
    ]


def _labels(label_joints: Callable, joints: np.ndarray, camera: Camera) -> tuple:
    """Call the reader's function, and return keypoints (N, 2), visible (N,) and known (N,)."""
    expression = "label_joints(joints, camera)"
    with np.errstate(all="ignore"):
        answer = call(label_joints, expression, joints, camera)
    keypoints, visible, known = expect_parts(answer, expression, ("keypoints", "visible", "known"))
    keypoints = expect_array(keypoints, "keypoints", finite=False)
    expect(
        keypoints.shape == (len(joints), 2),
        f"For {len(joints)} joints `keypoints` should have shape ({len(joints)}, 2), but it has "
        f"{keypoints.shape}. Keep one row per joint, so that the caller can tell the joints apart.",
    )
    return (
        keypoints,
        expect_array(visible, "visible", (len(joints),)),
        expect_array(known, "known", (len(joints),)) > 0.5,
    )


@exercise
def check_label_joints(label_joints: Callable) -> None:
    """`label_joints(joints, camera)`: joints (N, 4), cm and confidence -> keypoints (N, 2), visible
    (N,) and known (N,)."""
    camera = _camera()
    rng = np.random.default_rng(202)
    ahead = (rng.uniform((-120, -80, 200), (120, 80, 420), (12, 3)) - camera.t) @ camera.R
    answer, _, _ = _labels(label_joints, _found(ahead), camera)
    pixels = np.nan_to_num(answer)
    expect(
        np.isfinite(answer).any(),
        "All 12 joints are in front of this camera, but none has a pixel in your answer. Look at "
        "step 1: t is not the position of the camera; it is added, after the rotation.",
    )
    for wrong, hint in _mistakes_of_projection(ahead, camera):
        there = np.isfinite(answer).all(axis=1)
        expect(not there.any() or not np.allclose(pixels[there], wrong[there], atol=1e-6), hint)
    truth = _project(ahead, camera)
    expect_close(
        answer,
        truth,
        "keypoints",
        "The pixels are not correct. Print the result of each of the four steps for one joint, and "
        "compare with the chapter.",
    )

    behind = 2 * camera.position - ahead[:4]
    answer, _, _ = _labels(label_joints, _found(np.concatenate([ahead[:3], behind])), camera)
    expect(
        not np.any(np.isfinite(answer[3:])),
        "Joints behind the camera get a pixel. Where Z is not positive there is none: return NaN.",
    )
    expect_close(
        answer[:3],
        truth[:3],
        "the joints in front of the camera",
        "If some joints are behind the camera, those in front of it get no pixel.",
    )
    _expect_labels(label_joints)
    passed("all four steps agree with OpenCV's, and 'outside' and 'not found' are kept apart")


def _found(points: np.ndarray) -> np.ndarray:
    """(N, 3) -> (N, 4), with confidences above the threshold."""
    return np.concatenate([points, np.linspace(0.11, 1, len(points))[:, None]], axis=1)


def _expect_labels(label_joints: Callable) -> None:
    """Check the flags with a camera in which each pixel can be chosen."""
    for width, height in ((640, 480), (300, 400)):
        camera = Camera(
            name="00_06",
            K=np.array([[500.0, 0, 0], [0, 500, 0], [0, 0, 1]]),
            distCoef=np.zeros(5),
            R=np.eye(3),
            t=np.array([50.0, 60.0, 200.0]),  # the world's origin is seen at (125, 150)
            resolution=(width, height),
        )
        pixels = [(20, 30), (-0.4, 40), (-0.6, 40), (width - 0.6, 50), (width - 0.4, 50)]
        pixels += [(60, height - 0.6), (60, height - 0.4), (70, -9), (80, 90), (90, 90)]
        points = np.column_stack([np.array(pixels) * 250 / 500, np.full(len(pixels), 250.0)])
        joints = _found(np.concatenate([points, -points[:1]]) - camera.t)
        joints[8] = 0, 0, 0, -1  # not found
        joints[9, 3] = 0.09  # below the threshold
        inside = np.array([1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0], bool)
        found = np.arange(11) < 8
        found[10] = True  # behind the camera
        keypoints, visible, known = _labels(label_joints, joints, camera)
        expect(
            not visible[8] and not np.isfinite(keypoints[8]).any(),
            "A joint that was not found, (0, 0, 0) with confidence -1, gets a pixel. A network "
            "would be trained on the middle of the floor. Look at the confidence.",
        )
        expect(
            not visible[9] and not np.isfinite(keypoints[9]).any() and not known[9],
            "A joint with the confidence 0.09 counts as found: the threshold is 0.1.",
        )
        expect(
            not known[8],
            "A joint that was not found may be anywhere, inside the image or not: known is False.",
        )
        expect(
            known[~inside & found].all(),
            "A joint that was found and lies outside the image, or behind the camera, is *known* "
            "to be outside. That is an exact label: do not discard it.",
        )
        expect(
            set(np.unique(visible)) <= {0, 2},
            "`visible` holds other values than 0 and 2. A projection cannot tell whether a joint "
            "inside the image is hidden: v = 2.",
        )
        expect(
            not visible[[7, 10]].any(),
            "A joint outside the image, or behind the camera, is labelled as visible: compare its "
            "pixel with the camera's resolution.",
        )
        expect(
            visible[1] == 2 and not visible[2],
            "The left edge: x = -0.4 is still on the first pixel, x = -0.6 is not.",
        )
        expect(
            visible[3] == 2 and visible[5] == 2 and not visible[4] and not visible[6],
            f"The right and the lower edge of an image of {width} x {height}: it ends at "
            f"{width - 0.5} and at {height - 0.5}. `camera.resolution` is (width, height).",
        )
        expect(
            np.array_equal(visible, 2 * inside) and np.array_equal(known, found),
            "Some flags are not correct: go through the joints one by one.",
        )


# ---- exercise 2: Leeds into COCO -----------------------------------------------------------------

_LEEDS = {"lsp": lambda flags: 2 - flags, "lspet": lambda flags: 2 * flags}


def _leeds_person(dataset: str) -> np.ndarray:
    """(14, 3): joints in MATLAB's pixels, all different, and flags of both kinds on both sides."""
    rng = np.random.default_rng(203 if dataset == "lsp" else 204)
    points = rng.uniform(20, 180, (len(LSP14), 2)).round(1)
    flags = np.array([1, 0, 1, 1, 0, 0, 0, 1, 1, 0, 1, 1, 1, 0])
    if dataset == "lspet":
        flags = np.roll(flags, 2)
    return np.concatenate([points, flags[:, None]], axis=1)


@exercise
def check_read_leeds(read_leeds: Callable) -> None:
    """`read_leeds(joints, dataset)`: (14, 3) as stored -> keypoints (17, 2), visible (17,), known
    (17,)."""
    expression = "read_leeds(joints, dataset)"
    for dataset in ("lsp", "lspet"):
        joints = _leeds_person(dataset)
        answer = call(read_leeds, expression, joints, dataset)
        answer = expect_parts(answer, expression, ("keypoints", "visible", "known"))
        visible = expect_array(answer[1], "visible", (K,))
        _expect_places(answer[0], joints, _LEEDS[dataset](joints[:, 2]), dataset)
        _expect_flags(visible, joints[:, 2], dataset)
        _expect_known(expect_array(answer[2], "known", (K,)) > 0.5, visible, dataset)
    passed(
        "both Leeds sets read into COCO's 17 joints, each by its own rule, and what is not "
        "labelled stays unknown"
    )


def _expect_places(
    keypoints: object, joints: np.ndarray, visible: np.ndarray, dataset: str
) -> None:
    there = convert_flags(visible, LSP14, COCO17) > 0
    points = np.nan_to_num(expect_array(keypoints, "keypoints", finite=False))
    points = expect_array(points, "keypoints", (K, 2))[there]
    for shift, hint in (
        (
            0,
            "All joints are one pixel too far right and down: MATLAB calls the first pixel 1, and "
            "we call it 0.",
        ),
        (1, "You shifted in the wrong direction: MATLAB's first pixel is 1 and becomes 0."),
        (-1, None),
    ):
        moved = joints[:, :2] + shift
        in_order = convert(moved, LSP14, COCO17)[there]
        swapped = convert(moved, LSP14, COCO17)[list(COCO17.flip_indices)][there]
        first = there[: len(LSP14)]
        expect(
            not np.allclose(points[: first.sum()], moved[first]),
            "You kept the order of LSP: your nose is a right ankle. Look each joint up by its "
            "name.",
        )
        expect(
            not np.allclose(points, swapped),
            "Left and right are swapped. LSP's sides are the person's own, like COCO's.",
        )
        expect(hint is None or not np.allclose(points, in_order), str(hint))
    expect(
        np.allclose(points, convert(joints[:, :2] - 1, LSP14, COCO17)[there]),
        f"Some joints of {dataset} are not where they are in the file: compare name by name.",
    )


def _expect_flags(visible: np.ndarray, flags: np.ndarray, dataset: str) -> None:
    def as_coco(values: np.ndarray) -> np.ndarray:
        return convert_flags(values, LSP14, COCO17)

    face = slice(0, 5)
    expect(
        not np.any(visible[face]),
        "The Leeds sets have no nose, eyes and ears, but you give them a flag above 0. There is "
        "no label: v = 0.",
    )
    if dataset == "lsp":
        hints = (
            (
                2 * flags,
                "You read LSP by LSPET's rule. In LSP flag 1 means that the joint is hidden.",
            ),
            (
                flags,
                "You copied LSP's flags. They count the other way: 0 is visible (v = 2), 1 is "
                "hidden (v = 1).",
            ),
            (
                1 - flags,
                "In LSP every joint is labelled, so no v may be 0: visible is v = 2, hidden is v "
                "= 1.",
            ),
            (1 + flags, "Reversed: in LSP flag 0 is visible (v = 2) and flag 1 hidden (v = 1)."),
            (2 + 0 * flags, "LSP's hidden joints (flag 1) come out as visible: they are v = 1."),
            (2 * (1 - flags), "You discarded LSP's hidden joints. They are labelled: v = 1."),
        )
    else:
        hints = (
            (
                2 - flags,
                "You read LSPET by LSP's rule: unlabelled joints became visible ones, at "
                "coordinates that mean nothing.",
            ),
            (
                flags,
                "You copied LSPET's flags, which marks each labelled joint as hidden. LSPET does "
                "not record occlusion, so v = 2, as for every such source.",
            ),
            (2 + 0 * flags, "Joints of LSPET with flag 0 are not labelled: v = 0."),
            (1 + flags, "Joints of LSPET with flag 0 are not labelled, not hidden: v = 0."),
        )
    for wrong, hint in hints:
        expect(not np.array_equal(visible, as_coco(wrong)), hint)
    expect(
        np.array_equal(visible, as_coco(_LEEDS[dataset](flags))),
        f"The flags of {dataset} are not correct: compare with the table in the chapter, row by "
        "row.",
    )


def _expect_known(known: np.ndarray, visible: np.ndarray, dataset: str) -> None:
    expect(
        not np.any(known[:5]),
        "Your `known` is True for the face. The Leeds sets contain nothing about it: a network "
        "that is trained on 'not in the image' would unlearn faces.",
    )
    if dataset == "lsp":
        expect(
            np.all(known[5:]),
            "In LSP every joint from the shoulders down is labelled, hidden or not: all are known.",
        )
    else:
        unlabelled = visible[5:] == 0
        expect(
            not np.any(known[5:][unlabelled]),
            "A joint that LSPET did not label may be anywhere, in the image or not: known must be "
            "False.",
        )
        expect(np.all(known[5:][~unlabelled]), "A joint that LSPET labelled is known.")


# ---- exercise 3: a census ------------------------------------------------------------------------

_SIZES = {1: (640, 480), 2: (427, 640), 3: (500, 375)}


def _annotations() -> list[dict]:
    """People as COCO writes them, with a crowd and two unlabelled people among them."""
    rng = np.random.default_rng(204)
    # two end at the left edge, one at the upper, two at the right and four at the lower; two
    # exactly
    boxes = {
        1: [
            (0, 100, 80, 200),
            (4, 60, 90, 240),
            (300, 2, 60, 200),
            (560, 50, 71, 300),
            (200, 300, 70, 180),
            (400, 200, 60, 274),
        ],
        2: [
            (330, 100, 92, 300),
            (200, 400, 80, 237),
            (100, 300, 60, 332),
            (150, 12, 60, 160),
            (200, 200, 60, 90),
            (180, 25, 90, 80),
        ],
        3: [(2, 50, 300, 300), (250, 120, 60, 90), (120, 110, 50, 80), (60, 60, 120, 200)],
    }
    people = []
    for image, some in boxes.items():
        for box in some:
            flags = rng.choice([0, 1, 2], K, p=[0.35, 0.15, 0.5])
            places = np.round(rng.uniform(box[:2], np.add(box[:2], box[2:]), (K, 2)))
            joints = np.concatenate([places * (flags > 0)[:, None], flags[:, None]], axis=1)
            joints = joints.astype(int)  # as in COCO's files, where each number is an integer
            people.append(
                {
                    "image_id": image,
                    "bbox": list(box),
                    "iscrowd": 0,
                    "keypoints": joints.ravel().tolist(),
                }
            )
    people[12] |= {"iscrowd": 1}
    people[13] |= {"keypoints": [0] * 3 * K}
    people[14] |= {"keypoints": [0] * 3 * K}
    for person in people:
        person["num_keypoints"] = int(np.sum(np.array(person["keypoints"][2::3]) > 0))
    return people


def _census(people: list[dict], keep: Callable, near: float = 10, sides: str = "ltrb") -> tuple:
    kept = [p for p in people if keep(p)]
    flags = np.array([p["keypoints"][2::3] for p in kept])
    counts = np.stack([np.sum(flags == v, axis=0) for v in (0, 1, 2)], axis=1)
    cut = 0
    for person in kept:
        (x, y, w, h) = person["bbox"]
        (width, height) = _SIZES[person["image_id"]]
        gaps = {"l": x, "t": y, "r": width - x - w, "b": height - y - h}
        cut += any(gaps[side] < near for side in sides)
    return counts, cut


@exercise
def check_census(census: Callable) -> None:
    """`census(annotations, sizes)` -> counts (17, 3) of v = 0, 1, 2, and how many people the
    photo's edge cuts off."""
    expression = "census(annotations, sizes)"
    people = _annotations()
    answer = call(census, expression, people, dict(_SIZES))
    answer = expect_parts(
        answer, expression, ("the counts (17, 3)", "the number of people cut off")
    )
    counts = expect_array(answer[0], "counts", (K, 3))

    def real(person: dict) -> bool:
        return not person["iscrowd"] and person["num_keypoints"] > 0

    truth, cut = _census(people, real)
    everyone, _ = _census(people, lambda person: True)
    without_crowds, _ = _census(people, lambda person: not person["iscrowd"])
    labelled, _ = _census(people, lambda person: person["num_keypoints"] > 0)
    folded = np.array([np.reshape(p["keypoints"], (3, K))[2] for p in people if real(p)])
    mistakes = (
        (
            everyone,
            "You counted every annotation. Leave out crowds, and people of whom no joint is "
            "labelled.",
        ),
        (
            without_crowds,
            "Two people have no labelled joint at all. Their joints were not annotated, so they do "
            "not tell how often one is missing: leave them out.",
        ),
        (
            labelled,
            "You counted a crowd (`iscrowd`): its box is around many people, and its joints belong "
            "to no single person.",
        ),
        (truth[:, ::-1], "The columns are in the wrong order: v = 0, then 1, then 2."),
        (
            np.stack([np.sum(folded == v, axis=0) for v in (0, 1, 2)], axis=1),
            "The list is x, y, v, x, y, v, …: reshape it to (17, 3), one joint per row, not to (3, "
            "17).",
        ),
        (
            np.stack([truth[:, 0], truth[:, 1], truth[:, 1] + truth[:, 2]], axis=1),
            "Hidden joints are counted twice: v = 2 is `== 2`, not `>= 1`.",
        ),
        (
            np.stack([truth[:, 0] + truth[:, 1], 0 * truth[:, 1], truth[:, 2]], axis=1),
            "You counted hidden joints (v = 1) as missing. They are labelled: the annotator could "
            "tell where they are.",
        ),
        (
            truth / truth[0].sum(),
            "These are shares. Return the counts: shares can be computed from them, but not the "
            "other way around.",
        ),
    )
    judge(
        counts,
        truth,
        [(hint, wrong) for wrong, hint in mistakes],
        "The counts are not correct. Count by hand for the first two people, joint by joint.",
    )
    _expect_cut(expect_array(answer[1], "the number of people cut off", ()), people, real, cut)
    _expect_one_by_one(census)
    passed("your census leaves out unlabelled people, and tells hidden joints from missing ones")


def _expect_one_by_one(census: Callable) -> None:
    """Check a census of one person, in photos of other sizes."""
    expression = "census(annotations, sizes)"
    for v, (width, height), box, cut in (
        (2, (300, 200), (9, 50, 60, 90), 1),
        (2, (300, 200), (10, 50, 60, 90), 0),
        (2, (300, 200), (50, 10, 60, 90), 0),
        (2, (300, 200), (50, 9, 60, 90), 1),
        (2, (300, 200), (50, 20, 240, 90), 0),
        (2, (200, 300), (50, 20, 141, 90), 1),
        (2, (300, 200), (50, 20, 60, 170), 0),
        (1, (300, 400), (50, 20, 60, 371), 1),
        (1, (300, 200), (50, 50, 60, 90), 0),
    ):
        person = {
            "image_id": 77,
            "bbox": list(box),
            "iscrowd": 0,
            "keypoints": [60, 70, v] + [0] * 3 * (K - 1),
            "num_keypoints": 1,
        }
        answer = call(census, expression, [person], {77: (width, height)})
        answer = expect_parts(answer, expression, ("the counts", "the number of people cut off"))
        counts = expect_array(answer[0], "counts", (K, 3))
        expect(
            counts.sum() == K,
            f"A person with a single labelled joint (v = {v}) is left out of the counts: one "
            "labelled joint is enough, visible or hidden.",
        )
        expect(
            counts[0, v] == 1 and np.all(counts[1:, 0] == 1),
            f"For one person whose nose has v = {v}, and no other joint a label, the counts are "
            "not right.",
        )
        number = float(expect_array(answer[1], "the number of people cut off", ()))
        x, y, w, h = box
        gap = min(x, y, width - x - w, height - y - h)
        expect(
            number == cut,
            f"The box {box} in a photo of {width} x {height} comes within {gap} pixels of an edge: "
            f"{'cut off' if cut else 'not cut off'}, since the rule is *less than* 10. You count "
            f"{number:g}.",
        )


def _expect_cut(answer: np.ndarray, people: list[dict], real: Callable, truth: int) -> None:
    for number, hint in (
        (
            _census(people, lambda person: True)[1],
            "The people whom you left out of the counts must be left out here, too.",
        ),
        (
            _census(people, real, near=1)[1],
            "You counted only boxes that touch the edge exactly. Annotators' outlines stop a "
            "little short: count all boxes that come within 10 pixels of it.",
        ),
        (
            _census(people, real, sides="b")[1],
            "You looked at the lower edge only. A photo has four.",
        ),
        (
            _census(people, real, sides="lt")[1],
            "You find them at the left and the upper edge only. The box ends at x + w and y + h, "
            "and the photo at its width and height.",
        ),
        (
            _census(people, real, sides="rb")[1],
            "You looked at the right and the lower edge only. A box may also begin at the left or "
            "the upper edge.",
        ),
    ):
        expect(answer != number, hint)
    expect(answer == truth, f"{truth} people are cut off, but you count {float(answer):g}.")


# ---- exercise 4: impossible rows -----------------------------------------------------------------

PHOTOS = {"garden.jpg": (400, 300), "stairs.jpg": (300, 400)}

_ROWS = (
    ("garden.jpg", "1", "nose", "200.5", "40", "2", None),
    ("garden.jpg", "1", "left_wrist", "399.4", "299", "1", None),
    ("garden.jpg", "1", "left_hand", "180", "120", "2", "joint"),
    ("garden.jpg", "1", "left_knee", "", "", "0", None),
    ("garden.jpg", "2", "nose", "90", "52", "2", None),
    ("garden.jpg", "2", "right_hip", "120", "310", "2", "height"),
    ("garden.jpg", "2", "right_knee", "402.5", "200", "1", "width"),
    ("garden.jpg", "2", "left_ankle", "-3", "250", "2", "negative"),
    ("stairs.jpg", "1", "nose", "150", "250", "2", None),
    ("stairs.jpg", "1", "left_wrist", "150", "380", "2", None),
    ("stairs.jpg", "1", "left_elbow", "140", "200", "3", "flag"),
    ("stairs.jpg", "1", "nose", "151", "249", "2", "twice"),
    ("stairs.jpg", "1", "right_ankle", "0", "-0.2", "2", None),
    ("stairs.jpg", "1", "left_ankle", "999", "999", "0", None),
    ("cellar.jpg", "1", "nose", "10", "10", "2", "photo"),
    ("stairs.jpg", "2", "left_hip", "", "120", "2", "empty"),
)
_HINTS = {
    "joint": "there is no joint called 'left_hand' among COCO's 17",
    "height": "y = 310 in a photo that is 300 pixels high",
    "width": "x = 402.5 in a photo that is 400 pixels wide, hidden or not",
    "negative": "x = -3 lies left of the photo",
    "flag": "v = 3 does not exist",
    "twice": "this person's nose in this photo already has a row",
    "photo": "there is no photo of that name",
    "empty": "a labelled joint (v = 2) without an x",
}
_CORRECT = {
    1: "x = 399.4 is still on the last pixel of a photo 400 wide, which reaches to 399.5",
    3: "v = 0 needs no coordinates",
    4: "it is another person's nose",
    8: "it is another photo's person 1",
    9: "y = 380 is possible in a photo 400 high: look up each photo's own size",
    12: "the first pixel reaches from -0.5 to 0.5, so y = -0.2 is in the photo",
    13: "with v = 0 the coordinates mean nothing, so they cannot be wrong",
}


@exercise
def check_impossible_rows(impossible_rows: Callable) -> None:
    """`impossible_rows(rows, sizes)` gives the numbers of the impossible rows of a
    keypoints.csv."""
    keys = ("image", "person", "joint", "x", "y", "v")
    rows = [dict(zip(keys, row)) for row in _ROWS]
    found = _row_numbers(impossible_rows, rows, dict(PHOTOS))
    bad = [i for i, row in enumerate(_ROWS) if row[6]]
    expect(
        found != [i + 1 for i in bad],
        "You count from 1. Row numbers begin with 0, as in a Python list.",
    )
    expect(len(found) == len(set(found)), "A row is named twice: stop at its first mistake.")
    twice = _ROWS.index(next(row for row in _ROWS if row[6] == "twice"))
    expect(
        set(found) - set(bad) != {8},
        f"You name both rows of the nose that is there twice (rows 8 and {twice}). The first is "
        "correct, and only the second is a duplicate.",
    )
    for i in found:
        expect(i in bad, f"Row {i} is correct: {_CORRECT.get(i, 'all its values are possible')}.")
    for i in bad:
        values = ", ".join(_ROWS[i][:6])
        expect(i in found, f"You missed row {i} ({values}): {_HINTS[_ROWS[i][6]]}.")
    larger = {name: (width + 100, height + 100) for name, (width, height) in PHOTOS.items()}
    outside = [i for i in bad if _ROWS[i][6] in ("width", "height")]
    expect(
        _row_numbers(impossible_rows, rows, larger) == [i for i in bad if i not in outside],
        f"With larger photos rows {outside} are possible: take each photo's size from `sizes`.",
    )
    _expect_edges(impossible_rows)
    passed("all eight impossible rows are found, and no correct row is reported")


def _expect_edges(impossible_rows: Callable) -> None:
    """Check single rows just inside and just outside of a photo of 120 x 90 pixels."""
    for x, y, v, bad in (
        ("119.4", "50", "2", False),
        ("119.6", "50", "2", True),
        ("50", "89.4", "1", False),
        ("50", "89.6", "1", True),
        ("-0.4", "50", "2", False),
        ("-0.6", "50", "2", True),
        ("50", "-0.6", "1", True),
        ("50", "", "2", True),
        ("50", "50", "-1", True),
        ("50", "50", "", True),
    ):
        row = {"image": "door.jpg", "person": "1", "joint": "nose", "x": x, "y": y, "v": v}
        found = _row_numbers(impossible_rows, [row], {"door.jpg": (120, 90)})
        expect(
            found == [0] * bad,
            f"A row with x = {x!r}, y = {y!r}, v = {v!r} in a photo of 120 x 90 pixels is "
            f"{'impossible' if bad else 'possible'}: the photo reaches from -0.5 to 119.5 and to "
            "89.5, and v is 0, 1 or 2.",
        )


def _row_numbers(impossible_rows: Callable, rows: list[dict], sizes: dict) -> list[int]:
    answer = call(impossible_rows, "impossible_rows(rows, sizes)", rows, sizes)
    expect_type(
        answer,
        "impossible_rows(rows, sizes)",
        "a list of row numbers",
        (list, tuple, set, frozenset, np.ndarray),
    )
    return sorted(expect_whole(i, "a row number") for i in answer)
