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
    picture=None,
):
    """The right answer, with one handle for each mistake."""
    width = image.shape[1]
    points = np.array(keypoints)[TWIN] if swap else np.array(keypoints)
    if move:
        points[:, 0] = width + right - points[:, 0]
    x, y, w, h = bbox
    return (
        image[:, ::-1] if picture is None else picture(image),
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


def normalise(keypoints, size):
    return (np.asarray(keypoints) + 0.5) / np.asarray(size) - 0.5


def denormalise(u, size):
    return (np.asarray(u) + 0.5) * np.asarray(size) - 0.5


def codec(there=normalise, back_again=denormalise):
    """`check_codec` for a pair of answers, as a check of one."""
    return there, back_again


def check_codec(pair):
    return ch01.check_codec(*((None, None) if pair is None else pair))


def normalise_in_place(keypoints, size):
    keypoints += 0.5
    keypoints /= np.asarray(size)
    keypoints -= 0.5
    return keypoints


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


WRONG = [
    (ch01.check_flip_person, flip_in_place, "changed the `keypoints`"),
    (ch01.check_flip_person, flip_with(swap=False, swap_flags=False), "kept their names"),
    (ch01.check_flip_person, flip_with(swap=False), "kept their names"),
    (ch01.check_flip_person, flip_with(swap_flags=False), "flags stayed with the old names"),
    (ch01.check_flip_person, flip_with(right=0), "one pixel off. You used W - x"),
    (ch01.check_flip_person, flip_with(right=0, swap=False), "one pixel off. You used W - x"),
    (ch01.check_flip_person, flip_with(right=-2), "stops one column short"),
    (ch01.check_flip_person, flip_with(move=False), "did not move the joints"),
    (ch01.check_flip_person, flip_with(picture=lambda image: image[::-1]), "on its head"),
    (
        ch01.check_flip_person,
        flip_with(picture=lambda image: image[..., ::-1]),
        "colours red, green and blue",
    ),
    (ch01.check_flip_person, flip_with(picture=lambda image: image), "is not mirrored"),
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
    (ch01.check_flip_person, flip_with(box=lambda width, x, w: x), "does not frame"),
    (ch01.check_flip_person, lambda image, keypoints, visible, bbox: None, "has no value yet"),
    (ch01.check_flip_person, lambda image, keypoints, visible, bbox: image, "return four things"),
    (ch01.check_crop_to_photo, the_way_in, "photo to crop"),
    (ch01.check_crop_to_photo, inverse_scale_only, "scale is that of the way into the crop"),
    (ch01.check_crop_to_photo, back_with(stretched=True), "stretched"),
    (ch01.check_crop_to_photo, back_with(pad=False), "padding is missing"),
    (ch01.check_crop_to_photo, back_with(longest=min), "*shorter* side"),
    (ch01.check_crop_to_photo, back_with(edge=0), "half a photo pixel off"),
    (ch01.check_crop_to_photo, back_with(middle=0), "half a crop pixel off"),
    (ch01.check_crop_to_photo, back_with(edge=0, middle=0), "half a crop pixel off"),
    (ch01.check_crop_to_photo, back_with(edge=3), "middle of the crop lands on"),
    (ch01.check_crop_to_photo, padding_of_its_own, "padding should be 1.25"),
    (ch01.check_crop_to_photo, lambda bbox, size, padding=1.25: None, "has no value yet"),
    (
        check_codec,
        codec(lambda x, size: np.asarray(x) / size - 0.5),
        "Half a pixel is missing: the image's left edge",
    ),
    (
        check_codec,
        codec(lambda x, size: x / (np.array(size) - 1) - 0.5),
        "Half a pixel is missing: you divided by W - 1",
    ),
    (check_codec, codec(lambda x, size: (x - 0.5) / size - 0.5), "in the wrong direction"),
    (check_codec, codec(lambda x, size: (x + 0.5) / size), "from 0 to 1"),
    (check_codec, codec(lambda x, size: 2 * (x + 0.5) / size - 1), "from -1 to 1"),
    (check_codec, codec(lambda x, size: (x + 0.5) / size[::-1] - 0.5), "changed places"),
    (check_codec, codec(lambda x, size: (x + 0.5) / size[0] - 0.5), "not square"),
    (check_codec, codec(normalise_in_place), "changed the `keypoints`"),
    (
        check_codec,
        codec(back_again=lambda u, size: (u + 0.5) * size),
        "half a pixel away from where it was",
    ),
    (check_codec, codec(back_again=lambda u, size: u * np.array(size) - 0.5), "to its corner"),
    (check_codec, codec(back_again=lambda u, size: u * np.array(size)), "to its corner"),
    (
        check_codec,
        codec(back_again=lambda u, size: np.round(denormalise(u, size))),
        "a thousandth is the most",
    ),
    (check_codec, codec(lambda x, size: None), "has no value yet"),
    (ch01.check_count_joints, count_with(least=2), "Do not throw it away"),
    (ch01.check_count_joints, count_with(ask_flag=False), "looks like a corner"),
    (ch01.check_count_joints, count_with(low=0, high=0), "half a pixel off"),
    (ch01.check_count_joints, count_with(low=0, high=-1), "half a pixel off"),
    (ch01.check_count_joints, count_with(low=-np.inf, high=np.inf), "half a pixel off"),
    (ch01.check_count_joints, count_with(axes=(0,)), "look at both axes"),
    (
        ch01.check_count_joints,
        count_with(weight=lambda inside, visible: np.ones(17)),
        "taught that it is absent",
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
]
