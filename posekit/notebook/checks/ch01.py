"""Checks of the exercises of chapter 01, from pixels to joints."""

from collections.abc import Callable

import numpy as np

from posekit import geometry
from posekit.notebook.checks import (
    call,
    exercise,
    expect,
    expect_array,
    expect_close,
    expect_flag,
    expect_parts,
    near,
    passed,
)
from posekit.skeleton import COCO17

LEFT_WRIST = COCO17.index("left_wrist")
RIGHT_WRIST = COCO17.index("right_wrist")


def _person(rng: np.random.Generator, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """A pose whose joints all differ, (17, 2) pixels, and flags (17,) that differ between left and
    right."""
    points = rng.uniform((0, 0), (width - 1, height - 1), (len(COCO17), 2))
    flags = np.array([2 if name.startswith("left_") else 1 for name in COCO17.joints])
    flags[RIGHT_WRIST] = 0
    return points, flags


# ---- exercise 1: the mirror ----------------------------------------------------------------------

_SAMPLE = ("the image", "the joints", "the flags", "the box")


@exercise
def check_flip_person(flip_person: Callable) -> None:
    """`flip_person(image, keypoints, visible, bbox)` mirrors a whole sample: image, joints with
    swap, flags, box."""
    expression = "flip_person(image, keypoints, visible, bbox)"
    for seed, height, width in ((101, 30, 40), (102, 50, 36)):
        given = _sample(seed, height, width)
        answer = call(flip_person, expression, *given)
        _expect_flipped(answer, expression, *given)
        once = expect_parts(call(flip_person, expression, *given), expression, _SAMPLE)
        again = [np.asarray(a).astype(b.dtype) for a, b in zip(once, given, strict=True)]
        twice = expect_parts(call(flip_person, expression, *again), expression, _SAMPLE)
        expect(
            all(near(a, b, 1e-5) for a, b in zip(twice, given, strict=True)),
            "Flipping twice should give everything back as it was, and yours does not.",
        )
    passed(
        "image, joints, flags and box are mirrored together, and flipping twice gives the person "
        "back"
    )


def _sample(seed: int, height: int, width: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    points, flags = _person(rng, width, height)
    return image, points, flags, np.array([4.0, 6.0, 10.0, 20.0])


def _expect_flipped(
    answer: object,
    expression: str,
    image: np.ndarray,
    points: np.ndarray,
    flags: np.ndarray,
    box: np.ndarray,
) -> None:
    height, width = image.shape[:2]
    answer = expect_parts(answer, expression, _SAMPLE)
    flipped = expect_array(answer[0], "the flipped image", (height, width, 3))
    joints = expect_array(answer[1], "the flipped joints", (len(COCO17), 2))
    seen = expect_array(answer[2], "the flipped flags", (len(COCO17),))
    flipped_box = expect_array(answer[3], "the flipped box", (4,))

    expect(
        not np.array_equal(flipped, image[::-1]),
        "Your image is upside down. Axis 0 of (H, W, 3) runs down the image, axis 1 across it.",
    )
    expect(
        not np.array_equal(flipped, image[:, :, ::-1]),
        "You reversed the last axis of (H, W, 3), which holds the colours red, green and blue. "
        "Left and right are along axis 1.",
    )
    expect(
        np.array_equal(np.sort(flipped, axis=None), np.sort(image, axis=None)),
        "The pixels of your image have other values than those of the given one. Mirroring moves "
        "pixels and does not change their values, which stay between 0 and 255.",
    )
    expect(
        np.array_equal(flipped, image[:, ::-1]),
        "The image is not mirrored: reverse its columns, axis 1.",
    )

    swap = list(COCO17.flip_indices)
    for shift, problem in (
        (
            1,
            "You used W - x, but the last pixel column is W - 1: column 0 must land there, not "
            "one further",
        ),
        (-1, "Column 0 must land on column W - 1, and yours stops one column short of it"),
    ):
        for order in (slice(None), swap):
            moved = points[order] * (-1, 1) + (width - 1 + shift, 0)
            expect(not np.allclose(joints, moved), f"All joints are one pixel off. {problem}.")
    mirrored = points * (-1, 1) + (width - 1, 0)
    expect(
        not np.allclose(joints, mirrored),
        "The joints are mirrored, but they kept their names. The person's left arm is a right arm "
        "in the mirrored image: swap the rows of left and right, too.",
    )
    expect(
        not np.allclose(joints, points[swap]),
        "You swapped left and right, but did not move the joints: mirror their x as well.",
    )
    expect_close(
        joints,
        mirrored[swap],
        "the flipped joints",
        "The joints are not where the mirrored image shows them.",
    )
    expect(
        not np.array_equal(seen, flags),
        "The flags stayed with the old names. If row 9 now holds the former joint 10, it must hold "
        "that joint's flag, too.",
    )
    expect_close(
        seen, flags[swap], "the flipped flags", "The flags are not those of the swapped joints."
    )

    x, y, w, h = box
    expect(
        not np.isclose(flipped_box[0], width - 1 - x) and not np.isclose(flipped_box[0], width - x),
        "You mirrored the box's left edge, and that is now its right edge. x is the left edge of "
        "the box: which of the old edges becomes the left one?",
    )
    expect(
        not np.isclose(flipped_box[0], width - 1 - x - w),
        "The box is one pixel off: its x and w are pixel edges, not pixel centres. A box over the "
        "whole image, (0, 0, W, H), must stay as it is.",
    )
    expect_close(
        flipped_box,
        (width - x - w, y, w, h),
        "the flipped box",
        "The box does not enclose the mirrored person.",
    )


# ---- exercise 2: crop -> photo -------------------------------------------------------------------


@exercise
def check_crop_to_photo(crop_to_photo: Callable) -> None:
    """`crop_to_photo(bbox, size, padding=1.25)` is the (2, 3) map from crop pixels back to photo
    pixels."""
    expression = "crop_to_photo(bbox, size, padding)"
    for box, size, padding in (
        ((100.0, 40.0, 60.0, 180.0), 224, 1.25),
        ((30.0, 50.0, 200.0, 80.0), 96, 1.0),
        ((-12.5, 3.0, 50.0, 50.0), 128, 1.5),
    ):
        box = np.array(box)
        answer = call(crop_to_photo, expression, box, size, padding)
        answer = expect_array(answer, expression, (2, 3))
        _expect_back(answer, box, size, padding)
    expression = "crop_to_photo(bbox, size)"
    default = call(crop_to_photo, expression, np.array([0.0, 0, 100, 200]), 224)
    default = expect_array(default, expression, (2, 3))
    expect(
        np.isclose(default[0, 0], 250 / 224), "Without a third argument the padding should be 1.25."
    )
    passed("your map takes crop pixels back to the exact position in the photo")


def _expect_back(answer: np.ndarray, box: np.ndarray, size: int, padding: float) -> None:
    x, y, w, h = box
    side = geometry.square_side(box, padding)
    forward = geometry.crop_affine(geometry.bbox_center(box), side, size)
    truth = geometry.invert(forward)
    step = side / size
    expect(
        not np.allclose(answer, forward),
        "That is the map *into* the crop, from photo to crop. The exercise asks for its inverse, "
        "from crop to photo.",
    )
    expect(
        np.isclose(answer[0, 0], answer[1, 1]),
        f"One crop pixel is {answer[0, 0]:.3g} photo pixels wide but {answer[1, 1]:.3g} high: the "
        "person is stretched. The crop is square, so both axes need the same scale.",
    )
    linear = answer[:, :2]
    expect(
        np.allclose(linear, linear[0, 0] * np.eye(2)),
        "The map rotates or shears: the entries off the diagonal should be 0.",
    )
    expect(
        not (padding != 1 and np.isclose(linear[0, 0], max(w, h) / size)),
        "The crop fits the box to the edge: the padding is missing.",
    )
    expect(
        not np.isclose(linear[0, 0], min(w, h) * padding / size) or np.isclose(w, h),
        "The side of your square comes from the *shorter* side of the box, so a part of the person "
        "is cut off.",
    )
    expect(
        not np.isclose(linear[0, 0], 1 / step) or np.isclose(step, 1),
        "Your scale is that of the map into the crop. In the inverse map one crop pixel must "
        "become side / size photo pixels.",
    )
    expect(
        np.isclose(linear[0, 0], step),
        f"One crop pixel should be side / size = {step:.4g} photo pixels; yours is "
        f"{linear[0, 0]:.4g}.",
    )
    error = answer[:, 2] - truth[:, 2]
    expect(
        not np.allclose(error, 0.5),
        "You are half a photo pixel off: the box is given by pixel edges, and a pixel's centre is "
        "half a pixel further in. The centre of a box over column 0 alone, x = 0 and w = 1, is at "
        "0, not at 0.5.",
    )
    expect(
        not np.allclose(error, -0.5 * step) and not np.allclose(error, 0.5 - 0.5 * step),
        "You are half a crop pixel off: the middle of a crop of 224 pixels lies between columns "
        "111 and 112, at 111.5, not at 112.",
    )
    middle = geometry.apply_affine(answer, np.full((1, 2), (size - 1) / 2))[0]
    expect(
        np.allclose(error, 0),
        f"The scale is right, but the middle of the crop lands on {middle.round(2).tolist()}, "
        f"and the box's centre is {geometry.bbox_center(box).tolist()}.",
    )


# ---- exercise 3: a test for codecs ---------------------------------------------------------------


def _no_half_pixel(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return points / np.array(size) - 0.5


def _clipped(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.clip(geometry.encode_keypoints(points, size), -0.5, 0.5)


def _clipped_low(axis: int) -> tuple[Callable, Callable]:
    """A codec that clips at the left edge (axis 0) or at the upper one (axis 1), and nowhere
    else."""
    lowest = np.where(np.arange(2) == axis, -0.5, -np.inf)
    return (
        lambda points, size: np.maximum(geometry.encode_keypoints(points, size), lowest),
        geometry.decode_keypoints,
    )


def _in_type(dtype: type) -> Callable:
    return lambda points, size: geometry.encode_keypoints(points, size).astype(dtype)


CODECS = {
    "sound": (geometry.encode_keypoints, geometry.decode_keypoints),
    "single precision": (_in_type(np.float32), geometry.decode_keypoints),
    "half pixel lost": (
        geometry.encode_keypoints,
        lambda u, size: geometry.decode_keypoints(u, size) + 0.5,
    ),
    "no half pixel": (_no_half_pixel, lambda u, size: (u + 0.5) * np.array(size)),
    "divided by W - 1": (
        lambda points, size: points / (np.array(size) - 1) - 0.5,
        lambda u, size: (u + 0.5) * (np.array(size) - 1),
    ),
    "w and h swapped": (
        lambda points, size: geometry.encode_keypoints(points, size[::-1]),
        lambda u, size: geometry.decode_keypoints(u, size[::-1]),
    ),
    "clipped": (_clipped, geometry.decode_keypoints),
    "rounded": (
        geometry.encode_keypoints,
        lambda u, size: np.round(geometry.decode_keypoints(u, size)),
    ),
    "half precision": (_in_type(np.float16), geometry.decode_keypoints),
}
"""Name -> (encode, decode); only the first two are sound."""

_CODEC_HINTS = {
    "sound": "You reject posekit's own codec. Which of your comparisons does it fail? In floating "
    "point, a round trip is exact to a thousandth of a pixel, not to the last bit.",
    "single precision": "You reject a codec that computes in 32 bits, as networks do. Allow an "
    "error of a thousandth of a pixel.",
    "half pixel lost": "You accept a codec whose `decode` is half a pixel off. Compare the round "
    "trip with the points, to a thousandth of a pixel.",
    "no half pixel": "You accept a codec that leaves out the half pixel both ways. Two mistakes "
    "that cancel survive a round trip: look at the values in between, at the edges for example.",
    "divided by W - 1": "You accept a codec that divides by W - 1. It maps the centre to 0 and "
    "survives the round trip. Where does it map the image's edges?",
    "w and h swapped": "You accept a codec that takes `size` as (h, w). On square images that "
    "makes no difference. Test with the `size` that you are given, and look at the edges.",
    "clipped": "You accept a codec that clips at the edges of the crop. A joint outside it is "
    "decoded to another position: test points outside, too.",
    "rounded": "You accept a codec that rounds to whole pixels. Test points between them.",
    "half precision": "You accept a codec that computes in 16 bits, which costs a twentieth of a "
    "pixel. The largest error that we allow is a thousandth.",
}


@exercise
def check_codec_is_sound(codec_is_sound: Callable) -> None:
    """`codec_is_sound(encode, decode, size)`: whether two functions are the codec of chapter 01."""
    expression = "codec_is_sound(encode, decode, size)"

    def accepts(encode: Callable, decode: Callable, size: tuple[int, int]) -> bool:
        return expect_flag(call(codec_is_sound, expression, encode, decode, size), expression)

    for size in ((192, 256), (288, 160)):
        for name, codec in CODECS.items():
            sound = name in ("sound", "single precision")
            expect(accepts(*codec, size) == sound, _CODEC_HINTS[name])
    for shift in (0.5, -0.5):
        expect(
            not accepts(
                geometry.encode_keypoints,
                lambda u, size, shift=shift: geometry.decode_keypoints(u, size) + (shift, 0),
                (192, 256),
            ),
            f"You accept a codec whose `decode` is off by {shift:g} pixels in x. An error may be "
            "positive or negative: compare its size, on both axes.",
        )
    for axis in (0, 1):
        expect(
            not accepts(*_clipped_low(axis), (192, 256)),
            f"You accept a codec that clips at the {('left', 'upper')[axis]} edge only. Test "
            "points outside each of the four edges.",
        )
    only = (
        lambda points, size: geometry.encode_keypoints(points, (192, 256)),
        lambda u, size: geometry.decode_keypoints(u, (192, 256)),
    )
    for size in ((192, 256), (288, 160)):
        expect(
            accepts(*only, size) == (size == (192, 256)),
            f"A codec for images of 192 x 256 pixels, whatever `size` is, is sound for that size "
            f"alone. Your answer for {size} is wrong: use the `size` that you are given, and "
            "nothing but that.",
        )
    passed("two sound codecs accepted, seven broken ones found")


# ---- exercise 4: which joints count --------------------------------------------------------------

# joint, crop pixel, flag, known
_CASES = (
    ("nose", (50.0, 20.0), 2, True),
    ("left_eye", (-0.4, 10.0), 2, True),  # in the outer half of column 0: inside
    ("right_eye", (99.6, 10.0), 2, True),  # past the outer half of column 99: outside
    ("left_wrist", (40.0, 60.0), 1, True),  # occluded, inside
    ("right_wrist", (130.0, 60.0), 1, True),  # occluded, cut off
    ("left_ankle", (0.0, 0.0), 0, False),  # nothing is known
    (
        "right_ankle",
        (60.0, 90.0),
        0,
        True,
    ),  # known to be outside the photo; the numbers mean nothing
    ("left_knee", (50.0, 104.0), 2, True),  # cut off below
)


@exercise
def check_count_joints(count_joints: Callable) -> None:
    """`count_joints(keypoints, visible, known, size)` -> (inside, weight), each (17,): the
    training targets of the joints."""
    expression = "count_joints(keypoints, visible, known, size)"
    size = 100
    points = np.full((len(COCO17), 2), 50.0)
    visible = np.full(len(COCO17), 2)
    known = np.ones(len(COCO17), bool)
    for joint, at, flag, is_known in _CASES:
        k = COCO17.index(joint)
        points[k] = at
        visible[k] = flag
        known[k] = is_known
    answer = call(count_joints, expression, points, visible, known, size)
    answer = expect_parts(answer, expression, ("inside", "weight"))
    inside = expect_array(answer[0], "inside", (len(COCO17),)) > 0.5
    weight = expect_array(answer[1], "weight", (len(COCO17),)) > 0.5

    def at(array, joint):
        return array[COCO17.index(joint)]

    expect(
        at(inside, "left_wrist"),
        "The left wrist is occluded (flag 1), yet it has been labelled and it lies in the crop. "
        "Do not discard it: a network can learn the positions of hidden joints, too.",
    )
    expect(
        not at(inside, "left_ankle"),
        "The left ankle was never labelled, and its (0, 0) means nothing, though it looks like a "
        "corner of the crop. Test the flag first, then the coordinates.",
    )
    expect(
        not at(inside, "right_ankle"),
        "The right ankle's flag is 0, so its coordinates mean nothing, wherever they seem to lie.",
    )
    expect(
        at(inside, "left_eye") and not at(inside, "right_eye"),
        "The edge is half a pixel off: a crop of 100 pixels reaches from -0.5 to 99.5, so x = "
        "-0.4 is in and x = 99.6 is out.",
    )
    expect(
        not at(inside, "right_wrist") and not at(inside, "left_knee"),
        "The right wrist at x = 130 and the left knee at y = 104 have been cut off by this crop "
        "of 100 pixels: look at both axes, at both ends.",
    )
    expect(
        not at(weight, "left_ankle"),
        "Nothing is known about the left ankle (known is False). With weight 1 the network would "
        "be trained to report it as absent, and it may well be inside.",
    )
    expect(
        at(weight, "right_wrist") and at(weight, "right_ankle"),
        'A joint that is *known* to be outside is a training target as well: its target is "not '
        'in the crop", and it has weight 1.',
    )
    truth = (visible >= 1) & geometry.inside(points, (size, size))
    expect(
        np.array_equal(inside, truth),
        "`inside` is wrong for an ordinary joint in the middle of the crop.",
    )
    expect(
        np.array_equal(weight, known),
        "`weight` should be 1 exactly where something is known about a joint.",
    )
    for side, nose in (
        (100, (50.0, -0.6)),
        (100, (-0.6, 50.0)),
        (100, (50.0, 99.4)),
        (100, (50.0, 99.6)),
        (100, (99.4, 50.0)),
        (100, (-0.5, -0.5)),
        (100, (99.5, 50.0)),
        (100, (50.0, 99.5)),
        (60, (59.6, 20.0)),
        (60, (20.0, 59.4)),
    ):
        moved = np.vstack([nose, points[1:]])
        flags = np.append(visible[0], np.roll(visible[1:], 1))
        some = np.append(True, np.roll(known[1:], 1))
        answer = call(count_joints, expression, moved, flags, some, side)
        answer = expect_parts(answer, expression, ("inside", "weight"))
        expect_close(
            answer[1],
            some,
            "weight",
            "`weight` should be 1 exactly where something is known about a joint, and 0 elsewhere.",
        )
        inside = expect_array(answer[0], "inside", (len(COCO17),)) > 0.5
        truth = (flags >= 1) & geometry.inside(moved, (side, side))
        expect(
            np.array_equal(inside[1:], truth[1:]),
            f"With other flags and a crop of {side} pixels `inside` is wrong for the "
            f"{COCO17.joints[1 + int(np.argmax(inside[1:] != truth[1:]))]}: use the arguments, and "
            "not numbers of your own.",
        )
        got = bool(inside[0])
        expect(
            got == bool(geometry.inside(moved[0], (side, side))),
            f"A labelled nose at {nose} is {'outside' if not got else 'inside'} for you, in a "
            f"crop of {side} pixels. It reaches from -0.5, which belongs to it, to {side - 0.5}, "
            "which does not, along both axes.",
        )
    passed("each joint has the right target and weight: inside, outside or unknown")
