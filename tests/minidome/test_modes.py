"""MiniDome's desk and phone modes, real motion and photos behind people: labels stay exact, bytes
the same, motion is what it was."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from posekit.cameras import project
from posekit.datasets import coco, panoptic
from posekit.errors import DataError
from posekit.minidome import (
    backdrop,
    body,
    clothes,
    dome,
    motion,
    render,
    scene,
    sequence,
    solids,
)
from posekit.minidome.pose import FRAME
from posekit.skeleton import COCO17, PANOPTIC19

SIZE = (320, 180)
J = {name: i for i, name in enumerate(motion.JOINTS)}


def annotations(out: Path) -> dict:
    return json.loads((out / "annotations" / f"person_keypoints_{out.name}.json").read_text())


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, colour in enumerate(((200, 40, 40), (40, 180, 60), (50, 60, 210))):
        noise = np.random.default_rng(i).normal(0, 12, (150, 200, 3))
        cv2.imwrite(
            str(folder / f"{i}.jpg"), np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
        )
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    """Two clips of a walker with swinging arms, whose left arm alone is raised in the second."""
    path = tmp_path_factory.mktemp("clips") / "two.npz"
    frames = 24
    joints = np.zeros((2 * frames, 17, 3))
    swing = np.sin(np.linspace(0, 4 * np.pi, 2 * frames))
    for name, at in (
        ("chest", (0, 0.3, 0)),
        ("neck", (0, 0.5, 0)),
        ("head", (0, 0.58, 0.01)),
        ("head_top", (0, 0.8, 0)),
    ):
        joints[:, J[name]] = at
    for side, sign in (("l_", 1), ("r_", -1)):
        joints[:, J[side + "shoulder"]] = (0.18 * sign, 0.47, 0)
        joints[:, J[side + "hip"]] = (0.1 * sign, 0, 0)
        for upper, lower, end, base, length, way in (
            ("shoulder", "elbow", "wrist", 0.47, 0.28, -1),
            ("hip", "knee", "ankle", 0.0, 0.42, 1),
        ):
            x = joints[:, J[side + upper], 0]
            angle = 0.5 * sign * way * swing
            first = np.stack([x, base - length * np.cos(angle), length * np.sin(angle)], 1)
            bent = angle + (0.3 if upper == "shoulder" else -0.3)
            joints[:, J[side + lower]] = first
            joints[:, J[side + end]] = first + length * np.stack(
                [0 * x, -np.cos(bent), np.sin(bent)], 1
            )
    joints[frames:, J["l_elbow"]] = (0.3, 0.72, 0)
    joints[frames:, J["l_wrist"]] = (0.3, 1.0, 0)
    way = {
        "head_forward": np.tile([0, 0, 1.0], (2 * frames, 1)),
        "head_up": np.tile([0, 1.0, 0], (2 * frames, 1)),
    }
    np.savez(
        path,
        joints=joints,
        clip=np.repeat([0, 1], frames),
        joint_names=np.array(motion.JOINTS),
        fps=30.0,
        **way,
    )
    return path


MODES = {
    "dome": {},
    "desk": {"mode": "desk", "empty": 0.2},
    "motion": {"motion": "CLIPS", "take": 3, "step": 2},
    "desk_motion": {"mode": "desk", "motion": "CLIPS"},
    "photos": {"backgrounds": "PHOTOS"},
    "desk_photos": {"mode": "desk", "backgrounds": "PHOTOS"},
    "phone": {"mode": "phone", "empty": 0.1},
    "phone_motion": {"mode": "phone", "motion": "CLIPS", "take": 3, "backgrounds": "PHOTOS"},
}


@pytest.fixture
def asked(photos, clip_file):
    def fill(name: str) -> dict:
        files = {"CLIPS": clip_file, "PHOTOS": photos}
        return {key: files.get(value, value) for key, value in MODES[name].items()}

    return fill


@pytest.mark.parametrize("name", MODES)
def test_the_same_bytes_from_any_number_of_workers(tmp_path, asked, name):
    for folder, seed, workers in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        sequence.make_sequence(
            tmp_path / folder / "seq",
            5,
            2,
            (128, 72),
            seed=seed,
            workers=workers,
            progress=False,
            **{"take": 1, **asked(name)},
        )
    a, b, c = (digest(tmp_path / folder) for folder in "abc")
    assert a == b and len(a) == 1 + 5 + 10 + 1
    assert not {k for k, v in a.items() if c.get(k) == v and k.endswith("jpg")}


@pytest.mark.parametrize("name", MODES)
def test_labels_hold_against_a_depth_buffer_and_both_readers(tmp_path, asked, name):
    """A seen joint has nothing of weight before it in the drawn depth, a hidden one has; readers
    agree to 1e-3 px."""
    out = tmp_path / "seq"
    config = {"take": 1, **asked(name)}
    sequence.make_sequence(out, 12, 2, SIZE, seed=5, workers=1, progress=False, **config)
    plan = sequence.SequenceConfig(
        12,
        2,
        SIZE,
        config["take"],
        5,
        config.get("mode", "dome"),
        config.get("empty", 0.0),
        str(config.get("motion", "")),
        config.get("step", 1),
        str(config.get("backgrounds", "")),
    )
    cameras = panoptic.read_calibration(out / "calibration_seq.json")
    facts = annotations(out)
    right = []
    outside = 0
    people_of: dict = {}
    for person in facts["annotations"]:
        people_of.setdefault(person["image_id"], []).append(person)
    for image in facts["images"]:
        number, moment = divmod(image["frame"], plan.take)
        stage = sequence._scene(plan, number)
        camera = cameras[image["camera"]]
        shapes = solids.merge(
            [p.solids_at(moment, i) for i, p in enumerate(stage.people)] + [stage.furniture]
        )
        depth, solid_index = render.nearest(
            solids.to_view(shapes, camera.R, camera.t), render.ray_grid(camera)
        )
        for label in people_of.get(image["id"], []):
            person = stage.people[label["body_id"]]
            flags = np.array(label["keypoints"]).reshape(17, 3)[:, 2]
            for k, joint in enumerate(COCO17.joints):
                world = person.joints()[moment][PANOPTIC19.index(joint)]
                z = (camera.R @ world + camera.t)[2]
                u, v = project(world, camera)
                inside = -0.5 <= u < SIZE[0] - 0.5 and -0.5 <= v < SIZE[1] - 0.5 and z > render.NEAR
                assert (flags[k] > 0) == inside
                if not inside:
                    outside += 1
                    continue
                c = round(u)
                r = round(v)
                margin = person.body.joint_margin[PANOPTIC19.index(joint)]
                before = np.linalg.norm(world - camera.position) * (
                    1 - depth[r, c] / z
                )  # cm of the ray still to go
                if (
                    abs(before - margin) > 1.5
                    and len(np.unique(solid_index[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2]))
                    == 1
                ):
                    right.append((flags[k] == 1) == (before > margin))
    assert len(right) > 60 and np.mean(right) > 0.995
    assert outside > 10 or name in ("dome", "motion", "photos")
    both = {}
    for sample in panoptic.read(out):
        both.setdefault(Path(sample.image).resolve(), []).append(sample.keypoints)
    compared = 0
    for sample in coco.read(
        out / "annotations" / "person_keypoints_seq.json", out, dataset="minidome"
    ):
        gaps = [
            np.abs(k - sample.keypoints)[sample.labelled].max()
            for k in both[Path(sample.image).resolve()]
        ]
        assert min(gaps) < 1e-3
        compared += 1
    assert compared == len(facts["annotations"]) > 10


def test_desk_shares(tmp_path):
    found = sequence.make_sequence(
        tmp_path / "desk", 60, 1, (160, 96), seed=3, progress=False, mode="desk", empty=0.3
    )
    assert (
        found["mode"] == "desk"
        and found["people_cut_off"] > 0.9
        and found["people_from_behind"] < 0.05
    )
    crowds = [
        len(json.loads(p.read_text())["bodies"])
        for p in sorted((tmp_path / "desk").glob("hdPose*/*.json"))
    ]
    assert 0.12 < np.mean(np.array(crowds) == 0) < 0.5 and max(crowds) == 2
    flags = np.array([a["keypoints"][2::3] for a in annotations(tmp_path / "desk")["annotations"]])
    seen = dict(zip(COCO17.joints, (flags > 0).mean(axis=0)))
    assert min(seen["left_shoulder"], seen["right_shoulder"]) > 0.75 and seen["nose"] > 0.6
    assert max(seen["left_ankle"], seen["right_ankle"], seen["left_knee"]) < 0.1, (
        "a webcam does not see legs"
    )
    assert 0.15 < (seen["left_wrist"] + seen["right_wrist"]) / 2 < 0.9, (
        "hands come into view at times"
    )
    assert (flags[:, 5:11] == 2).mean() > 0.3


def test_phone_shares(tmp_path):
    """People of every distance, upright before the camera; hands are in view, and as often above
    the elbow as below it."""
    found = sequence.make_sequence(
        tmp_path / "phone", 120, 1, (96, 128), seed=3, progress=False, mode="phone"
    )
    assert (
        found["mode"] == "phone"
        and 0.5 < found["people_cut_off"] < 0.98
        and found["people_from_behind"] < 0.05
    )
    people = annotations(tmp_path / "phone")["annotations"]
    joints = np.array([a["keypoints"] for a in people]).reshape(-1, 17, 3)
    seen = dict(zip(COCO17.joints, (joints[..., 2] > 0).mean(axis=0)))
    assert min(seen["nose"], seen["left_shoulder"], seen["right_shoulder"]) > 0.75
    assert (
        0.1 < seen["left_ankle"] < 0.6
        and 0.5 < (seen["left_wrist"] + seen["right_wrist"]) / 2 < 0.95
    )
    elbow, wrist = (
        [COCO17.index(f"{side}_{joint}") for side in ("left", "right")]
        for joint in ("elbow", "wrist")
    )
    both = (joints[:, elbow, 2] > 0) & (joints[:, wrist, 2] > 0)
    assert 0.35 < (joints[:, wrist, 1] < joints[:, elbow, 1])[both].mean() < 0.8
    heights = [a["bbox"][3] / 128 for a in people]
    assert np.quantile(heights, 0.1) < 0.6 and np.quantile(heights, 0.9) > 0.8


# ---- motion --------------------------------------------------------------------------------------


def cosines(
    clip: motion.Clip, figure: body.Body, axes: np.ndarray, origins: np.ndarray
) -> dict[str, np.ndarray]:
    """How well each limb of the dressed person points as the clip's, in the dome's directions (x
    and y turned round)."""
    made = figure.joints(axes, origins)
    out = {}
    for short, side in (("l_", "left_"), ("r_", "right_")):
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
            wanted = (clip.joints[:, J[short + b]] - clip.joints[:, J[short + a]]) * [-1, -1, 1]
            got = made[:, PANOPTIC19.index(side + b)] - made[:, PANOPTIC19.index(side + a)]
            lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(got, axis=1)
            out[side + b] = np.sum(wanted * got, axis=1) / lengths
    return out


def check_retarget(clip: motion.Clip) -> None:
    rng = np.random.default_rng(0)
    for height in (120, 190):
        build = clothes.BodyShape(height, 1.0, 0.0)
        figure = body.make_body(body.sample_bones(build, rng), build, rng)
        axes, origins, heading = motion.retarget(clip, figure.bones)
        assert (
            np.abs(axes.swapaxes(-1, -2) @ axes - np.eye(3)).max() < 1e-9
            and np.linalg.det(axes).min() > 0.999
        )
        for name, cosine in cosines(clip, figure, axes, origins).items():
            assert cosine.min() > 1 - 1e-9, name
        made = figure.joints(axes, origins)
        for a, b, length in (
            ("left_shoulder", "left_elbow", figure.bones.upper_arm),
            ("right_elbow", "right_wrist", figure.bones.forearm),
            ("left_hip", "left_knee", figure.bones.thigh),
            ("right_knee", "right_ankle", figure.bones.shin),
        ):
            span = np.linalg.norm(
                made[:, PANOPTIC19.index(a)] - made[:, PANOPTIC19.index(b)], axis=1
            )
            assert np.abs(span - length).max() < 1e-6, "the body keeps its own lengths"
        head = made[:, PANOPTIC19.index("nose")] - origins[:, FRAME["head"]]
        assert np.sum(head * clip.forward * [-1, -1, 1], axis=1).min() > 0, (
            "the nose is where the head looks"
        )
        # Left stays left: seen along the heading, the left shoulder and hip lie where the clip has
        # them.
        across = np.cross(
            np.stack([np.sin(np.deg2rad(heading)), 0 * heading, np.cos(np.deg2rad(heading))], 1),
            [0, 1, 0],
        )
        hips = made[:, PANOPTIC19.index("left_hip")] - made[:, PANOPTIC19.index("right_hip")]
        wanted = (clip.joints[:, J["l_hip"]] - clip.joints[:, J["r_hip"]]) * [-1, -1, 1]
        assert (np.sum(hips * wanted, axis=1) > 0).all()
        assert np.median(np.sum(hips * across, axis=1)) > 0 or np.median(np.abs(hips[:, 1])) > 10


def test_retargeting_keeps_directions_lengths_and_sides(clip_file):
    clips = motion.read_motion(clip_file)
    assert [len(c.joints) for c in clips] == [24, 24] and clips[0].fps == 30
    for clip in clips:
        check_retarget(clip)


def test_consecutive_frames_follow_the_motion(clip_file):
    cameras = dome.make_cameras(SIZE, 1)
    clips = tuple(motion.read_motion(clip_file))
    stage = scene.sample_scene(1, 3, 10, cameras, 2, scene.SceneConfig(clips, 1))
    for person in stage.people:
        assert person.action == {"legs": "motion"}
        steps = np.linalg.norm(np.diff(person.joints(), axis=0), axis=-1)
        assert 0.3 < steps.max() < 30, "it moves, and nothing jumps"
        raised = (
            person.joints()[:, PANOPTIC19.index("left_wrist"), 1]
            < person.joints()[:, PANOPTIC19.index("nose"), 1]
        )
        other = (
            person.joints()[:, PANOPTIC19.index("right_wrist"), 1]
            < person.joints()[:, PANOPTIC19.index("nose"), 1]
        )
        assert raised.all() or not raised.any(), "one clip from beginning to end"
        assert not other.any(), "only the left arm is ever raised"
    time = [motion.moments(clips[0], 6, 2, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(time[0], time[1]) and not np.array_equal(time[0], time[2])
    assert (
        np.allclose(np.diff(time[0]), 2 * 30 / 29.97) and time[0].min() >= 0 and time[0].max() <= 23
    )
    long = motion.moments(clips[0], 500, 1, np.random.default_rng(0))
    assert long.min() >= 0 and long.max() <= 23 and np.abs(np.diff(long)).max() < 1.01


def test_files_that_hold_no_motion_are_refused(tmp_path, clip_file):
    (tmp_path / "small.bvh").write_text("HIERARCHY")
    (tmp_path / "x.npz").write_bytes(b"nothing")
    (tmp_path / "x.txt").write_text("")
    with np.load(clip_file) as file:
        good = dict(file)
    np.savez(tmp_path / "short.npz", **{**good, "head_up": good["head_up"][:-1]})
    np.savez(tmp_path / "without.npz", **{k: v for k, v in good.items() if k != "head_forward"})
    np.savez(tmp_path / "nan.npz", **{**good, "joints": good["joints"] * np.nan})
    np.savez(tmp_path / "flat.npz", **{**good, "joints": good["joints"] * 0})
    np.savez(tmp_path / "names.npz", **{**good, "joint_names": np.array(["a"] * 17)})
    for name, says in (
        ("x.npz", "no npz"),
        ("x.txt", "not a motion file"),
        ("none.npz", "cannot read"),
        ("small.bvh", "convert BVH"),
        ("short.npz", "head_up"),
        ("without.npz", "head_forward"),
        ("nan.npz", "finite"),
        ("flat.npz", "no direction"),
        ("names.npz", "joint_names"),
    ):
        with pytest.raises(DataError, match=says) as error:
            sequence.make_sequence(
                tmp_path / "out", 1, 1, (64, 48), workers=1, progress=False, motion=tmp_path / name
            )
        assert name in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["poses_open.npz", "poses_bandai_nc.npz"])
def test_the_collections_of_real_motion(realdata, name):
    clips = motion.read_motion(realdata / "mocap" / name)
    assert len(clips) == {"poses_open.npz": 72, "poses_bandai_nc.npz": 384}[name]
    for clip in clips[::24]:
        check_retarget(motion.at_moments(clip, np.linspace(0, len(clip.joints) - 1, 12)))


# ---- photos --------------------------------------------------------------------------------------


def test_photos_stand_behind_the_same_people(tmp_path, photos):
    plain = sequence.SequenceConfig(6, 2, SIZE, 1, 7)
    before = sequence.SequenceConfig(6, 2, SIZE, 1, 7, backgrounds=str(photos))
    hues = set()
    shadow = []
    for frame in range(6):
        a = sequence.render_frame(plain, frame)
        b = sequence.render_frame(before, frame)
        assert a[0] == b[0], "nobody moves when a photo stands behind"
        stage = sequence._scene(before, frame)
        for name, picture, _ in b[1]:
            camera = dome.make_cameras(SIZE, 7)[name]
            shapes = solids.merge(
                [p.solids_at(0, i) for i, p in enumerate(stage.people)] + [stage.furniture]
            )
            _, solid_index = render.nearest(
                solids.to_view(shapes, camera.R, camera.t), render.ray_grid(camera)
            )
            behind = picture[
                cv2.erode((solid_index < 0).astype(np.uint8), np.ones((5, 5))) > 0
            ].astype(float)
            mean = behind.mean(axis=0)
            hues.add(int(np.argmax(mean)))
            assert mean.max() > 1.5 * mean.min(), "the photo's colour fills what is not a person"
            shadow.append(
                np.quantile(behind[:, int(np.argmax(mean))], 0.01)
                / np.median(behind[:, int(np.argmax(mean))])
            )
    assert len(hues) > 1, "not always the same photo"
    assert min(shadow) < 0.75, "people throw a shadow on the ground of the photo"


def test_photos_are_taken_by_name_and_cut_to_size(photos):
    files = backdrop.list_photos(photos)
    assert [p.name for p in files] == ["0.jpg", "1.jpg", "2.jpg"]
    for size in ((64, 48), (300, 20), (20, 300)):
        found = backdrop.behind(files, size, np.ones(3), np.random.default_rng(0))
        assert found.shape == (size[1], size[0], 3) and found.dtype == np.uint8


def test_bad_photos_are_named(tmp_path):
    make = lambda folder: sequence.make_sequence(  # noqa: E731
        tmp_path / "out", 2, 1, (64, 48), workers=1, progress=False, backgrounds=folder
    )
    with pytest.raises(DataError, match="nowhere"):
        make(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photos"):
        make(tmp_path / "empty")
    (tmp_path / "empty" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="torn.jpg"):
        make(tmp_path / "empty")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"mode": "sofa"}, "sofa"), ({"empty": 1.5}, "1.5"), ({"step": 0}, "step")],
)
def test_bad_wishes(tmp_path, arguments, says):
    with pytest.raises(DataError, match=says):
        sequence.make_sequence(tmp_path / "out", 1, progress=False, **arguments)
    assert not list(tmp_path.iterdir())
