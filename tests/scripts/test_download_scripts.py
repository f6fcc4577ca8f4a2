"""The command lines `download_panoptic.py` and `download_coco.py`, end to end against a real,
failing server.
"""

import contextlib
import importlib.util
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_data
from faulty_server import Fault, FaultyServer

from posekit import records
from posekit.datasets import coco, panoptic
from posekit.errors import DataError
from posekit.images import encode_jpeg, read_image

ROOT = Path(__file__).parents[2]


posix = pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "data_scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


download_panoptic = load("download_panoptic")
download_coco = load("download_coco")
QUICK = ("--tries", "3", "--timeout", "10", "--wait", "0.01")


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file, but the lock; the manifest without what differs from run to run."""
    files = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    for name in [name for name in files if name.endswith("downloads.json")]:
        entries = json.loads(files[name])["files"]
        stripped = {
            k: {a: b for a, b in v.items() if a not in ("fetched", "url")}
            for k, v in entries.items()
        }
        files[name] = json.dumps(stripped, sort_keys=True).encode()
    return {name: data for name, data in files.items() if not name.endswith(".downloads.lock")}


def requests_of(server: FaultyServer) -> list[str]:
    paths = [seen.path for seen in server.seen]
    server.seen.clear()
    return paths


def next_command(out: str) -> list[str]:
    return shlex.split(re.search(r"^next: (.*)$", out, re.M)[1])


# ---- Panoptic ------------------------------------------------------------------------------------

SEQ = "160906_band1"
FRAMES = 40
SIZE = (160, 120)
PLACES = {
    "00_00": (0, -150, -300),
    "00_01": (30, -150, -300),
    "00_02": (60, -160, -290),
    "00_03": (0, -150, 300),
}
REMOTE = f"/webdata/dataset/{SEQ}"


def barcode(frame: int) -> np.ndarray:
    """A picture that shows its number in eight bars, the lowest bit at the left."""
    bits = (frame >> np.arange(8)) & 1
    return np.repeat(
        np.repeat((40 + 180 * bits).astype(np.uint8), SIZE[0] // 8)[None, :, None], SIZE[1], 0
    ).repeat(3, 2)


def number_on(photo: Path) -> int:
    bars = read_image(photo).mean(axis=(0, 2)).reshape(8, -1)[:, 4:-4].mean(axis=1)
    return int(((bars > 130) << np.arange(8)).sum())


def video(path: Path, codec: str = "mp4v", frames: int = FRAMES) -> bytes:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 29.97, SIZE)
    for frame in range(frames):
        writer.write(barcode(frame))
    writer.release()
    return path.read_bytes()


def poses_tar(
    folder: str = "hdPose3d_stage1_coco19", frames=range(3, 37), evil: str | None = None
) -> bytes:
    """3D poses of most frames, as the servers have them; `evil` is one more member's name."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for frame in frames:
            joints = np.full((19, 4), 0.9)
            joints[:, :3] = np.random.default_rng(frame).uniform(
                (-40, -160, -40), (40, -20, 40), (19, 3)
            )
            body = {"id": 0, "joints19": joints.ravel().round(3).tolist()}
            data = json.dumps(
                {"version": 0.7, "univTime": 0.0, "fpsType": "hd_29_97", "bodies": [body]}
            ).encode()
            info = tarfile.TarInfo(f"{folder}/body3DScene_{frame:08d}.json")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if evil:
            archive.addfile(tarfile.TarInfo(evil))
    return file.getvalue()


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> dict[str, bytes]:
    """path on the server -> bytes of one sequence: four cameras, 40 frames, poses of frames 3 to
    36.
    """
    entries = [tiny_data.camera_entry(name, place) for name, place in PLACES.items()]
    entries.append(tiny_data.camera_entry("01_01", (0, -120, 300)))
    files = {
        f"calibration_{SEQ}.json": json.dumps(
            {"calibDataSource": "made", "cameras": entries}
        ).encode()
    }
    files["hdPose3d_stage1_coco19.tar"] = poses_tar()
    made = video(tmp_path_factory.mktemp("video") / "made.mp4")
    files |= {f"videos/hd_shared_crf20/hd_{name}.mp4": made for name in PLACES}
    return {f"{REMOTE}/{name}": data for name, data in files.items()}


@pytest.fixture
def cmu(sequence):
    with FaultyServer(sequence) as running:
        yield running


def run_panoptic(server: FaultyServer, out: Path, *arguments, sequences=(SEQ,), accept=True) -> int:
    command = [
        *sequences,
        "--out",
        str(out),
        "--base-url",
        server.url,
        *QUICK,
        *map(str, arguments),
    ]
    return download_panoptic.main([*command, *(["--accept-licence"] if accept else [])])


def photos(out: Path) -> dict[str, list[int]]:
    """camera -> frame numbers, by the files' names; each photo must show its own number."""
    found = {}
    for photo in sorted((out / SEQ / "hdImgs").rglob("*.jpg")):
        camera = photo.stem[:5]
        frame = int(photo.stem[6:])
        assert photo.name == f"{camera}_{frame:08d}.jpg" and photo.parent.name == camera
        assert number_on(photo) == frame, photo
        found.setdefault(camera, []).append(frame)
    return found


def test_a_sequence_comes_complete_and_is_read(tmp_path, cmu, capsys):
    assert run_panoptic(cmu, tmp_path, "--hd-cameras", 2, "--frames", "0:30:5") == 0
    out = capsys.readouterr().out
    assert "non-commercial and research purposes only" in out
    assert photos(tmp_path) == {camera: [5, 10, 15, 20, 25] for camera in ("00_00", "00_03")}
    people = list(panoptic.read(tmp_path / SEQ))
    assert len(people) == 10 and {p.source_id for p in people} >= {f"{SEQ}/00_03_00000025"}
    names = {name.split("/")[0] for name in tree(tmp_path / SEQ)}
    assert names == {
        f"calibration_{SEQ}.json",
        "hdPose3d_stage1_coco19",
        "hdImgs",
        "downloads.json",
    }
    asked = requests_of(cmu)
    assert len(asked) == 4 and not any("00_01" in path or "00_02" in path for path in asked), (
        "the far cameras"
    )
    assert (
        run_panoptic(cmu, tmp_path, "--hd-cameras", 2, "--frames", "0:30:5") == 0
        and requests_of(cmu) == []
    )

    _, script, *arguments = next_command(out)
    assert script == "data_scripts/build_tfrecords.py"
    command = [sys.executable, ROOT / script, *arguments, "--workers", "1", "--shards", "1"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert records.read_manifest(tmp_path / "records" / SEQ)["people"] == 10


def test_more_frames_and_cameras_later_fetch_only_what_they_need(tmp_path, cmu):
    run_panoptic(cmu, tmp_path, "--hd-cameras", 1, "--frames", "4:8:2", "--keep-videos")
    requests_of(cmu)
    assert run_panoptic(cmu, tmp_path, "--hd-cameras", 1, "--frames", "4:12:2") == 0
    assert requests_of(cmu) == [] and photos(tmp_path) == {"00_00": [4, 6, 8, 10]}
    assert run_panoptic(cmu, tmp_path, "--cameras", "00_02,00_00", "--frames", "10") == 0
    assert requests_of(cmu) == [f"{REMOTE}/videos/hd_shared_crf20/hd_00_02.mp4"]
    assert photos(tmp_path) == {"00_00": [4, 6, 8, 10], "00_02": [10]}
    assert not (tmp_path / SEQ / "hdVideos" / "hd_00_00.mp4").exists(), (
        "extracted without --keep-videos"
    )


def test_all_frames_with_poses_are_exact(tmp_path, cmu):
    assert run_panoptic(cmu, tmp_path, "--hd-cameras", 1, "--frames", "::1") == 0
    assert photos(tmp_path) == {"00_00": list(range(3, 37))}


def test_poses_behind_the_videos_end_are_told(tmp_path, cmu, sequence, capsys):
    cmu.files = sequence | {f"{REMOTE}/hdPose3d_stage1_coco19.tar": poses_tar(frames=range(30, 50))}
    assert run_panoptic(cmu, tmp_path, "--hd-cameras", 1, "--frames", "::5") == 0
    assert "camera 00_00 ends at frame 40, 2 poses have no image" in capsys.readouterr().out
    assert photos(tmp_path) == {"00_00": [30, 35]}
    requests_of(cmu)
    assert (
        run_panoptic(cmu, tmp_path, "--hd-cameras", 1, "--frames", "::5") == 0
        and requests_of(cmu) == []
    )
    assert run_panoptic(cmu, tmp_path, "--hd-cameras", 1, "--frames", "40:") == 2
    assert "0 images, expected 0; the video has 40 frames" in capsys.readouterr().err


def test_the_older_poses_are_taken_where_the_newer_are_missing(tmp_path, cmu, capsys):
    del cmu.files[f"{REMOTE}/hdPose3d_stage1_coco19.tar"]
    cmu.files[f"{REMOTE}/hdPose3d_stage1.tar"] = poses_tar("hdPose3d_stage1/hd_30")
    for _ in range(2):
        assert run_panoptic(cmu, tmp_path, "--hd-cameras", 1, "--frames", "5") == 0
    assert len(list((tmp_path / SEQ / "hdPose3d_stage1").glob("body3DScene_*.json"))) == 34
    assert "trying the older hdPose3d_stage1.tar" in capsys.readouterr().err
    assert requests_of(cmu).count(f"{REMOTE}/hdPose3d_stage1.tar") == 1
    del cmu.files[f"{REMOTE}/hdPose3d_stage1.tar"]
    assert run_panoptic(cmu, tmp_path / "none", "--hd-cameras", 1) == 2
    assert "hdPose3d_stage1.tar has no such file (404)" in capsys.readouterr().err


def test_every_file_fails_in_every_way_and_still_all_comes(tmp_path, cmu, sequence):
    for path, data in sequence.items():
        short = len(data) // 2
        cmu.faults[path] = [
            Fault(status=503),
            Fault(cut=short, reset=True),
            Fault(cut=short // 2),
            Fault(status=500),
        ]
    assert run_panoptic(cmu, tmp_path / "bad", "--hd-cameras", 2, "--tries", 9) == 0
    assert run_panoptic(cmu, tmp_path / "good", "--hd-cameras", 2) == 0
    assert tree(tmp_path / "bad") == tree(tmp_path / "good")


def test_mirrors_stand_in(tmp_path, cmu, sequence):
    with FaultyServer() as first:
        first.always = {path: Fault(status=502) for path in sequence}
        assert (
            run_panoptic(
                first, tmp_path, "--mirror", f"{cmu.url}/", "--hd-cameras", 1, "--frames", "9"
            )
            == 0
        )
        assert len(first.seen) == 3
    assert photos(tmp_path) == {"00_00": [9]}


def test_a_camera_without_video_is_replaced_or_missed(tmp_path, cmu, capsys):
    del cmu.files[f"{REMOTE}/videos/hd_shared_crf20/hd_00_03.mp4"]
    assert run_panoptic(cmu, tmp_path, "--hd-cameras", 2, "--frames", "9") == 0
    assert photos(tmp_path) == {"00_00": [9], "00_02": [9]}
    assert "camera 00_03 is left out: " in capsys.readouterr().err
    assert run_panoptic(cmu, tmp_path, "--cameras", "00_03,00_01", "--frames", "9") == 2
    assert photos(tmp_path)["00_01"] == [9], "the others come all the same"
    assert "all but 00_03" in capsys.readouterr().err
    assert run_panoptic(cmu, tmp_path, "--hd-cameras", 4, "--frames", "9") == 2
    assert run_panoptic(cmu, tmp_path, "--cameras", "00_30", "--frames", "9") == 2
    assert f"calibration_{SEQ}.json has no 00_30" in capsys.readouterr().err


def test_a_truncated_video_names_file_and_frame(tmp_path, cmu, capsys):
    """An AVI under the name: its length stands at the start, so that it opens, and ends early."""
    whole = video(tmp_path / "made.avi", "MJPG")
    path = f"{REMOTE}/videos/hd_shared_crf20/hd_00_00.mp4"
    cmu.files[path] = whole[: len(whole) * 6 // 10]
    assert run_panoptic(cmu, tmp_path, "--hd-cameras", 1, "--frames", "::4") == 2
    told = capsys.readouterr().err
    last = int(
        re.search(
            r"hd_00_00\.mp4, frame (\d+): cannot be decoded, though .* it has 40 frames", told
        )[1]
    )
    assert 15 < last < 30 and photos(tmp_path) == {"00_00": list(range(4, last, 4))}
    cmu.files[path] = video(tmp_path / "made.mp4")[:3000]
    assert run_panoptic(cmu, tmp_path / "x", "--hd-cameras", 1) == 2
    assert "hd_00_00.mp4: cannot be opened as a video" in capsys.readouterr().err


def test_a_frame_that_cannot_be_decoded_is_named(tmp_path, monkeypatch):
    class Broken:
        """A video of 40 frames whose ninth is noise."""

        grabbed = released = 0

        def __init__(self, path):
            made.append(self)

        def isOpened(self):
            return True

        def get(self, what):
            return 40.0

        def grab(self):
            self.grabbed += 1
            return True

        def retrieve(self):
            return (False, None) if self.grabbed == 9 else (True, barcode(self.grabbed - 1))

        def release(self):
            self.released += 1

    made = []
    monkeypatch.setattr(cv2, "VideoCapture", Broken)
    with pytest.raises(DataError, match=r"made\.mp4, frame 8: cannot be decoded"):
        download_panoptic.extract_frames(
            tmp_path / "made.mp4", [4, 8, 12], lambda frame: tmp_path / "photos" / f"{frame}.jpg"
        )
    assert made[0].released == 1
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["4.jpg"]


@pytest.mark.parametrize(
    "evil", ["../../evil/body3DScene_00000001.json", "/tmp/body3DScene_00000001.json"]
)
def test_an_archive_that_leaves_the_folder_is_refused(tmp_path, cmu, evil, capsys):
    cmu.files[f"{REMOTE}/hdPose3d_stage1_coco19.tar"] = poses_tar(evil=evil)
    assert run_panoptic(cmu, tmp_path) == 2
    assert "its path leaves the folder" in capsys.readouterr().err
    assert set(tree(tmp_path / SEQ)) == {
        f"calibration_{SEQ}.json",
        "hdPose3d_stage1_coco19.tar",
        "downloads.json",
    }


def test_what_is_no_calibration_and_no_pose_archive_is_told(tmp_path, cmu, capsys):
    cmu.faults[f"{REMOTE}/calibration_{SEQ}.json"] = [Fault(body=b'{"cameras": 1}')] * 2
    assert run_panoptic(cmu, tmp_path) == 2
    assert "not a Panoptic calibration" in capsys.readouterr().err
    cmu.faults[f"{REMOTE}/hdPose3d_stage1_coco19.tar"] = [Fault(body=poses_tar(frames=()))]
    assert run_panoptic(cmu, tmp_path) == 2
    assert "body3DScene_*.json in 0 folders" in capsys.readouterr().err


def test_one_sequence_that_fails_does_not_stop_the_others(tmp_path, cmu, capsys):
    names = ("170407_office1", SEQ)
    assert run_panoptic(cmu, tmp_path, "--hd-cameras", 1, "--frames", "9", sequences=names) == 2
    err = capsys.readouterr().err
    assert (
        "170407_office1: not among the 84 sequences of --list; did you mean 170407_office2?" in err
    )
    assert err.rstrip().endswith(
        "error: not complete: 170407_office1; the same command tries again"
    )
    assert photos(tmp_path) == {"00_00": [9]}


@pytest.mark.parametrize("name", ["../up", "a/b", "", "."])
def test_what_is_no_sequence_is_refused(tmp_path, cmu, name, capsys):
    assert run_panoptic(cmu, tmp_path, sequences=(name,)) == 2
    assert "is not a name of a sequence" in capsys.readouterr().err and cmu.seen == []


def test_a_script_is_shown_the_terms_and_not_asked(tmp_path, cmu, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert run_panoptic(cmu, tmp_path, "--hd-cameras", 1, "--frames", "9", accept=False) == 0
    out = capsys.readouterr().out
    assert "non-commercial" in out and "means that you accept these terms" in out


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 2), ("no\n", 2), ("\x04", 2)])
def test_at_a_terminal_it_asks(tmp_path, cmu, answer, code):
    pty = pytest.importorskip("pty")
    ours, its = pty.openpty()
    command = [
        sys.executable,
        ROOT / "data_scripts/download_panoptic.py",
        SEQ,
        "--out",
        tmp_path,
        "--frames",
        "9",
    ]
    command += ["--base-url", cmu.url, "--hd-cameras", "1", *QUICK]
    process = subprocess.Popen(
        command, stdin=its, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    os.write(ours, answer.encode())
    told, _ = process.communicate(timeout=60)
    os.close(ours)
    os.close(its)
    assert process.returncode == code and "Do you accept these terms? [y/N]" in told, told
    assert bool(cmu.seen) == (code == 0)


def test_the_list_has_the_84_sequences(capsys):
    assert download_panoptic.main(["--list"]) == 0
    out = capsys.readouterr().out
    names = re.findall(r"^  (\d{6}_[a-z]+(?:_[a-z]\d)?\d?)$", out, re.M)
    assert len(names) == len(set(names)) == 84 and "84 sequences, as in github.com/CMU" in out
    counts = {kind: len(names.split()) for kind, names in download_panoptic.SEQUENCES.items()}
    assert counts["haggling"] == 30 and counts["range of motion"] == 9


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("0:10:3", [0, 3, 6, 9]),
        ("2:4", [2, 3]),
        (":3", [0, 1, 2]),
        ("::2", [0, 2, 4]),
        ("4:", [4, 5]),
        ("5", [5]),
        (":", [0, 1, 2, 3, 4, 5]),
        ("1::", [1, 2, 3, 4, 5]),
    ],
)
def test_ranges_of_frames(text, frames):
    chosen = download_panoptic.frame_range(text)
    assert [frame for frame in range(100) if frame in chosen][: len(frames)] == frames
    assert text in ("::2", "4:", ":", "1::") or len(chosen) == len(frames)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a range of frames"),
        ("a:b", "is not a range of frames"),
        ("1:2:3:4", "is not a range of frames"),
        ("1.5:3", "is not a range of frames"),
        ("-", "is not a range of frames"),
        ("-5:10", "frames count from 0"),
        ("5:-1", "frames count from 0"),
        ("::-1", "frames count from 0"),
        ("0:9:0", "the step must be at least 1"),
        ("5:5", "holds no frame: 5 is not after 5"),
        ("7:3", "holds no frame: 3 is not after 7"),
        (":0", "holds no frame"),
    ],
)
def test_ranges_that_make_no_sense_are_told(text, told, capsys):
    with pytest.raises(SystemExit) as left:
        download_panoptic.main([SEQ, "--out", "x", f"--frames={text}"])
    assert left.value.code == 2 and told in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [SEQ],
        ["--out", "x"],
        [SEQ, "--out", "x", "--hd-cameras", "0"],
        [SEQ, "--out", "x", "--hd-cameras", "32"],
        [SEQ, "--out", "x", "--cameras", "00_0"],
        [SEQ, "--out", "x", "--cameras", ""],
        [SEQ, "--out", "x", "--cameras", "00_00", "--hd-cameras", "2"],
    ],
)
def test_command_lines_that_make_no_sense_are_told(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        download_panoptic.main(arguments)
    assert left.value.code == 2 and re.search(
        r"error: .*(expected|give|not allowed)", capsys.readouterr().err
    )


def test_network_options_that_make_no_sense_are_told(tmp_path, cmu, capsys):
    for option, value in (("--tries", 0), ("--timeout", 0), ("--wait", -1)):
        assert run_panoptic(cmu, tmp_path, option, value) == 2
        assert "--tries, --timeout, --wait" in capsys.readouterr().err


def test_cameras_in_the_same_place_do_not_trouble_the_choice(tmp_path, sequence):
    (tmp_path / "calibration.json").write_bytes(sequence[f"{REMOTE}/calibration_{SEQ}.json"])
    calibration = panoptic.read_calibration(tmp_path / "calibration.json")
    assert download_panoptic.spread(calibration) == ["00_00", "00_03", "00_02", "00_01"]
    doubled = dict.fromkeys(("00_00", "00_01", "00_02"), calibration["00_00"])
    assert sorted(download_panoptic.spread(doubled)) == ["00_00", "00_01", "00_02"]
    assert download_panoptic.spread({}) == []


def test_no_frame_with_poses_is_told(tmp_path, cmu, capsys):
    assert run_panoptic(cmu, tmp_path, "--frames", "100:") == 2
    assert "its poses are of frames 3 to 36" in capsys.readouterr().err


@pytest.mark.realdata
def test_the_first_cameras_see_from_all_around(realdata):
    """The five cameras chosen first stand further apart than the first five by number, and further
    than most choices.
    """
    calibration = panoptic.read_calibration(realdata / "panoptic" / SEQ / f"calibration_{SEQ}.json")
    order = download_panoptic.spread(calibration)
    assert sorted(order) == [f"00_{node:02d}" for node in range(31)]

    def nearest(names) -> float:
        centres = np.array([-calibration[name].R.T @ calibration[name].t for name in names])
        return min(np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i])

    rng = np.random.default_rng(0)
    others = [nearest(rng.choice(order, 5, replace=False)) for _ in range(300)]
    assert nearest(order[:5]) > max(nearest(sorted(order)[:5]), np.quantile(others, 0.99))


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["head-pose-face-detection-male.mp4", "asl_again.mkv"])
def test_frames_of_h264_are_exact(realdata, tmp_path, name):
    """Against reading every frame. The second clip says that it has 78 frames, and has 77."""
    capture = cv2.VideoCapture(str(realdata / "clips" / name))
    every = []
    while (read := capture.read())[0]:
        every.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    wanted = [0, 1, 7, 30, len(every) - 1, len(every), len(every) + 50]
    count = download_panoptic.extract_frames(
        realdata / "clips" / name, wanted, lambda n: tmp_path / f"{n}.jpg"
    )
    assert count == len(every)
    assert {int(p.stem): p.read_bytes() for p in tmp_path.iterdir()} == {
        n: encode_jpeg(every[n]) for n in wanted[:5]
    }


def bytes_there(out: Path, watch: str) -> int:
    total = 0
    for path in out.glob(watch):
        with contextlib.suppress(FileNotFoundError):  # renamed while we look
            total += path.stat().st_size
    return total


def kill_and_resume(command: list, out: Path, watch: str, times: int, server: FaultyServer) -> None:
    """Kill -9 the command line when new bytes have come, some times over; then mend the server and
    let it end.
    """
    seen = 0
    for _ in range(times):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 30
        while bytes_there(out, watch) <= seen and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it was too fast to be killed"
        seen = bytes_there(out, watch)
    server.faults.clear()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@posix
def test_panoptic_killed_and_run_again_gives_the_same_bytes(tmp_path, cmu):
    path = f"{REMOTE}/videos/hd_shared_crf20/hd_00_00.mp4"
    cmu.files[path] = video(tmp_path / "long.mp4", frames=200) + bytes(300_000)
    cmu.faults[path] = [Fault(cut=150_000, stall=60)] * 2
    arguments = ["--hd-cameras", "2", "--accept-licence", "--base-url", cmu.url, *QUICK]
    command = [
        sys.executable,
        ROOT / "data_scripts/download_panoptic.py",
        SEQ,
        "--out",
        tmp_path / "killed",
        *arguments,
    ]
    kill_and_resume(command, tmp_path / "killed", f"{SEQ}/hdVideos/hd_00_00.mp4.part", 2, cmu)
    assert [bool(seen.headers.get("Range")) for seen in cmu.requests(path)] == [False, True, True]
    assert run_panoptic(cmu, tmp_path / "whole", "--hd-cameras", 2) == 0
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


# ---- COCO ----------------------------------------------------------------------------------------

ZIP = "/annotations/annotations_trainval2017.zip"


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> dict:
    """12 photos: 1 to 8 with two people each, 9 with nobody, 10 with a crowd, 11 with one
    unlabelled person, 12 with one.
    """
    root = tmp_path_factory.mktemp("coco")
    path, data = tiny_data.coco(root, photos=12, people=2, split="val")
    for annotation in data["annotations"]:
        photo = annotation["image_id"]
        if photo == 10:
            annotation["iscrowd"] = 1
        if photo == 11:
            annotation |= {"num_keypoints": 0, "keypoints": [0] * 51}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] != 9]
    for image in data["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image['file_name']}"
    content = json.dumps(data).encode()
    jpegs = {f"val2017/{p.name}": p.read_bytes() for p in (root / "val2017").iterdir()}
    other = {
        f"annotations/{name}.json": b"{}"
        for name in ("captions_val2017", "person_keypoints_train2017")
    }
    files = {ZIP: zipped(other | {"annotations/person_keypoints_val2017.json": content})}
    files["/zips/val2017.zip"] = zipped({"val2017/": b""} | jpegs)
    return {
        "json": content,
        "data": data,
        "files": files | {f"/{name}": data for name, data in jpegs.items()},
    }


@pytest.fixture
def aws(official):
    with FaultyServer(official["files"]) as running:
        yield running


def run_coco(server: FaultyServer, out: Path, *arguments) -> int:
    command = [
        "--split",
        "val",
        "--out",
        out,
        "--base-url",
        server.url,
        "--unofficial",
        *QUICK,
        *arguments,
    ]
    return download_coco.main([str(word) for word in command])


def coco_photos(out: Path) -> list[int]:
    """Ids of the photos that are there; the annotation file must list just these."""
    there = sorted(int(photo.stem) for photo in (out / "val2017").iterdir())
    listed = json.loads((out / "annotations/person_keypoints_val2017.json").read_bytes())
    assert sorted(image["id"] for image in listed["images"]) == there
    assert {annotation["image_id"] for annotation in listed["annotations"]} <= set(there)
    return there


def people(out: Path) -> list[str]:
    return [sample.person_id for sample in coco.read(*coco.find(out, "val"), split="val")]


def test_a_whole_split_comes_as_the_official_one(tmp_path, aws, official, capsys):
    assert run_coco(aws, tmp_path) == 0
    assert requests_of(aws) == [ZIP, "/zips/val2017.zip"]
    assert (tmp_path / "annotations/person_keypoints_val2017.json").read_bytes() == official["json"]
    assert {
        f"/val2017/{p.name}": p.read_bytes() for p in (tmp_path / "val2017").iterdir()
    }.items() <= (official["files"].items())
    assert coco_photos(tmp_path) == list(range(1, 13)) and len(people(tmp_path)) == 18
    expected = {
        "annotations",
        "val2017",
        "annotations_trainval2017.zip",
        "downloads.json",
        ".downloads.lock",
    }
    assert {path.name for path in tmp_path.iterdir()} == expected
    out = capsys.readouterr().out
    assert "CC BY 4.0" in out and "12 of the split's 12 images" in out
    assert run_coco(aws, tmp_path) == 0 and requests_of(aws) == []

    _, script, *arguments = next_command(out)
    command = [sys.executable, ROOT / script, *arguments, "--workers", "1", "--shards", "1"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert records.read_manifest(tmp_path / "records/coco-val")["people"] == 18


def test_people_only_leaves_out_who_has_no_labelled_joint(tmp_path, aws, official):
    assert run_coco(aws, tmp_path, "--people-only") == 0
    assert coco_photos(tmp_path) == [1, 2, 3, 4, 5, 6, 7, 8, 12]
    assert people(tmp_path) == people_of(official)
    assert "/zips/val2017.zip" not in requests_of(aws)
    assert run_coco(aws, tmp_path, "--people-only") == 0 and requests_of(aws) == []
    assert run_coco(aws, tmp_path) == 0, "and later all of them"
    assert (tmp_path / "annotations/person_keypoints_val2017.json").read_bytes() == official["json"]


def people_of(official: dict) -> list[str]:
    return [
        f"{a['image_id']:012d}/{a['id']}"
        for a in official["data"]["annotations"]
        if a["num_keypoints"] and not a["iscrowd"]
    ]


def test_a_limit_is_a_fair_choice_that_grows(tmp_path, aws):
    chosen = {}
    for limit in (3, 6):
        for seed in (0, 1):
            out = tmp_path / f"{limit}-{seed}"
            assert run_coco(aws, out, "--limit", limit, "--seed", seed) == 0
            chosen[limit, seed] = set(coco_photos(out))
            assert len(chosen[limit, seed]) == limit
    assert (
        chosen[3, 0] < chosen[6, 0] and chosen[3, 1] < chosen[6, 1] and chosen[6, 0] != chosen[6, 1]
    )
    requests_of(aws)
    assert run_coco(aws, tmp_path / "3-0", "--limit", 6) == 0
    assert set(coco_photos(tmp_path / "3-0")) == chosen[6, 0] and len(requests_of(aws)) == 3
    assert run_coco(aws, tmp_path / "3-0", "--limit", 3) == 0
    assert set(coco_photos(tmp_path / "3-0")) == chosen[6, 0], (
        "a smaller choice hides nothing that is there"
    )
    assert run_coco(aws, tmp_path / "few", "--limit", 99, "--people-only") == 0
    assert coco_photos(tmp_path / "few") == [1, 2, 3, 4, 5, 6, 7, 8, 12]


def test_photos_that_fail_are_listed_after_all_others_came(tmp_path, aws, capsys):
    def path(number: int) -> str:
        return f"/val2017/{number:012d}.jpg"

    good = dict(aws.files)
    del aws.files[path(2)]
    aws.files[path(3)] = encode_jpeg(np.zeros((60, 80, 3), np.uint8))
    aws.files[path(4)] = good[path(4)][:-400]
    aws.files[path(5)] = b""
    aws.faults[path(6)] = [Fault(cut=500), Fault(status=503)]
    aws.faults[path(7)] = [Fault(body=b"<html>busy", headers={"Content-Type": "text/html"})]
    assert run_coco(aws, tmp_path, "--people-only", "--workers", "3") == 2
    assert coco_photos(tmp_path) == [1, 6, 8, 12]
    told = capsys.readouterr().err
    assert (
        len(re.findall(r"^error: .*0000000(?:2|3|4|5|7)\.jpg: could not be fetched", told, re.M))
        == 5
    )
    for reason in (
        "404",
        "is 80x60, the annotations say 160x120",
        "truncated",
        "is empty",
        "web page",
    ):
        assert reason in told
    assert told.rstrip().endswith(
        "error: 5 images could not be fetched; the same command tries again"
    )
    aws.files = good
    requests_of(aws)
    assert run_coco(aws, tmp_path, "--people-only") == 0
    assert sorted(requests_of(aws)) == [path(n) for n in (2, 3, 4, 5, 7)]
    assert coco_photos(tmp_path) == [1, 2, 3, 4, 5, 6, 7, 8, 12]


def test_a_dead_server_is_noticed_soon(tmp_path, official, monkeypatch, capsys):
    monkeypatch.setattr(download_coco, "MAX_FAILURES_IN_A_ROW", 4)
    with FaultyServer({ZIP: official["files"][ZIP]}) as server:
        assert run_coco(server, tmp_path, "--people-only", "--workers", "1") == 2
    assert "4 images in a row could not be fetched; the last: " in capsys.readouterr().err


def test_annotations_that_were_there_are_not_overwritten(tmp_path, aws, capsys):
    own = tmp_path / "annotations/person_keypoints_val2017.json"
    own.parent.mkdir()
    own.write_text("my work")
    assert run_coco(aws, tmp_path, "--limit", 2) == 2
    assert "not as this script has written it" in capsys.readouterr().err
    assert own.read_text() == "my work" and aws.seen == []
    own.unlink()
    assert run_coco(aws, tmp_path, "--limit", 2) == 0
    own.write_bytes(own.read_bytes() + b" ")
    assert run_coco(aws, tmp_path, "--limit", 3) == 2, "changed by hand"


def test_only_the_official_archives_are_accepted_unless_told(tmp_path, aws, capsys):
    command = ["--split", "val", "--out", str(tmp_path), "--base-url", aws.url, *QUICK]
    assert download_coco.main(command) == 2
    assert "bytes, expected 252,907,541" in capsys.readouterr().err
    assert not (tmp_path / "annotations_trainval2017.zip").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"file_name": "../../evil.jpg"}, "is not a plain name of a JPEG"),
        ({"file_name": "evil.sh"}, "is not a plain name of a JPEG"),
        ({"width": None}, "not COCO keypoint annotations"),
    ],
)
def test_annotations_that_cannot_be_are_told(tmp_path, aws, official, change, told, capsys):
    data = json.loads(official["json"])
    data["images"][0] |= change
    aws.files[ZIP] = zipped(
        {"annotations/person_keypoints_val2017.json": json.dumps(data).encode()}
    )
    assert run_coco(aws, tmp_path, "--people-only") == 2
    assert told in capsys.readouterr().err
    aws.files[ZIP] = zipped({"annotations/captions_val2017.json": b"{}"})
    assert run_coco(aws, tmp_path / "x", "--people-only") == 2
    assert "holds 0 files person_keypoints_val2017.json" in capsys.readouterr().err


def test_a_split_archive_that_lacks_photos_is_told(tmp_path, aws, official, capsys):
    aws.files["/zips/val2017.zip"] = zipped(
        {"val2017/000000000001.jpg": official["files"]["/val2017/000000000001.jpg"]}
    )
    assert run_coco(aws, tmp_path) == 2
    assert (
        "11 of the split's images are not in it, among them 000000000002.jpg"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--split", "test"],
        ["--split", ""],
        ["--split", "val", "--limit", "0"],
        ["--split", "val", "--limit", "-1"],
        ["--split", "val", "--workers", "0"],
    ],
)
def test_coco_command_lines_that_make_no_sense_are_told(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        download_coco.main(arguments)
    assert left.value.code == 2 and re.search(
        r"error: .*(expected|required)", capsys.readouterr().err
    )


def test_both_splits_need_both(tmp_path, aws, capsys):
    assert run_coco(aws, tmp_path, "--split", "val,train", "--limit", "2") == 2
    assert (
        "person_keypoints_train2017.json: not COCO keypoint annotations" in capsys.readouterr().err
    )
    assert len(coco_photos(tmp_path)) == 2, "val came first, and stays"


@posix
def test_coco_killed_and_run_again_gives_the_same_bytes(tmp_path, aws, official):
    for path in official["files"]:
        if path.startswith("/val2017"):
            aws.faults[path] = [Fault(cut=500, stall=60)]
    arguments = [
        "--split",
        "val",
        "--people-only",
        "--base-url",
        aws.url,
        "--unofficial",
        "--workers",
        "2",
        *QUICK,
    ]
    command = [
        sys.executable,
        ROOT / "data_scripts/download_coco.py",
        "--out",
        tmp_path / "killed",
        *arguments,
    ]
    kill_and_resume(command, tmp_path / "killed", "val2017/*.jpg*", 2, aws)
    assert run_coco(aws, tmp_path / "whole", "--people-only") == 0
    killed = tree(tmp_path / "killed")
    whole = tree(tmp_path / "whole")
    assert {k: v for k, v in killed.items() if k != "downloads.json"} == (
        {k: v for k, v in whole.items() if k != "downloads.json"}
    )
    assert set(json.loads(killed["downloads.json"])) == set(json.loads(whole["downloads.json"]))


@posix
@pytest.mark.parametrize("name", ["panoptic", "coco"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_it_ends_at_once_and_says_how_to_go_on(tmp_path, cmu, aws, name, number):
    """In the middle of a file that does not come; shells start background jobs with SIGINT ignored:
    undone.
    """
    if name == "panoptic":
        server = cmu
        path = f"{REMOTE}/hdPose3d_stage1_coco19.tar"
        arguments = [SEQ, "--accept-licence"]
    else:
        server = aws
        path = "/val2017/000000000001.jpg"
        arguments = ["--split", "val", "--people-only", "--unofficial", "--workers", "3"]
    server.always[path] = Fault(cut=300, stall=60)
    script = ROOT / "data_scripts" / f"download_{name}.py"
    process = subprocess.Popen(
        [
            sys.executable,
            script,
            "--out",
            tmp_path,
            "--base-url",
            server.url,
            "--timeout",
            "50",
            *arguments,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not server.requests(path):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(number)
    _, told = process.communicate(timeout=20)
    assert (
        process.returncode == 130
        and "the same command continues from here" in told
        and "Traceback" not in told
    )


@pytest.mark.parametrize("module", [download_panoptic, download_coco])
def test_servers_are_asked_in_order(module):
    arguments = {download_panoptic: [SEQ], download_coco: ["--split", "val"]}[module]
    options = module._parser().parse_args(
        [*arguments, "--mirror", "http://a", "--mirror", "http://b"]
    )
    assert module._servers(options) == [
        module.SERVERS[0],
        "http://a",
        "http://b",
        module.SERVERS[1],
    ]
    options = module._parser().parse_args(
        [*arguments, "--mirror", "http://a", "--base-url", "http://own"]
    )
    assert module._servers(options) == ["http://own", "http://a"]
