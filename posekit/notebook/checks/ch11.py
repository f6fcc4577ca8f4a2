"""Checks of the exercises of chapter 11, the silent mistakes.

The second exercise is a test, so its check runs the reader's test on a collection of crops, right
and broken.
"""

from collections.abc import Callable

import cv2
import numpy as np

from posekit import geometry
from posekit.notebook.checks import (
    CheckFailed,
    call,
    exercise,
    expect,
    expect_array,
    expect_parts,
    expect_type,
    expect_whole,
    passed,
)
from posekit.skeleton import COCO17

K = len(COCO17)
SWAP = list(COCO17.flip_indices)
LEFT = [i for i, name in enumerate(COCO17.joints) if name.startswith("left")]
RIGHT = [SWAP[i] for i in LEFT]


# ---- exercise 1: fix the mirror ------------------------------------------------------------------


@exercise
def check_mirror(mirror: Callable) -> None:
    """`mirror(image, joints, visible)`: image, joints and flags of the mirrored person."""
    for seed, height, width in ((801, 30, 50), (802, 24, 44)):
        _expect_mirrored(mirror, seed, height, width)
    passed("mirrored: image, locations, names and flags")


def _expect_mirrored(mirror: Callable, seed: int, height: int, width: int) -> None:
    expression = "mirror(image, joints, visible)"
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    joints = np.column_stack([rng.uniform(0, width - 1, K), rng.uniform(0, height - 1, K)])
    visible = np.roll([2, 0, 1, 2, 2, 1, 2, 0, 2, 2, 1, 0, 1, 2, 0, 1, 2], seed - 801)
    answer = call(mirror, expression, image, joints, visible)
    answer = expect_parts(
        answer, expression, ("the image", "the joints (17, 2)", "the flags (17,)")
    )
    _expect_mirrored_image(expect_array(answer[0], "the mirrored image"), image)
    points = expect_array(answer[1], "the mirrored joints", (K, 2))
    flags = expect_array(answer[2], "the mirrored flags", (K,))
    moved = joints * [-1, 1] + [width - 1, 0]
    expect(
        not (np.allclose(points[LEFT], points[RIGHT]) or np.array_equal(flags[LEFT], flags[RIGHT])),
        "Left and right joints have become the same. After `a[left] = a[right]` the old left is "
        "lost, and `a[right] = a[left]` copies the right back to itself: keep a copy.",
    )
    for hint, x in {
        "All joints are one pixel too far right: pixel 0 must land on the last pixel, which is "
        "width - 1.": width - joints[:, 0],
        "The joints are at `height - 1 - x`. With square images this would go unnoticed; "
        f"this one is {width} wide and {height} high.": (height - 1 - joints[:, 0]),
        "The image is mirrored, but the joints are where they were.": joints[:, 0],
    }.items():
        expect(not np.allclose(np.sort(points[:, 0]), np.sort(x)), hint)
    expect(
        np.allclose(np.sort(points[:, 1]), np.sort(joints[:, 1])),
        "A mirror changes left and right; the joints' y coordinates must stay the same.",
    )
    expect(
        not np.allclose(points, moved),
        "The joints lie on the correct pixels but have the wrong names: the joint called left "
        "shoulder is now the *right* one. Draw it with the sides in colour.",
    )
    expect(
        np.allclose(points, moved[SWAP]),
        "The joints are mirrored, but some do not carry the name of their left-right counterpart. "
        "Nose stays nose; each other joint changes its name.",
    )
    expect(
        not np.array_equal(flags, visible),
        "The joints have changed their names, and the flags have not: an occluded left wrist is "
        "now an occluded *right* wrist.",
    )
    expect(np.array_equal(flags, visible[SWAP]), "The flags do not belong to their joints.")


def _expect_mirrored_image(mirrored: np.ndarray, image: np.ndarray) -> None:
    expect(
        mirrored.shape == image.shape,
        f"The mirrored image should have the shape of the given one, {image.shape}, but it has "
        f"{mirrored.shape}.",
    )
    for hint, wrong in {
        "Your image is the one you were given: it is not mirrored.": image,
        "Your image is upside down. Rows are the first axis, columns the second: which one "
        "is mirrored?": image[::-1],
        "Your image is rotated by 180 degrees: you mirrored both axes.": image[::-1, ::-1],
        "You reversed the last axis, the channels: red has become blue.": image[..., ::-1],
    }.items():
        expect(not np.array_equal(mirrored, wrong), hint)
    expect(
        np.array_equal(np.sort(mirrored, axis=None), np.sort(image, axis=None)),
        "The pixels of your image have other values than those of the given one. A mirror moves "
        "pixels and changes none: the values stay from 0 to 255.",
    )
    expect(
        np.array_equal(mirrored, image[:, ::-1]),
        "The image is not the mirrored image.",
    )


# ---- exercise 2: a test that catches -------------------------------------------------------------


def _crop(box, size: int, padding: float = 1.25) -> np.ndarray:
    return geometry.crop_affine(geometry.bbox_center(box), geometry.square_side(box, padding), size)


def _from_sides(box, size: int, sides) -> np.ndarray:
    scale = np.diag(size / np.broadcast_to(np.asarray(sides, float), 2))
    return np.column_stack([scale, (size - 1) / 2 - scale @ geometry.bbox_center(box)])


def _rows_first(box, size: int) -> np.ndarray:
    x, y, w, h = box
    return _crop((y, x, h, w), size)


def _half_off(box, size: int) -> np.ndarray:
    return _crop(box, size) + [[0, 0, 0.5], [0, 0, 0.5]]


def _cornered(box, size: int) -> np.ndarray:
    scale = size / geometry.square_side(box)
    return np.array(
        [[scale, 0, 0.5 - scale * (box[0] - 0.5)], [0, scale, 0.5 - scale * (box[1] - 0.5)]]
    )


def _mirrored(box, size: int) -> np.ndarray:
    return geometry.compose(np.array([[-1.0, 0, size - 1], [0, 1, 0]]), _crop(box, size))


def _always_224(box, size: int) -> np.ndarray:
    return _crop(box, 224)


def _inverse(box, size: int) -> np.ndarray:
    return geometry.invert(_crop(box, size))


RIGHT_CROPS = {
    "posekit's own crop": _crop,
    "a correct crop with more margin around the box (padding 1.5)": lambda box, size: _crop(
        box, size, 1.5
    ),
    "a correct crop with less margin around the box (padding 1.1)": lambda box, size: _crop(
        box, size, 1.1
    ),
}
BROKEN_CROPS = {
    "the one that stretches the box to the square, each axis by its own factor": lambda box, size: (
        _from_sides(box, size, 1.25 * np.asarray(box[2:], float))
    ),
    "the one that takes x for y (and w for h)": _rows_first,
    "the one that takes the *shorter* side, so that the ends of the box are cut "
    "off": lambda box, size: _from_sides(box, size, 1.25 * min(box[2:])),
    "the one that puts the box into the upper left corner": _cornered,
    "the one that is mirrored without saying so": _mirrored,
    "the one that always makes 224 pixels, whatever `size` is": _always_224,
    "the one that goes the wrong way, from the crop to the photo": _inverse,
    "the one that is rotated by 180 degrees": lambda box, size: geometry.compose(
        np.array([[-1.0, 0, size - 1], [0, -1, size - 1]]), _crop(box, size)
    ),
    "the one that cuts off the ends of the box (padding 0.9)": lambda box, size: _crop(
        box, size, 0.9
    ),
    "the one whose box fills less than half of the crop (padding 2.5)": lambda box, size: _crop(
        box, size, 2.5
    ),
    "the one that is half a pixel off (its centre is size / 2 where it should be "
    "(size - 1) / 2)": _half_off,
}


def _fails(test: Callable, crop: Callable, name: str) -> bool:
    """Whether the reader's test raises AssertionError for a crop; another error is the test's
    own."""
    try:
        answer = call(
            test,
            "test_crop(input_affine)",
            crop,
            allow=(AssertionError,),
            hint=f"That was with {name}. A test should fail by `assert`, and only there.",
            returns=False,
        )
    except CheckFailed:
        raise
    except AssertionError:
        return True
    expect(
        answer is None,
        f"Your test returned {answer!r}. A test returns nothing: it raises AssertionError, by "
        "`assert`, or it passes.",
    )
    return False


@exercise
def check_test_crop(test_crop: Callable) -> None:
    """`test_crop(input_affine)`: passes on each correct crop, fails on each broken one."""
    passes = {
        name: not _fails(test_crop, crop, name)
        for name, crop in (RIGHT_CROPS | BROKEN_CROPS).items()
    }
    expect(
        not all(passes.values()),
        "`test_crop` has no value yet, or it asserts nothing: it passes every crop, the "
        "broken ones too.",
    )
    expect(
        passes["posekit's own crop"],
        "Your test fails on a correct crop, posekit's own crop. Take one box and print where its "
        "middle and its corners land; mind the half pixels.",
    )
    for name in RIGHT_CROPS:
        expect(
            passes[name],
            f"Your test fails on {name}. The task does not say how much margin there must be: test "
            "what must hold for *every* correct crop.",
        )
    for name in BROKEN_CROPS:
        expect(
            not passes[name],
            f"{sum(not passes[n] for n in BROKEN_CROPS)} of {len(BROKEN_CROPS)} broken crops are "
            f"caught. Got through: {name}. Which box and size, and which point of the box, would "
            "show it?",
        )
    passed(
        f"your test passes {len(RIGHT_CROPS)} correct crops and catches {len(BROKEN_CROPS)} broken "
        "ones"
    )


# ---- exercise 3: find the twins ------------------------------------------------------------------


def dhash(image: np.ndarray) -> np.ndarray:
    """64 bits (bool) that say how the brightness of a grey image (H, W) changes from left to right:
    chapter 11's hash."""
    tiny = cv2.resize(image, (9, 8), interpolation=cv2.INTER_AREA)
    return (tiny[:, 1:] > tiny[:, :-1]).ravel()


def _album() -> list[np.ndarray]:
    """Grey images (H, W) uint8 of several sizes, with copies, near copies and mirror images among
    them."""
    rng = np.random.default_rng(803)

    def scene() -> np.ndarray:
        return cv2.resize(
            rng.integers(40, 200, (9, 9)).astype(np.uint8), (72, 72), interpolation=cv2.INTER_CUBIC
        )

    a, b, c, d, e = (scene() for _ in range(5))
    brighter = np.clip(1.1 * a + 20 + rng.normal(0, 40, a.shape), 0, 255).astype(np.uint8)
    smaller = cv2.resize(b, (48, 48), interpolation=cv2.INTER_AREA)
    noisy = np.clip(c + rng.normal(0, 60, c.shape), 0, 255).astype(np.uint8)
    return [
        a,
        b,
        scene(),
        brighter,
        d[:, ::-1].copy(),
        c,
        smaller,
        d,
        noisy,
        scene(),
        e,
        e.copy(),
        e[::-1].copy(),
    ]


def _distances(images: list) -> tuple[np.ndarray, np.ndarray]:
    """Bits that differ, for every pair as they are, and with the second one mirrored."""
    plain = np.stack([dhash(p) for p in images])
    mirrored = np.stack([dhash(np.ascontiguousarray(p[:, ::-1])) for p in images])
    return (plain[:, None] != plain).sum(axis=2), (plain[:, None] != mirrored).sum(axis=2)


def _pairs(close: np.ndarray) -> set[tuple[int, int]]:
    return {(int(i), int(j)) for i, j in np.argwhere(np.triu(close, 1))}


@exercise
def check_find_twins(find_twins: Callable) -> None:
    """`find_twins(images, most)`: the pairs (i, j), i < j, that differ in at most `most` bits, or
    do so mirrored."""
    expression = "find_twins(images, most)"

    def ask(images: list[np.ndarray], most: int) -> list[tuple[int, int]]:
        answer = call(find_twins, expression, images, most)
        wanted = "pairs of indices of images, like [(0, 3), (2, 5)]"
        expect_type(answer, expression, wanted, (list, tuple, set, frozenset, np.ndarray))
        try:
            pairs = [(i, j) for i, j in answer]
        except (TypeError, ValueError):
            raise CheckFailed(f"`{expression}` should be {wanted}.") from None
        return [tuple(expect_whole(i, "the index of an image") for i in pair) for pair in pairs]

    album = _album()
    for images, most in ((album, 6), (album[:0:-1], 12), (album, 0)):
        plain, mirrored = _distances(images)
        found = ask(images, most)
        truth = _pairs((plain <= most) | (mirrored <= most))
        _check_pairs(found, truth, plain, mirrored, most)
    passed("copies, near copies and mirror images, each pair once")


def _check_pairs(
    found: list, truth: set, plain: np.ndarray, mirrored: np.ndarray, most: int
) -> None:
    got = set(found)
    expect(
        not any(i == j for i, j in got),
        "You pair images with themselves. Of course they are alike: only i < j counts.",
    )
    expect(
        not any((j, i) in got for i, j in got),
        "You list pairs twice, as (i, j) and as (j, i). Once is enough, with i < j.",
    )
    expect(all(i < j for i, j in got), "In each pair the smaller number should come first.")
    expect(len(found) == len(got), "Some pairs are in your list more than once.")
    if got == truth:
        return
    close = _pairs(plain <= most)
    expect(
        got != _pairs((plain < most) | (mirrored < most)),
        f"With `most` = {most}, the pairs that differ in exactly {most} bits are missing: 'at "
        "most' is <=.",
    )
    expect(got, f"With `most` = {most} you found none, but there are {len(truth)} pairs.")
    expect(
        got != close,
        f"You found {len(got)} of {len(truth)} pairs: those that are mirror images of each other "
        "are missing. A data set that was mirrored before it was split is full of them.",
    )
    expect(
        not truth <= got,
        f"All {len(truth)} pairs are there, and {len(got - truth)} more that differ in over "
        f"{most} bits, such as {min(got - truth, default=0)}. Count the bits that differ, in the "
        "images as they are or left-right mirrored, and in no other way.",
    )
    expect(
        got != _pairs(mirrored <= most),
        "You compare with mirror images only: plain copies and near copies are missing.",
    )
    expect(
        got != _pairs(np.eye(len(plain), k=1, dtype=bool) & ((plain <= most) | (mirrored <= most))),
        "You compare each image with its neighbour in the list only. Twins may stand anywhere.",
    )
    exact = _pairs(plain == 0) | _pairs(mirrored == 0)
    expect(
        most == 0 or not got <= exact,
        "You found exact copies only. A twin may be brighter, smaller or noisy: count the bits in "
        "which the hashes differ.",
    )
    missing = min(truth - got)
    i, j = missing
    raise CheckFailed(
        f"With `most` = {most} the pair {missing} is missing: its hashes differ in "
        f"{min(plain[i, j], mirrored[i, j])} bits."
    )
