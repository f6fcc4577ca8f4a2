"""Wrong answers to the exercises of chapter 11, each with a piece of its hint."""

import numpy as np

from posekit import geometry
from posekit.notebook.checks import ch11
from posekit.skeleton import COCO17

SWAP = list(COCO17.flip_indices)

# ---- exercise 1 ----------------------------------------------------------------------------------


def mirror(
    image,
    joints,
    visible,
    *,
    picture=lambda p: p[:, ::-1],
    shift=1,
    side=1,
    move=True,
    names=SWAP,
    flags=SWAP,
):
    """The right answer, with one handle for each mistake."""
    moved = joints[names].astype(float)
    if move:
        moved[:, 0] = image.shape[side] - shift - moved[:, 0]
    return picture(image), moved, visible[flags]


def mirror_with(**mistake):
    return lambda image, joints, visible: mirror(image, joints, visible, **mistake)


AS_THEY_ARE = list(range(17))


def mirror_in_place(image, joints, visible):
    joints[:, 0] = image.shape[1] - 1 - joints[:, 0]
    return image[:, ::-1], joints[SWAP], visible[SWAP]


def mirror_flags_in_place(image, joints, visible):
    result = mirror(image, joints, visible)
    visible[:] = visible[SWAP]
    return result


def mirror_upside_down(image, joints, visible):
    picture, moved, flags = mirror(image, joints, visible, move=False)
    moved[:, 0] = image.shape[1] - 1 - moved[:, 0]
    moved[:, 1] = image.shape[0] - 1 - moved[:, 1]
    return picture, moved, flags


def mirror_one_way(image, joints, visible):
    picture, moved, flags = mirror(image, joints, visible, names=AS_THEY_ARE)
    moved[ch11.LEFT] = moved[ch11.RIGHT]
    moved[ch11.RIGHT] = moved[ch11.LEFT]
    return picture, moved, flags


def mirror_flags_one_way(image, joints, visible):
    picture, moved, flags = mirror(image, joints, visible, flags=AS_THEY_ARE)
    flags[ch11.LEFT] = flags[ch11.RIGHT]
    flags[ch11.RIGHT] = flags[ch11.LEFT]
    return picture, moved, flags


def mirror_some_names(image, joints, visible):
    arms = AS_THEY_ARE[:5] + SWAP[5:11] + AS_THEY_ARE[11:]
    return mirror(image, joints, visible, names=arms)


def mirror_sorted_flags(image, joints, visible):
    return (*mirror(image, joints, visible)[:2], np.sort(visible))


# ---- exercise 2 ----------------------------------------------------------------------------------

BOXES = (((30, 200, 40, 110), 224), ((300, 20, 90, 35), 96))


def test_crop(
    input_affine,
    *,
    boxes=BOXES,
    middle=True,
    wanted=0.5,
    axes=True,
    sign=True,
    inside=True,
    fills=True,
):
    """The right answer, with one handle for each thing that one may forget."""
    for box, size in boxes:
        affine = input_affine(box, size)
        corners = np.array([[box[0], box[1]], [box[0] + box[2], box[1] + box[3]]]) - 0.5
        landed = corners @ affine[:, :2].T + affine[:, 2]
        if middle:
            assert np.allclose(landed.mean(axis=0), size / 2 - wanted)
        if axes:
            assert np.allclose(np.abs(affine[:, :2]), abs(affine[0, 0]) * np.eye(2))
        if sign:
            assert affine[0, 0] > 0
        if inside:
            assert landed.min() >= -0.5
            assert landed.max() <= size - 0.5
        if fills:
            assert np.ptp(landed, axis=0).max() >= size / 2


def test_with(**gap):
    return lambda input_affine: test_crop(input_affine, **gap)


def test_of_the_middle_roughly(input_affine):
    test_crop(input_affine, middle=False)
    for box, size in BOXES:
        middle = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])
        affine = input_affine(box, size)
        assert np.allclose(affine[:, :2] @ middle + affine[:, 2], size / 2, atol=2)


def test_against_ours(input_affine):
    for box, size in BOXES:
        ours = geometry.crop_affine(geometry.bbox_center(box), geometry.square_side(box), size)
        assert np.allclose(input_affine(box, size), ours)


def test_that_fills_it(input_affine):
    test_crop(input_affine)
    (x, y, w, h), size = BOXES[0]
    assert input_affine((x, y, w, h), size)[0, 0] * max(w, h) > 0.75 * size


def test_that_answers(input_affine):
    try:
        test_crop(input_affine)
    except AssertionError:
        return False
    return True


def test_that_stops(input_affine):
    raise ValueError("this is not an assertion")


def test_that_fails_always(input_affine):
    raise AssertionError


# ---- exercise 3 ----------------------------------------------------------------------------------


def find_twins(
    pictures, most=6, *, plain=True, turned=lambda p: p[:, ::-1], below=False, bits=None
):
    """The right answer, with one handle for each mistake."""
    hashes = [ch11.dhash(p) for p in pictures]
    others = [ch11.dhash(np.ascontiguousarray(turned(p))) for p in pictures] if turned else hashes
    most = most if bits is None else bits
    pairs = []
    for j in range(len(pictures)):
        for i in range(j):
            apart = [np.sum(hashes[i] != others[j])] + (
                [np.sum(hashes[i] != hashes[j])] if plain else []
            )
            if min(apart) < most if below else min(apart) <= most:
                pairs.append((i, j))
    return pairs


def twins_with(**mistake):
    return lambda pictures, most: find_twins(pictures, most, **mistake)


def twins_with_themselves(pictures, most):
    return find_twins(pictures, most) + [(i, i) for i in range(len(pictures))]


def twins_both_ways(pictures, most):
    pairs = find_twins(pictures, most)
    return pairs + [(j, i) for i, j in pairs]


def twins_the_wrong_way_round(pictures, most):
    return [(j, i) for i, j in find_twins(pictures, most)]


def twins_again_and_again(pictures, most):
    return find_twins(pictures, most) * 2


def twins_next_door(pictures, most):
    return [(i, j) for i, j in find_twins(pictures, most) if j == i + 1]


def twins_in_place(pictures, most):
    for picture in pictures:
        picture[:] = picture[:, ::-1].copy()
    return find_twins(pictures, most)


def twins_first_only(pictures, most):
    return [min(find_twins(pictures, most))]


# ---- found by changing the solutions piece by piece ----------------------------------------------


def crop_test_with(*tests):
    def test_crop(input_affine):
        for box, size in (((30, 200, 40, 110), 224), ((300, 20, 90, 35), 96)):
            affine = input_affine(box, size)
            corners = np.array([box[:2], np.add(box[:2], box[2:])]) - 0.5
            landed = corners @ affine[:, :2].T + affine[:, 2]
            assert np.allclose(landed.mean(axis=0), (size - 1) / 2)
            assert np.allclose(affine[:, :2], affine[0, 0] * np.eye(2))
            for test in tests:
                assert test(affine, landed, size)

    return test_crop


def upright(affine, landed, size):
    return affine[0, 0] > 0


def within(affine, landed, size):
    return landed.min() >= -0.5 and landed.max() <= size - 0.5


def large(affine, landed, size):
    return np.ptp(landed, axis=0).max() >= size / 2


def twins_in_between(images, most):
    return [(i + 0.4, j) for i, j in twins(images, most)]


def twins(images, most):
    plain = [ch11.dhash(image) for image in images]
    mirrored = [ch11.dhash(np.ascontiguousarray(image[:, ::-1])) for image in images]
    return [
        (i, j)
        for j in range(len(images))
        for i in range(j)
        if min(np.sum(plain[i] != plain[j]), np.sum(plain[i] != mirrored[j])) <= most
    ]


WRONG = [
    # (check, wrong answer, a piece of the hint that this mistake must get)
    (ch11.check_mirror, lambda *given: mirror(*given)[:2], "return three things"),
    (ch11.check_mirror, mirror_in_place, "changed the `joints`"),
    (ch11.check_mirror, mirror_flags_in_place, "changed the `visible`"),
    (ch11.check_mirror, mirror_with(picture=lambda p: p), "it is not mirrored"),
    (ch11.check_mirror, mirror_with(picture=lambda p: p[::-1]), "is upside down"),
    (ch11.check_mirror, mirror_with(picture=lambda p: p[::-1, ::-1]), "rotated by 180 degrees"),
    (ch11.check_mirror, mirror_with(picture=lambda p: p[..., ::-1]), "red has become blue"),
    (
        ch11.check_mirror,
        mirror_with(picture=lambda p: p.transpose(1, 0, 2)),
        "the shape of the given one",
    ),
    (ch11.check_mirror, mirror_with(shift=0), "one pixel too far right"),
    (ch11.check_mirror, mirror_with(side=0), "`height - 1 - x`"),
    (ch11.check_mirror, mirror_with(move=False), "are where they were"),
    (ch11.check_mirror, mirror_upside_down, "joints' y coordinates"),
    (ch11.check_mirror, mirror_with(names=AS_THEY_ARE), "sides in colour"),
    (ch11.check_mirror, mirror_one_way, "the old left is lost"),
    (ch11.check_mirror, mirror_flags_one_way, "the old left is lost"),
    (ch11.check_mirror, mirror_some_names, "name of their left-right"),
    (ch11.check_mirror, mirror_with(flags=AS_THEY_ARE), "occluded *right* wrist"),
    (ch11.check_mirror, mirror_sorted_flags, "do not belong to their joints"),
    (ch11.check_test_crop, test_with(boxes=()), "asserts nothing"),
    (ch11.check_test_crop, test_that_fails_always, "posekit's own crop"),
    (ch11.check_test_crop, test_with(wanted=0), "posekit's own crop"),
    (ch11.check_test_crop, test_that_answers, "A test returns nothing"),
    (ch11.check_test_crop, test_that_stops, "stops with ValueError"),
    (ch11.check_test_crop, test_against_ours, "padding 1.5"),
    (ch11.check_test_crop, test_that_fills_it, "padding 1.5"),
    (ch11.check_test_crop, test_with(axes=False), "stretches the box"),
    (ch11.check_test_crop, test_with(middle=False, axes=False, fills=False), "stretches the box"),
    (ch11.check_test_crop, test_with(boxes=(((50, 50, 80, 80), 64),)), "stretches the box"),
    (ch11.check_test_crop, test_with(middle=False, inside=False, fills=False), "x for y"),
    (ch11.check_test_crop, test_with(inside=False), "*shorter* side"),
    (ch11.check_test_crop, test_with(middle=False), "upper left corner"),
    (ch11.check_test_crop, test_with(sign=False), "mirrored without saying so"),
    (
        ch11.check_test_crop,
        test_with(boxes=[(box, 224) for box, _ in BOXES]),
        "always makes 224 pixels",
    ),
    (ch11.check_test_crop, test_of_the_middle_roughly, "half a pixel off"),
    (ch11.check_find_twins, lambda pictures, most: list(range(len(pictures))), "pairs of indices"),
    (ch11.check_find_twins, twins_in_place, "changed the `images`"),
    (ch11.check_find_twins, twins_with_themselves, "images with themselves"),
    (ch11.check_find_twins, twins_both_ways, "list pairs twice"),
    (ch11.check_find_twins, twins_the_wrong_way_round, "smaller number should come first"),
    (ch11.check_find_twins, twins_again_and_again, "more than once"),
    (ch11.check_find_twins, lambda pictures, most: [], "you found none"),
    (ch11.check_find_twins, twins_with(turned=None), "mirrored before it was split"),
    (ch11.check_find_twins, twins_with(plain=False), "plain copies and near copies are missing"),
    (ch11.check_find_twins, twins_with(bits=20), "more that differ in over"),
    (ch11.check_find_twins, twins_with(bits=0), "exact copies only"),
    (ch11.check_find_twins, twins_next_door, "neighbour in the list"),
    (ch11.check_find_twins, twins_first_only, "is missing"),
    (ch11.check_find_twins, twins_with(below=True), "'at most' is <="),
    (ch11.check_test_crop, crop_test_with(within, large), "rotated by 180 degrees"),
    (ch11.check_test_crop, crop_test_with(upright, large), "ends of the box are cut off"),
    (ch11.check_test_crop, crop_test_with(upright, within), "fills less than half"),
    (ch11.check_find_twins, twins_in_between, "should be a whole number"),
]
