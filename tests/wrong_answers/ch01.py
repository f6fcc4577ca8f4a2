"""Wrong answers to the exercises of chapter 01, each with a piece of its hint."""

import numpy as np

from posekit.notebook.checks import ch01
from posekit.skeleton import COCO17

TWIN = list(COCO17.flip_indices)


# ---- exercise 1 ----------------------------------------------------------------------------------


def flip(
    image,
    keypoints,
    visible,
    bbox,
    *,
    swap=True,
    swap_flags=True,
    move=True,
    right=-1,
    box=None,
    image_map=None,
):
    """The right answer, with one handle for each mistake."""
    width = image.shape[1]
    points = np.array(keypoints)[TWIN] if swap else np.array(keypoints)
    if move:
        points[:, 0] = width + right - points[:, 0]
    x, y, w, h = bbox
    return (
        image[:, ::-1] if image_map is None else image_map(image),
        points,
        np.asarray(visible)[TWIN] if swap_flags else np.asarray(visible),
        np.array([width - x - w if box is None else box(width, x, w), y, w, h]),
    )


def flip_with(**mistake):
    return lambda image, keypoints, visible, bbox: flip(image, keypoints, visible, bbox, **mistake)


def flip_in_place(image, keypoints, visible, bbox):
    keypoints[:, 0] = image.shape[1] - 1 - keypoints[:, 0]
    return image[:, ::-1], keypoints[TWIN], visible[TWIN], bbox


# ---- exercise 2 ----------------------------------------------------------------------------------


def back(bbox, size, padding=1.25, *, longest=max, stretched=False, edge=0.5, middle=-1, pad=True):
    x, y, w, h = bbox
    side = longest(w, h) * (padding if pad else 1)
    step = np.array([w, h]) * padding / size if stretched else np.array([side, side]) / size
    offset = np.array([x + w / 2 - edge, y + h / 2 - edge]) - step * (size + middle) / 2
    return np.concatenate([np.diag(step), offset[:, None]], axis=1)


def back_with(**mistake):
    return lambda bbox, size, padding=1.25: back(bbox, size, padding, **mistake)


def the_way_in(bbox, size, padding=1.25):
    way = back(bbox, size, padding)
    return np.concatenate(
        [np.linalg.inv(way[:, :2]), -np.linalg.inv(way[:, :2]) @ way[:, 2:]], axis=1
    )


def inverse_scale_only(bbox, size, padding=1.25):
    way = back(bbox, size, padding)
    return np.concatenate([np.linalg.inv(way[:, :2]), way[:, 2:]], axis=1)


def padding_of_its_own(bbox, size, padding=1.0):
    return back(bbox, size, padding)


# ---- exercise 3 ----------------------------------------------------------------------------------


def sound(encode, decode, size, *, low=-1, high=2, step=None, tolerance=1e-3, edges="both"):
    """The right answer, with one handle for each mistake."""
    sides = np.array(size)
    points = np.random.default_rng(0).uniform(low * sides, high * sides, (50, 2))
    if step:
        points = np.round(points / step) * step
    off = np.abs(decode(encode(points, size), size) - points).max()
    ends = np.array([[-0.5, -0.5], sides - 0.5])
    truth = np.array([[-0.5, -0.5], [0.5, 0.5]])
    if edges == "middle":
        ends, truth = (sides[None] - 1) / 2, np.zeros((1, 2))
    right = edges == "none" or np.abs(encode(ends, size) - truth).max() < 1e-6
    return bool(right and off <= tolerance)


def sound_with(**mistake):
    return lambda encode, decode, size: sound(encode, decode, size, **mistake)


# ---- exercise 4 ----------------------------------------------------------------------------------


def count(
    keypoints,
    visible,
    known,
    size,
    *,
    least=1,
    low=-0.5,
    high=-0.5,
    axes=(0, 1),
    weight=None,
    ask_flag=True,
):
    at = keypoints[:, list(axes)]
    inside = np.all((at >= low) & (at < size + high), axis=1) & (
        (visible >= least) if ask_flag else True
    )
    return inside, known.astype(int) if weight is None else weight(inside, visible)


def count_with(**mistake):
    return lambda keypoints, visible, known, size: count(keypoints, visible, known, size, **mistake)


# ---- found by changing the solutions piece by piece ----------------------------------------------


def sound_if_not_larger(encode, decode, size):
    """Forgets that an error may be negative."""
    edges = encode(np.array([[-0.5, -0.5], np.array(size) - 0.5]), size)
    points = np.random.default_rng(0).uniform(-300, 600, (50, 2))
    home = decode(encode(points, size), size)
    return bool(np.allclose(edges, [[-0.5, -0.5], [0.5, 0.5]]) and (home - points).max() < 1e-3)


def sound_for_one_size(encode, decode, size):
    return sound(encode, decode, (192, 256))


def sound_to_the_right(encode, decode, size):
    """Tests no point left of the image or above it."""
    return sound(encode, decode, size, low=0)


WRONG = [
    (ch01.check_flip_person, flip_in_place, "changed the `keypoints`"),
    (ch01.check_flip_person, flip_with(swap=False, swap_flags=False), "kept their names"),
    (ch01.check_flip_person, flip_with(swap=False), "kept their names"),
    (ch01.check_flip_person, flip_with(swap_flags=False), "flags stayed with the old names"),
    (ch01.check_flip_person, flip_with(right=0), "one pixel off. You used W - x"),
    (ch01.check_flip_person, flip_with(right=0, swap=False), "one pixel off. You used W - x"),
    (ch01.check_flip_person, flip_with(right=-2), "stops one column short"),
    (ch01.check_flip_person, flip_with(move=False), "did not move the joints"),
    (ch01.check_flip_person, flip_with(image_map=lambda image: image[::-1]), "upside down"),
    (
        ch01.check_flip_person,
        flip_with(image_map=lambda image: image[..., ::-1]),
        "colours red, green and blue",
    ),
    (ch01.check_flip_person, flip_with(image_map=lambda image: image), "is not mirrored"),
    (ch01.check_flip_person, flip_with(box=lambda width, x, w: width - x), "now its right edge"),
    (
        ch01.check_flip_person,
        flip_with(box=lambda width, x, w: width - 1 - x),
        "now its right edge",
    ),
    (
        ch01.check_flip_person,
        flip_with(box=lambda width, x, w: width - 1 - x - w),
        "pixel edges, not pixel centres",
    ),
    (ch01.check_flip_person, flip_with(box=lambda width, x, w: x), "does not enclose"),
    (ch01.check_flip_person, lambda image, keypoints, visible, bbox: None, "has no value yet"),
    (ch01.check_flip_person, lambda image, keypoints, visible, bbox: image, "return four things"),
    (ch01.check_crop_to_photo, the_way_in, "photo to crop"),
    (ch01.check_crop_to_photo, inverse_scale_only, "scale is that of the map into the crop"),
    (ch01.check_crop_to_photo, back_with(stretched=True), "stretched"),
    (ch01.check_crop_to_photo, back_with(pad=False), "padding is missing"),
    (ch01.check_crop_to_photo, back_with(longest=min), "*shorter* side"),
    (ch01.check_crop_to_photo, back_with(edge=0), "half a photo pixel off"),
    (ch01.check_crop_to_photo, back_with(middle=0), "half a crop pixel off"),
    (ch01.check_crop_to_photo, back_with(edge=0, middle=0), "half a crop pixel off"),
    (ch01.check_crop_to_photo, back_with(edge=3), "middle of the crop lands on"),
    (ch01.check_crop_to_photo, padding_of_its_own, "padding should be 1.25"),
    (ch01.check_crop_to_photo, lambda bbox, size, padding=1.25: None, "has no value yet"),
    (ch01.check_codec_is_sound, sound_with(edges="none"), "survive a round trip"),
    (ch01.check_codec_is_sound, sound_with(edges="middle"), "divides by W - 1"),
    (ch01.check_codec_is_sound, sound_with(tolerance=0.6, step=0.5), "half a pixel off"),
    (ch01.check_codec_is_sound, sound_with(low=0, high=0.99), "clips at the edges"),
    (ch01.check_codec_is_sound, sound_with(step=1), "rounds to whole pixels"),
    (ch01.check_codec_is_sound, sound_with(tolerance=0.51), "half a pixel off"),
    (ch01.check_codec_is_sound, sound_with(tolerance=0.3, step=0.25), "in 16 bits"),
    (ch01.check_codec_is_sound, sound_with(tolerance=0), "You reject"),
    (
        ch01.check_codec_is_sound,
        lambda encode, decode, size: sound(encode, decode, (200, 200)),
        "takes `size` as (h, w)",
    ),
    (ch01.check_codec_is_sound, lambda encode, decode, size: True, "half a pixel off"),
    (ch01.check_codec_is_sound, lambda encode, decode, size: False, "You reject posekit's own"),
    (ch01.check_codec_is_sound, lambda encode, decode, size: "yes", "True or False"),
    (ch01.check_codec_is_sound, lambda encode, decode, size: None, "has no value yet"),
    (ch01.check_count_joints, count_with(least=2), "Do not discard it"),
    (ch01.check_count_joints, count_with(ask_flag=False), "looks like a corner"),
    (ch01.check_count_joints, count_with(low=0, high=0), "half a pixel off"),
    (ch01.check_count_joints, count_with(low=0, high=-1), "half a pixel off"),
    (ch01.check_count_joints, count_with(low=-np.inf, high=np.inf), "half a pixel off"),
    (ch01.check_count_joints, count_with(axes=(0,)), "look at both axes"),
    (
        ch01.check_count_joints,
        count_with(weight=lambda inside, visible: np.ones(17)),
        "trained to report it as absent",
    ),
    (
        ch01.check_count_joints,
        count_with(weight=lambda inside, visible: inside * 1),
        "a training target as well",
    ),
    (
        ch01.check_count_joints,
        count_with(weight=lambda inside, visible: (visible > 0) * 1),
        "a training target as well",
    ),
    (ch01.check_count_joints, lambda keypoints, visible, known, size: None, "has no value yet"),
    (ch01.check_codec_is_sound, sound_if_not_larger, "compare its size"),
    (ch01.check_codec_is_sound, sound_for_one_size, "use the `size` that you are given"),
    (ch01.check_codec_is_sound, sound_to_the_right, "clips at the left edge only"),
]
