"""Affine maps, boxes, the codec and the cameras: by property, and against OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import dots, look_at, opencv_projection

from posekit import cameras, geometry
from posekit.datasets import panoptic
from posekit.skeleton import COCO17

coordinate = st.floats(-3000, 3000)
crops = st.fixed_dictionaries(
    {
        "center": st.tuples(coordinate, coordinate),
        "side": st.floats(5, 5000),
        "size": st.integers(16, 512),
        "rotation": st.floats(-180, 180),
        "flip": st.booleans(),
        "shift": st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    }
)
points17 = st.lists(st.tuples(coordinate, coordinate), min_size=17, max_size=17).map(np.array)


@given(crops, points17)
def test_an_affine_map_and_its_inverse_are_the_identity(crop, points):
    affine = geometry.crop_affine(**crop)
    back = geometry.apply_affine(geometry.invert(affine), geometry.apply_affine(affine, points))
    assert np.abs(back - points).max() <= 1e-3
    assert np.abs(geometry.compose(geometry.invert(affine), affine) - np.eye(2, 3)).max() <= 1e-6


@given(crops, points17)
def test_compose_is_one_map_after_the_other(crop, points):
    first = geometry.crop_affine(**crop)
    second = geometry.crop_affine((100, 50), 300, 224, 30)
    both = geometry.apply_affine(geometry.compose(second, first), points)
    assert np.allclose(
        both,
        geometry.apply_affine(second, geometry.apply_affine(first, points)),
        atol=1e-6,
        rtol=1e-9,
    )


@given(crops)
def test_a_crop_keeps_proportions_and_puts_its_centre_in_the_middle(crop):
    affine = geometry.crop_affine(**crop)
    scale = crop["size"] / crop["side"]
    assert np.allclose(affine[:, :2] @ affine[:, :2].T, scale**2 * np.eye(2), rtol=1e-9)
    assert np.sign(np.linalg.det(affine[:, :2])) == (-1 if crop["flip"] else 1)
    shift = np.array(crop["shift"]) * (-1 if crop["flip"] else 1, 1)
    middle = (crop["size"] - 1) / 2 + shift * crop["size"]
    assert np.allclose(geometry.apply_affine(affine, [crop["center"]])[0], middle, atol=1e-6)


@given(st.lists(crops, min_size=1, max_size=5))
def test_a_batch_of_crops_is_each_of_them_to_the_bit(several):
    """And each is the chain of shift to the origin, rotation, scale, shift and mirror."""
    columns = {name: np.array([crop[name] for crop in several]) for name in several[0]}
    columns["size"] = 224
    batch = geometry.crop_affine(**columns)
    for crop, affine in zip(several, batch, strict=True):
        crop["size"] = 224
        np.testing.assert_array_equal(geometry.crop_affine(**crop), affine)
        x, y = crop["center"]
        angle = np.deg2rad(crop["rotation"])
        turned = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0]])
        middle = 111.5 + 224 * np.array(crop["shift"])
        chain = geometry.compose(turned, np.array([[1, 0, -x], [0, 1, -y]]))
        chain = 224 / crop["side"] * chain + np.column_stack([np.zeros((2, 2)), middle])
        if crop["flip"]:
            chain = geometry.compose(np.array([[-1, 0, 223], [0, 1, 0]]), chain)
        np.testing.assert_allclose(affine, chain, rtol=1e-9, atol=1e-6)


def test_one_side_and_many_centres_make_many_crops():
    """As for the sub-images of a cascade: what is given once holds for all."""
    centers = np.random.default_rng(0).uniform(0, 100, (17, 2))
    flips = np.arange(17) % 2 > 0
    many = geometry.crop_affine(centers, 30.0, 64, flip=flips)
    each = [geometry.crop_affine(c, 30.0, 64, flip=f) for c, f in zip(centers, flips, strict=True)]
    np.testing.assert_array_equal(many, each)


def test_a_positive_rotation_turns_the_content_counter_clockwise_as_seen():
    affine = geometry.crop_affine((50, 50), 101, 101, rotation=90)
    assert np.allclose(
        geometry.apply_affine(affine, [(60, 50)]), [(50, 40)]
    )  # what was on the right is now on top


@given(crops, points17)
def test_a_flipped_crop_is_the_crop_flipped(crop, points):
    size = crop["size"]
    straight = geometry.apply_affine(geometry.crop_affine(**{**crop, "flip": False}), points)
    mirrored = geometry.apply_affine(geometry.crop_affine(**{**crop, "flip": True}), points)
    relabelled = mirrored[list(COCO17.flip_indices)]
    assert np.allclose(
        relabelled, geometry.flip_keypoints(straight, size, COCO17.flip_indices), atol=1e-6
    )


@given(points17, st.integers(1, 2000))
def test_flip_twice_is_the_identity(points, width):
    once = geometry.flip_keypoints(points, width, COCO17.flip_indices)
    assert np.allclose(geometry.flip_keypoints(once, width, COCO17.flip_indices), points, atol=1e-9)
    left = COCO17.index("left_wrist"), COCO17.index("right_wrist")
    assert np.allclose(once[left[1]], (width - 1 - points[left[0]][0], points[left[0]][1]))


@given(points17, st.integers(1, 2000), st.integers(1, 2000))
def test_codec_round_trip(points, w, h):
    normalised = geometry.encode_keypoints(points, (w, h))
    assert np.abs(geometry.decode_keypoints(normalised, (w, h)) - points).max() <= 1e-3
    single = normalised.astype(np.float32)
    near = (np.abs(normalised) <= 1).all(axis=1)
    assert np.abs(geometry.decode_keypoints(single, (w, h)) - points)[near].max(initial=0) <= 1e-3


def test_codec_at_the_edges():
    corners = geometry.encode_keypoints([(-0.5, -0.5), (223.5, 111.5), (111.5, 55.5)], (224, 112))
    assert np.allclose(corners, [(-0.5, -0.5), (0.5, 0.5), (0, 0)])
    assert geometry.inside(
        [(-0.5, 0), (-0.51, 0), (223.49, 0), (223.5, 0), (0, 111.5)], (224, 112)
    ).tolist() == [
        True,
        False,
        True,
        False,
        False,
    ]


@given(points17, st.lists(st.booleans(), min_size=17, max_size=17).filter(any))
def test_the_box_of_joints_is_tight(points, mask):
    mask = np.array(mask)
    x, y, w, h = geometry.bbox_from_keypoints(points, mask)
    counted = points[mask]
    assert np.allclose((x, y), counted.min(axis=0), atol=1e-3)
    assert np.allclose((x + w - 1, y + h - 1), counted.max(axis=0), atol=1e-3)
    assert np.allclose(
        geometry.bbox_center((x, y, w, h)),
        (counted.min(axis=0) + counted.max(axis=0)) / 2,
        atol=1e-3,
    )
    nowhere = np.where(mask[:, None], points, np.nan)
    assert np.array_equal(geometry.bbox_from_keypoints(nowhere, mask), (x, y, w, h))


def test_boxes_by_hand():
    assert geometry.bbox_center(geometry.bbox_of_image(640, 480)).tolist() == [319.5, 239.5]
    assert geometry.square_side((0, 0, 40, 100), 1.25) == 125
    with pytest.raises(ValueError, match="no joint"):
        geometry.bbox_from_keypoints(np.zeros((17, 2)), np.zeros(17, bool))
    for empty in ((0, 0, 0, 5), (0, 0, 5, -1), (0, 0, np.nan, 5), (np.inf, 0, 5, 5)):
        with pytest.raises(ValueError, match="empty or infinite"):
            geometry.square_side(empty)


# ---- warp ----------------------------------------------------------------------------------------


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@settings(max_examples=60, deadline=None)
@given(
    st.floats(60, 240),
    st.floats(60, 180),
    st.floats(0.12, 4),
    st.floats(-180, 180),
    st.booleans(),
)
def test_a_bright_dot_lands_where_the_affine_map_says(x, y, scale, rotation, flip):
    photo = cv2.GaussianBlur(dots(300, 240, [(x, y)]), (0, 0), 4)
    size = 96
    affine = geometry.crop_affine(
        (x + 9 / scale, y - 6 / scale), size / scale, size, rotation, flip
    )
    expected = geometry.apply_affine(affine, [(x, y)])[0]
    cut = geometry.warp(photo, affine, (size, size))
    assert cut.shape == (size, size, 3)
    if scale > 1.5:  # a large blob may reach over the edge: compare where it is brightest
        sharp = np.where(cut >= cut.max() * 0.6, cut, 0)
        assert np.abs(centroid(sharp) - expected).max() < 0.35
    else:
        assert np.abs(centroid(cut) - expected).max() < 0.1


@pytest.mark.parametrize("phase", range(8))
def test_warp_averages_when_it_shrinks(phase):
    """Bilinear sampling alone would look at two of eight rows, and see each white line wholly or
    not at all."""
    lines = np.zeros((512, 512, 3), np.uint8)
    lines[phase::8] = 240
    small = geometry.warp(lines, geometry.crop_affine((255.5, 255.5), 512, 64), (64, 64))
    assert np.abs(small.astype(int) - 240 / 8).max() <= 1


def test_warp_is_the_identity_at_scale_one_and_black_outside():
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert np.array_equal(geometry.warp(photo, np.eye(2, 3), (60, 40)), photo)
    wide = geometry.warp(photo, np.array([[1.0, 0, 10], [0, 1, 5]]), (80, 50))
    assert np.array_equal(wide[5:45, 10:70], photo)
    assert wide[:, :9].max() == 0 and wide[46:].max() == 0


def test_no_input_is_changed():
    rng = np.random.default_rng(1)
    arrays = {
        "points": rng.uniform(0, 100, (17, 2)),
        "affine": geometry.crop_affine((50, 50), 100, 64, 20),
        "image": rng.integers(0, 256, (100, 100, 3), np.uint8),
        "bbox": np.array([1.0, 2, 30, 40]),
        "mask": np.ones(17, bool),
        "world": rng.uniform(-50, 50, (5, 3)),
        "shrinking": geometry.crop_affine((50, 50), 100, 20),
    }
    before = {name: array.copy() for name, array in arrays.items()}
    for array in arrays.values():
        array.setflags(write=False)
    a = arrays
    geometry.apply_affine(a["affine"], a["points"])
    geometry.compose(a["affine"], a["affine"])
    geometry.invert(a["affine"])
    geometry.warp(a["image"], a["affine"], (64, 64))
    geometry.warp(a["image"], a["shrinking"], (20, 20))
    geometry.flip_keypoints(a["points"], 100, COCO17.flip_indices)
    geometry.encode_keypoints(a["points"], (64, 64))
    geometry.decode_keypoints(a["points"], (64, 64))
    geometry.inside(a["points"], (64, 64))
    geometry.bbox_from_keypoints(a["points"], a["mask"])
    geometry.bbox_center(a["bbox"])
    geometry.square_side(a["bbox"])
    cameras.project(a["world"], made_camera(rng))
    assert all(np.array_equal(arrays[name], before[name]) for name in arrays)


# ---- cameras -------------------------------------------------------------------------------------


def made_camera(rng: np.random.Generator) -> cameras.Camera:
    R, t = look_at(rng.uniform(-300, 300, 3) + (0, 0, 500))
    f = rng.uniform(500, 2000, 2)
    return cameras.Camera(
        name="made",
        K=np.array(
            [[f[0], 0, 960 + rng.normal(0, 20)], [0, f[1], 540 + rng.normal(0, 20)], [0, 0, 1.0]]
        ),
        distCoef=np.array([-0.28, 0.18, 1e-3, -1e-3, -0.05]) * rng.uniform(0.5, 1.5, 5),
        R=R,
        t=t,
        resolution=(1920, 1080),
    )


def points_before(camera: cameras.Camera, rng: np.random.Generator, n: int = 50) -> np.ndarray:
    """World points that the camera could see: in front of it, up to well outside its frame."""
    reach = 1.2 * max(camera.resolution) / camera.K[0, 0]
    depth = rng.uniform(50, 600, (n, 1))
    seen = np.concatenate([rng.uniform(-reach, reach, (n, 2)) * depth, depth], axis=1)
    return (seen - camera.t) @ np.linalg.inv(camera.R).T


@pytest.mark.parametrize("seed", range(20))
def test_projection_is_opencvs_on_made_cameras(seed):
    rng = np.random.default_rng(seed)
    camera = made_camera(rng)
    points = points_before(camera, rng)
    assert np.abs(cameras.project(points, camera) - opencv_projection(points, camera)).max() < 1e-6


@pytest.mark.realdata
def test_projection_is_opencvs_on_every_camera_of_the_real_calibration(realdata):
    rng = np.random.default_rng(0)
    sequence = realdata / "panoptic" / "160906_band1"
    calibration = panoptic.read_calibration(sequence / "calibration_160906_band1.json")
    bodies = [
        b for p in sorted(sequence.glob("hdPose3d*/*.json")) for _, b in panoptic.read_poses(p)
    ]
    joints = np.concatenate([body[body[:, 3] > 0, :3] for body in bodies])
    assert len(calibration) == 520 and len(joints) > 50
    seen = 0
    for camera in calibration.values():
        points = np.concatenate([joints, points_before(camera, rng, 200)])
        points = points[cameras.in_view(points, camera)]
        assert (
            np.abs(cameras.project(points, camera) - opencv_projection(points, camera)).max() < 1e-6
        ), camera.name
        seen += len(points)
    assert seen > 50_000


def test_a_point_behind_the_camera_has_no_pixel():
    camera = made_camera(np.random.default_rng(0))
    behind = camera.position - 100 * camera.R[2]
    assert np.isnan(cameras.project(behind, camera)).all()
    assert np.allclose(
        camera.K[:2, 2], cameras.project(camera.position + 100 * camera.R[2], camera)
    )
