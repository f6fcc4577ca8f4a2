"""MiniDome: bodies, rays, labels and files hold what design.md promises."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from posekit import files
from posekit.cameras import Camera, distort, project
from posekit.datasets import coco, panoptic
from posekit.errors import DataError
from posekit.minidome import annotate, body, clothes, dome, pose, render, scene, sequence, solids
from posekit.minidome import dataset as make_dataset
from posekit.minidome.actions import move, sample_action
from posekit.skeleton import COCO17, PANOPTIC19

SIZE = (320, 180)
SCRIPT = Path(__file__).parents[2] / "data_scripts" / "make_minidome.py"
J = PANOPTIC19.index
GREY = solids.material(np.full(3, 0.5))


def camera_at(
    bearing: float, distance: float = 320.0, height: float = 110.0, coefficients=(0, 0, 0, 0, 0)
) -> Camera:
    """A camera that looks at the middle of the stage; bearing 0 stands where heading 0 looks to."""
    a = np.deg2rad(bearing)
    position = np.array([distance * np.sin(a), -height, distance * np.cos(a)])
    z = np.array([0, -90.0, 0]) - position
    z /= np.linalg.norm(z)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    K = np.array([[240.0, 0, 163.0], [0, 238.0, 88.0], [0, 0, 1]])
    return Camera("00_00", K, np.array(coefficients, float), R, -R @ position, SIZE)


def standing(spot=(0.0, 0.0), heading: float = 0.0, seed: int = 3, **angles: float) -> scene.Person:
    """A person who stands with the arms a little out."""
    rng = np.random.default_rng(seed)
    build = clothes.BodyShape(175, 1.0, 0.0)
    figure = body.make_body(body.sample_bones(build, rng), build, rng)
    arms = {
        f"{side}_{name}": v
        for side in ("left", "right")
        for name, v in (("arm_raise", 25), ("arm_plane", 90))
    }
    numbers = pose.vector(**{**arms, **angles})[None]
    turned = np.array([heading])
    axes, origins = pose.forward_kinematics(figure.bones, numbers, turned, np.array([spot]))
    return scene.Person(figure, {}, numbers, turned, axes, origins)


def flags(person: scene.Person, camera: Camera, *others: solids.Solids) -> dict[str, int]:
    shapes = solids.merge([person.solids_at(0, 0), *others])
    values = annotate.joint_flags(person.joints()[0], person.body.joint_margin, shapes, camera)
    return dict(zip(PANOPTIC19.joints, values.tolist()))


@pytest.fixture(scope="module")
def cameras():
    return dome.make_cameras(SIZE, 1)


@pytest.fixture(scope="module")
def takes(cameras):
    return [scene.sample_scene(4, number, 40, cameras, 2) for number in range(12)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("minidome") / "seq"
    return out, sequence.make_sequence(out, frames=60, size=SIZE, seed=5, workers=2, progress=False)


# ---- bodies --------------------------------------------------------------------------------------


def test_bones_keep_their_length_and_people_move_smoothly(takes):
    bones = [("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")]
    moved = 0.0
    for person in (p for take in takes for p in take.people):
        joints = person.joints()
        assert joints.shape == (40, 19, 3)
        for side in ("left_", "right_"):
            for a, b in bones:
                length = np.linalg.norm(joints[:, J(side + a)] - joints[:, J(side + b)], axis=-1)
                assert np.ptp(length) < 1e-9 and 12 < length[0] < 60
        step = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
        assert step.max() < 40, "faster than 12 m/s"
        jerk = np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1)
        assert jerk.max() < 12, "a joint jumps"
        moved = max(moved, step.max())
    assert moved > 3


def test_joints_bend_only_the_natural_way(cameras):
    rng = np.random.default_rng(0)
    bones = body.sample_bones(clothes.BodyShape(172, 1.0, 0.0), rng)
    angles = np.concatenate([move(sample_action(rng), 1, 1.0, rng) for _ in range(400)])
    for name, (low, high) in pose.RANGES.items():
        values = pose.get(angles, name)
        assert values.min() >= low and values.max() <= high, name
    axes, origins = pose.forward_kinematics(
        bones, angles, rng.uniform(0, 360, 400), np.zeros((400, 2))
    )
    frame = pose.FRAME
    for side in ("left_", "right_"):
        for upper, lower, end, way in (
            ("thigh", "shin", "foot", -1),
            ("upper_arm", "forearm", "hand", 1),
        ):
            bone = origins[:, frame[side + end]] - origins[:, frame[side + lower]]
            local = np.einsum("bji,bj->bi", axes[:, frame[side + upper]], bone)
            assert np.abs(local[:, 0]).max() < 1e-9, "a hinge bends in one plane"
            assert (way * local[:, 2]).min() > -1e-9, f"{lower} bends backwards"
    assert (
        pose.get(angles, "left_knee").max() > 100
        and pose.get(angles, "right_arm_raise").max() > 150
    )
    lowest = origins[..., 1].max(axis=1)  # y points down
    assert lowest.max() <= 0 and lowest.min() > -20, "somebody floats or sinks"


def test_heading_left_and_up_are_what_they_say():
    person = standing(heading=0)
    joints = person.joints()[0]
    assert joints[J("nose"), 2] > joints[J("neck"), 2] + 5, "heading 0 faces +z"
    assert joints[J("nose"), 1] < joints[J("left_hip"), 1] - 50, "y points down"
    front = project(joints, camera_at(0))
    back = project(joints, camera_at(180))
    assert front[J("left_shoulder"), 0] > front[J("right_shoulder"), 0], (
        "the left shoulder of somebody who faces us is right"
    )
    assert back[J("left_shoulder"), 0] < back[J("right_shoulder"), 0]
    turned = standing(heading=90).joints()[0]
    assert turned[J("nose"), 0] > turned[J("neck"), 0] + 5, "heading 90 faces +x"
    assert (
        annotate.facing(person, 0, camera_at(0)) < 1
        and annotate.facing(person, 0, camera_at(180)) > 179
    )


def test_people_do_not_stand_in_each_other(takes):
    gaps = []
    for take in takes:
        for i, person in enumerate(take.people):
            for other in take.people[:i]:
                centre = person.origins[::8, pose.FRAME["chest"]]
                solids_at = [other.solids_at(t, 0) for t in range(0, 40, 8)]
                gaps += [solids.clearance(f, c[None])[0] for f, c in zip(solids_at, centre)]
    assert len(gaps) > 20 and min(gaps) > 5


# ---- cameras and rays ----------------------------------------------------------------------------


def test_dome_is_like_the_real_one(cameras):
    assert list(cameras) == [f"00_{node:02d}" for node in range(31)]
    for camera in cameras.values():
        assert (
            np.allclose(camera.R @ camera.R.T, np.eye(3), atol=1e-12)
            and np.linalg.det(camera.R) > 0
        )
        x, y, z = camera.position
        assert 170 < np.hypot(x, z) < 300 and -360 < y < -60
        assert np.all(np.abs(project(np.array([[0, -92.0, 0]]), camera) - [160, 90]) < [60, 50])
        r = np.linspace(0, np.tan(np.deg2rad(80)), 400)
        assert np.all(np.diff(distort(np.stack([r, 0 * r], 1), camera.distCoef)[:, 0]) > 0), (
            "the lens folds back"
        )
    hd = dome.make_cameras((1920, 1080), 1)["00_04"]
    assert 1370 < hd.K[0, 0] < 1670 and np.allclose(hd.K[:2] / 6, cameras["00_04"].K[:2], atol=0.5)
    assert not np.array_equal(hd.t, dome.make_cameras((1920, 1080), 2)["00_04"].t)


def test_undistort_is_the_inverse_of_distort(cameras):
    xy = np.random.default_rng(0).uniform(-0.75, 0.75, (500, 2))
    for camera in cameras.values():
        assert (
            np.abs(dome.undistort(distort(xy, camera.distCoef), camera.distCoef) - xy).max() < 1e-10
        )


def test_each_pixels_ray_projects_back_onto_it(cameras):
    camera = cameras["00_07"]
    assert abs(camera.distCoef[0]) > 0.15
    grid = render.ray_grid(camera)
    rays = np.stack([grid.x, grid.y, np.ones_like(grid.x)], -1).astype(np.float64)
    world = (rays * 250 - camera.t) @ camera.R
    column, row = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    assert np.abs(project(world, camera) - np.stack([column, row], -1)).max() < 1e-3


def test_drawn_balls_lie_where_they_project(cameras):
    rng = np.random.default_rng(1)
    for name in ("00_00", "00_11", "00_23"):
        camera = cameras[name]
        grid = render.ray_grid(cameras[name])
        points = rng.uniform((-140, -170, -140), (140, -5, 140), (60, 3))
        for point in points:
            ball = solids.to_view(
                solids.round_cones(point, point, 4.0, 4.0, GREY), camera.R, camera.t
            )
            rows, columns = np.nonzero(render.nearest(ball, grid)[1] == 0)
            expected = project(point, camera)
            if np.all((expected > 12) & (expected < np.array(SIZE) - 13)):
                assert np.abs(np.array([columns.mean(), rows.mean()]) - expected).max() < 0.35


def random_shapes(rng: np.random.Generator) -> solids.Solids:
    n = 40
    a = rng.uniform((-120, -180, -120), (120, 0, 120), (n, 3))
    b = a + rng.normal(0, 18, (n, 3)) * (rng.random((n, 1)) > 0.25)
    turn = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    stretch = np.where(rng.random((n, 1)) < 0.5, 1, rng.uniform(0.5, 1.3, (n, 3)))
    metric = (turn / stretch[:, None] ** 2) @ np.swapaxes(turn, 1, 2)
    radii = rng.uniform(1, 14, (2, n))
    boxes = solids.boxes(
        rng.uniform(-120, 120, (6, 3)) * [1, 0, 1] - [0, 30, 0],
        rng.uniform(5, 25, (6, 3)),
        rng.uniform(0, 90, 6),
        GREY,
    )
    return solids.merge([solids.round_cones(a, b, *radii, GREY, metric), boxes])


def test_the_renderer_sees_what_exact_rays_hit(cameras):
    shapes = random_shapes(np.random.default_rng(2))
    camera = cameras["00_19"]
    grid = render.ray_grid(camera)
    depth, solid_index = render.nearest(solids.to_view(shapes, camera.R, camera.t), grid)
    rays = (
        np.stack([grid.x, grid.y, np.ones_like(grid.x)], -1).reshape(-1, 3)[::5].astype(np.float64)
    )
    exact = np.concatenate(
        [
            solids.first_hits(shapes, camera.position, (part - camera.t) @ camera.R)
            for part in np.array_split(rays, 8)
        ]
    )
    drawn = depth.reshape(-1)[::5]
    assert 0.2 < np.isfinite(exact).mean() < 0.95
    assert (np.isfinite(drawn) == np.isfinite(exact)).mean() > 0.998, (
        "a bounding rectangle or silhouette cuts a shape"
    )
    both = np.isfinite(drawn) & np.isfinite(exact)
    assert np.quantile(np.abs(drawn[both] - exact[both]), 0.998) < 0.1
    assert np.array_equal(np.isfinite(depth), solid_index >= 0)


def test_a_hit_lies_on_the_surface():
    rng = np.random.default_rng(3)
    shapes = random_shapes(rng)
    origin = np.array([0, -120.0, 400.0])
    targets = rng.uniform((-100, -170, -100), (100, 0, 100), (400, 3))
    for i in range(shapes.num_cones):
        one = shapes.select_cones(np.arange(shapes.num_cones) == i)
        t = solids.first_hits(one, origin, targets)
        points = (origin + t[:, None] * (targets - origin))[np.isfinite(t)]
        if len(points) and np.allclose(one.metric, np.eye(3)) and one.ra[0] == one.rb[0]:
            assert np.abs(solids.clearance(one, points)).max() < 1e-6
    ball = solids.round_cones([0, -90.0, 0], [0, -90.0, 0], 10, 10, GREY)
    assert solids.first_hits(ball, np.array([0, -90.0, 100]), np.array([[0, -90.0, 0]]))[
        0
    ] == pytest.approx(0.9)
    box = solids.boxes([0, -90.0, 0], [10, 10, 20], 0, GREY)
    assert solids.first_hits(box, np.array([0, -90.0, 100]), np.array([[0, -90.0, 0]]))[
        0
    ] == pytest.approx(0.8)
    assert (
        solids.first_hits(box, np.array([0, -90.0, 100]), np.array([[0, -90.0, 200]]))[0] == np.inf
    )


# ---- visibility ----------------------------------------------------------------------------------


def test_front_and_back():
    person = standing()
    front = flags(person, camera_at(0))
    back = flags(person, camera_at(180))
    assert set(front.values()) == {2}, "a person who faces the camera with open arms hides nothing"
    for joint in ("nose", "left_eye", "right_eye"):
        assert back[joint] == 1
    for joint in (
        "left_shoulder",
        "right_elbow",
        "left_wrist",
        "right_hip",
        "left_knee",
        "right_ankle",
    ):
        assert back[joint] == 2
    side = flags(person, camera_at(-90))  # who faces +z has -x on the left, since y points down
    assert side["left_eye"] == side["left_ear"] == side["left_shoulder"] == 2
    assert (
        side["right_eye"] == side["right_ear"] == side["right_shoulder"] == side["right_hip"] == 1
    )


def test_things_hide_what_is_behind_them_only():
    person = standing()
    camera = camera_at(0, height=90)
    for z, hidden in ((70, True), (-70, False)):
        box = solids.boxes([0, -32.0, z], [45, 32, 10], 0, GREY)
        found = flags(person, camera, box)
        for side in ("left_", "right_"):
            assert (found[side + "knee"] == 1) == (found[side + "ankle"] == 1) == hidden
            assert found[side + "shoulder"] == found[side + "eye"] == 2
    assert flags(person, camera, standing(spot=(0, 60), seed=8).solids_at(0, 1))["neck"] == 1
    assert set(flags(person, camera, standing(spot=(0, -60), seed=8).solids_at(0, 1)).values()) == {
        2
    }
    hand = flags(
        standing(left_arm_raise=75, left_arm_plane=-20, left_elbow=120, left_arm_turn=60),
        camera_at(0),
    )
    assert hand["left_wrist"] == 2 and hand["right_knee"] == 2


def test_outside_the_frame_and_behind_the_camera_is_0():
    near = flags(standing(spot=(0, 190)), camera_at(0))
    assert near["left_ankle"] == near["right_ankle"] == 0 and near["left_shoulder"] == 2
    assert set(flags(standing(spot=(0, 520)), camera_at(0)).values()) == {0}


def test_left_out_people_and_exact_area():
    camera = camera_at(0)
    hider = solids.boxes([0, -100.0, 80], [80, 100, 5], 0, GREY)
    stage = scene.Scene(
        [standing()], solids.no_solids(), ["00_00"], np.array([0, -1.0, 0]), 0.5, np.ones(3), 1
    )
    grid = render.ray_grid(camera)
    for things, count in ((solids.no_solids(), 1), (hider, 0)):
        shapes = solids.merge([stage.people[0].solids_at(0, 0), things])
        _, solid_index = render.nearest(solids.to_view(shapes, camera.R, camera.t), grid)
        found = annotate.annotate(stage, 0, shapes, solid_index, camera)
        assert len(found) == count
        if found:
            mask = (solid_index >= 0) & (solid_index < stage.people[0].solids_at(0, 0).num_cones)
            assert found[0]["area"] == mask.sum() > 1000
            rows, columns = np.nonzero(mask)
            x, y, w, h = found[0]["bbox"]
            assert (
                x <= columns.min()
                and y <= rows.min()
                and x + w >= columns.max() + 1
                and y + h >= rows.max() + 1
            )
            assert w < np.ptp(columns) + 3 and h < np.ptp(rows) + 3


# ---- files ---------------------------------------------------------------------------------------


def test_shares(made):
    out, shares = made
    assert shares == sequence.shares(out)
    assert shares["frames"] == 60 and shares["pictures"] == 120
    assert shares["joints_occluded"] >= 0.15
    assert shares["people_from_behind"] >= 0.25
    assert shares["scenes_with_two_or_more"] >= 0.40
    assert 0.05 < shares["people_cut_off"] < 0.6 and shares["people_left_out"] < 0.1
    by_camera = {image["camera"] for image in annotations(out)["images"]}
    assert len(by_camera) > 20, "the cameras are drawn anew for each scene"


def annotations(out: Path) -> dict:
    return json.loads((out / "annotations" / f"person_keypoints_{out.name}.json").read_text())


def test_labels_fit_the_pixels(made):
    out, _ = made
    plan = sequence.SequenceConfig(60, 2, SIZE, 1, 5)
    on = []
    for frame in range(0, 60, 4):
        stage = scene.sample_scene(5, frame, 1, dome.make_cameras(SIZE, 5), 2)
        shapes = solids.merge(
            [p.solids_at(0, i) for i, p in enumerate(stage.people)] + [stage.furniture]
        )
        _, views = sequence.render_frame(plan, frame)
        for name, picture, people in views:
            camera = dome.make_cameras(SIZE, 5)[name]
            _, solid_index = render.nearest(
                solids.to_view(shapes, camera.R, camera.t), render.ray_grid(camera)
            )
            owner = np.pad(np.append(shapes.owners, -1)[solid_index], 1, constant_values=-2)
            assert (
                picture.shape == (180, 320, 3) and picture.dtype == np.uint8 and picture.std() > 3
            )
            for person in people:
                kp = np.array(person["keypoints"]).reshape(17, 3)
                x, y, w, h = person["bbox"]
                seen = kp[kp[:, 2] > 0]
                assert np.all((seen[:, :2] >= [x - 0.5, y - 0.5]) & (seen[:, :2] <= [x + w, y + h]))
                assert np.all(kp[kp[:, 2] == 0] == 0) and person["num_keypoints"] == len(seen)
                assert (
                    w * h >= person["area"] > 0
                    and x >= 0
                    and y >= 0
                    and x + w <= 320
                    and y + h <= 180
                )
                for px, py, v in kp:
                    if v == 2:
                        r = round(py) + 1
                        c = round(px) + 1
                        on.append((owner[r - 1 : r + 2, c - 1 : c + 2] == person["body_id"]).any())
    assert len(on) > 300 and np.mean(on) > 0.995


def test_the_same_people_through_both_readers(made):
    out, _ = made
    by_coco = list(
        coco.read(out / "annotations" / "person_keypoints_seq.json", out, dataset="minidome")
    )
    by_panoptic = list(panoptic.read(out))
    assert len(by_coco) > 150 and len(by_panoptic) >= len(by_coco)
    facts = annotations(out)
    pictures = {image["id"]: out / image["file_name"] for image in facts["images"]}
    assert [pictures[a["image_id"]] for a in facts["annotations"]] == [
        Path(s.image) for s in by_coco
    ]
    others: dict = {}
    for sample in by_panoptic:
        others.setdefault(Path(sample.image).resolve(), []).append(sample)
    for sample in by_coco:
        labelled = sample.labelled
        gaps = [
            np.abs(other.keypoints - sample.keypoints)[labelled].max()
            for other in others[Path(sample.image).resolve()]
            if np.array_equal(other.labelled, labelled)
        ]
        assert min(gaps, default=np.inf) < 1e-3
        assert sample.bbox is not None and sample.area > 0
    calibration = panoptic.read_calibration(out / "calibration_seq.json")
    for name, camera in dome.make_cameras(SIZE, 5).items():
        assert np.array_equal(calibration[name].t, camera.t) and np.array_equal(
            calibration[name].K, camera.K
        )


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def test_the_same_bytes_from_any_number_of_workers(tmp_path):
    arguments = {"frames": 7, "cameras": 2, "size": (160, 96), "take": 3, "progress": False}
    for name, seed, workers in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        sequence.make_sequence(tmp_path / name / "seq", seed=seed, workers=workers, **arguments)
    a, b, c = (digest(tmp_path / name) for name in "abc")
    assert a == b and len(a) == 1 + 7 + 14 + 1
    assert not {k: v for k, v in a.items() if c.get(k) == v}
    assert not list(tmp_path.glob("*/.*")), "the partial folder is gone"
    facts = annotations(tmp_path / "a" / "seq")
    seen_by = {}
    for image in facts["images"]:
        seen_by.setdefault(image["frame"] // 3, set()).add(image["camera"])
    assert all(len(names) == 2 for names in seen_by.values()), "a take keeps its cameras"


def test_a_take_keeps_its_people_and_a_still_does_not(tmp_path):
    sequence.make_sequence(
        tmp_path / "seq",
        frames=6,
        cameras=1,
        size=(96, 64),
        take=3,
        seed=3,
        workers=1,
        progress=False,
    )
    poses = [
        panoptic.read_poses(p)
        for p in sorted((tmp_path / "seq" / "hdPose3d_stage1_coco19").iterdir())
    ]
    thigh = [
        [np.linalg.norm(j[J("left_hip"), :3] - j[J("left_knee"), :3]) for _, j in bodies]
        for bodies in poses
    ]
    assert np.allclose(thigh[0], thigh[2], atol=1e-4) and np.allclose(thigh[3], thigh[5], atol=1e-4)
    assert len(thigh[0]) != len(thigh[3]) or not np.allclose(thigh[0], thigh[3], atol=1e-2)


# ---- bad input and interruption ------------------------------------------------------------------


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def load_script():
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_minidome", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--frames", "0"], "--frames 0"),
        (["--cameras", "40"], "--cameras 40"),
        (["--cameras", "0"], "--cameras 0"),
        (["--size", "12xA"], "12xA"),
        (["--size", "8x8"], "--size 8x8"),
        (["--take", "0"], "--take 0"),
        (["--seed", "-1"], "--seed -1"),
        (["--workers", "0"], "--workers 0"),
        (["--frames", "many"], "many"),
    ],
)
def test_bad_arguments(tmp_path, capsys, monkeypatch, arguments, names):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    try:
        code = load_script().main([str(tmp_path / "seq"), *arguments])
    except SystemExit as leave:
        code = leave.code
    error = capsys.readouterr().err
    assert code == 2 and names in error.splitlines()[-1] and "error:" in error.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_touched(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("a file")
    for out in (tmp_path / "full", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError) as error:
            sequence.make_sequence(out, frames=1, size=(64, 48), workers=1, progress=False)
        assert str(out) in str(error.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "full", "mine.txt"]
    (tmp_path / "empty").mkdir()
    sequence.make_sequence(tmp_path / "empty", frames=1, size=(64, 48), workers=1, progress=False)
    assert (tmp_path / "empty" / "calibration_empty.json").is_file()


def test_an_error_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sequence, "encode_jpeg", full)
    with pytest.raises(DataError, match="No space left"):
        sequence.make_sequence(
            tmp_path / "new" / "seq", frames=2, size=(64, 48), workers=1, progress=False
        )
    assert not list(tmp_path.iterdir()), "not even the folder made for it"


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_leaves_nothing(tmp_path, how, code):
    command = [sys.executable, SCRIPT, tmp_path / "seq", "--frames", "5000", "--size", "96x64"]

    def as_at_a_terminal():
        """A shell's background jobs ignore Ctrl-C, and their children inherit that."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        list(map(str, command)),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=as_at_a_terminal,
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".seq.part/hdImgs/*/*.jpg")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(how)
        _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_shares_of_something_else(tmp_path):
    (tmp_path / "annotations").mkdir()
    with pytest.raises(DataError, match="MiniDome"):
        sequence.shares(tmp_path)
    (tmp_path / "annotations" / f"person_keypoints_{tmp_path.name}.json").write_text("{")
    with pytest.raises(DataError, match="person_keypoints"):
        sequence.shares(tmp_path)
    result = run(tmp_path / "nowhere", "--shares")
    assert (
        result.returncode == 2
        and result.stderr.startswith("error:")
        and result.stderr.count("\n") == 1
    )


# ---- the embedded data set -----------------------------------------------------------------------


@pytest.fixture
def small_dataset(tmp_path, monkeypatch):
    module = sys.modules["posekit.minidome.dataset"]
    monkeypatch.setenv("POSEKIT_CACHE", str(tmp_path / "cache"))
    small = {"frames": 3, "size": (160, 96), "workers": 1}
    monkeypatch.setattr(module, "TRAIN", {**small, "seed": 1})
    monkeypatch.setattr(module, "VAL", {**small, "seed": 2})
    return module


def test_two_notebooks_make_the_data_set_once(small_dataset, monkeypatch):
    calls = []
    real = sequence.make_sequence

    def counted(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(sequence, "make_sequence", counted)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(make_dataset(progress=False)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and results[0] == results[1] and len(calls) == 2, (
        "train and val, once each"
    )
    made = results[0]
    assert (made.train_records / "manifest.json").is_file() and (
        made.val_records / "manifest.json"
    ).is_file()
    assert (
        made.train.is_dir() and (made.val / "annotations" / "person_keypoints_val.json").is_file()
    )
    assert sorted(p.name for p in made.train.parents[1].iterdir()) == [made.train.parent.name], (
        "no lock, nothing partial"
    )


GOLDEN = [(148.5, -47.7, 39.5), (111.1, -81.6, 12.8), (91.6, -94.1, 20.4)]


def test_the_output_matches_the_generator_version():
    """A change of the generator's output needs a new GENERATOR_VERSION, and new figures here."""
    figures = []
    for mode in ("dome", "desk", "phone"):
        config = sequence.SequenceConfig(1, 1, (160, 96), 1, seed=5, mode=mode)
        bodies, views = sequence.render_frame(config, 0)
        _, image, people = views[0]
        figures.append(
            (
                round(float(image.mean()), 1),
                round(float(np.mean([b["joints19"] for b in bodies["bodies"]])), 1),
                round(float(np.mean([a["keypoints"] for a in people])), 1),
            )
        )
    version = sys.modules["posekit.minidome.dataset"].GENERATOR_VERSION
    assert (version, figures) == (3, GOLDEN)


def test_where_the_data_set_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("POSEKIT_CACHE", raising=False)
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "book" / "chapters")
    assert files.cache_root() == Path.home() / ".cache" / "posekit"
    (tmp_path / "book" / "_config.yml").touch()
    assert files.cache_root() == Path.cwd().parent / "_data"


def test_coco_categories_are_cocos():
    assert annotate.CATEGORIES[0]["keypoints"] == list(COCO17.joints)
    assert min(min(pair) for pair in annotate.CATEGORIES[0]["skeleton"]) == 1
    assert max(max(pair) for pair in annotate.CATEGORIES[0]["skeleton"]) == 17


def test_a_script_without_the_guard_is_told_so_and_does_not_hang(tmp_path):
    """A worker of such a script runs the script again, and would wait for ever on the lock that its
    parent holds."""
    script = tmp_path / "unguarded.py"
    script.write_text("from posekit import minidome\n\nminidome.dataset(progress=False)\n")
    environment = {**os.environ, "POSEKIT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode != 0 and 'if __name__ == "__main__":' in done.stderr
    assert not list((tmp_path / "cache").glob("minidome-*"))
