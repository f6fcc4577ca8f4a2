"""Download CMU Panoptic sequences: calibration, 3D poses, and frames of some HD cameras.

Chapter 02 describes the data set; `posekit.datasets.download` fetches, resumes and unpacks.
"""

import argparse
import contextlib
import difflib
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

try:
    import numpy as np
    from tqdm import tqdm

    from posekit.cameras import Camera
    from posekit.datasets import download, panoptic
    from posekit.datasets.download import Manifest, Missing, RetryPolicy, archives
    from posekit.errors import DataError
    from posekit.files import atomic_write, local_path
    from posekit.images import encode_jpeg
except (ImportError, SyntaxError) as error:
    version = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(
        f"error: {error}; this is Python {version}: posekit needs 3.11 to 3.13 and its packages "
        f"(make setup, then: .venv/bin/python {sys.argv[0]} ...)\n"
    )
    sys.exit(2)

SERVERS = ("http://domedb.perception.cs.cmu.edu", "http://vcl.snu.ac.kr/panoptic")
"""CMU's own, and the mirror at Seoul National University that the toolbox has named since May 2024
(--snu-endpoint)."""

POSES = ("hdPose3d_stage1_coco19", "hdPose3d_stage1")
"""19 joints; of some older sequences the servers only have the 15 joints of the older format
(toolbox issue 17)."""

FRAME_COUNT_TOLERANCE = 5
"""Frames by which a complete video may be shorter than its header says (opencv issues 11782, 15569,
17257)."""

TERMS = """\
The CMU Panoptic Studio data set is free for non-commercial and research purposes only. By using it
you agree to cite it: Joo et al., Panoptic Studio, ICCV 2015 or TPAMI 2017
(http://domedb.perception.cs.cmu.edu). It shows real people."""

SOURCE = (
    "github.com/CMU-Perceptual-Computing-Lab/panoptic-toolbox, scripts/getDB_panoptic_ver1_2.sh"
)
SEQUENCES = {
    "range of motion": "171204_pose1 171204_pose2 171204_pose3 171204_pose4 171204_pose5 "
    "171204_pose6 171026_pose1 171026_pose2 171026_pose3",
    "haggling": "170221_haggling_b1 170221_haggling_b2 170221_haggling_b3 "
    "170221_haggling_m1 170221_haggling_m2 170221_haggling_m3 "
    "170224_haggling_a1 170224_haggling_a2 170224_haggling_a3 "
    "170224_haggling_b1 170224_haggling_b2 170224_haggling_b3 "
    "170228_haggling_a1 170228_haggling_a2 170228_haggling_a3 "
    "170228_haggling_b1 170228_haggling_b2 170228_haggling_b3 "
    "170404_haggling_a1 170404_haggling_a2 170404_haggling_a3 "
    "170404_haggling_b1 170404_haggling_b2 170404_haggling_b3 "
    "170407_haggling_a1 170407_haggling_a2 170407_haggling_a3 "
    "170407_haggling_b1 170407_haggling_b2 170407_haggling_b3",
    "musical instruments": "171026_cello1 171026_cello2 171026_cello3 161029_flute1 "
    "161029_piano1 161029_piano2 161029_piano3 161029_piano4 "
    "160906_band1 160906_band2 160906_band3",
    "social games": "160422_ultimatum1 160226_ultimatum1 160224_ultimatum1 160224_ultimatum2 "
    "160422_mafia2 160226_mafia1 160226_mafia2 160224_mafia1 160224_mafia2 "
    "160422_haggling1 160226_haggling1 160224_haggling1",
    "dance": "170307_dance1 170307_dance2 170307_dance3 170307_dance4 170307_dance5 170307_dance6 "
    "160317_moonbaby1 160317_moonbaby2 160317_moonbaby3",
    "toddlers": "170915_toddler2 170915_toddler3 170915_toddler4 "
    "160906_ian5 160906_ian3 160906_ian2 160906_ian1 160401_ian3 160401_ian2 160401_ian1",
    "others": "170915_office1 170407_office2 160906_pizza1",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for missing files, 130 when stopped."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.list:
        _list()
        return 0
    if not options.sequences or options.out is None:
        parser.error("give at least one sequence and --out DIR, or --list")
    failed = []
    try:
        _accept_terms(options.accept_licence)
        policy = download.retry_policy(options)
        options.out = local_path(options.out)
        for name in dict.fromkeys(options.sequences):
            _warn_if_unknown(name)
            try:
                _sequence(name, options, policy)
            except DataError as error:
                failed.append(name)
                print(f"error: {error}", file=sys.stderr)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "stopped: finished files are kept, the same command continues from here",
            file=sys.stderr,
        )
        return 130
    if failed:
        print(
            f"error: not complete: {', '.join(failed)}; the same command tries again",
            file=sys.stderr,
        )
    return 2 if failed else 0


def _sequence(name: str, options: argparse.Namespace, policy: RetryPolicy) -> None:
    """Download one sequence, and print the command that builds its records."""
    folder = options.out / name
    base = [f"{server.rstrip('/')}/webdata/dataset/{name}" for server in _servers(options)]
    with download.open_folder(folder) as manifest:

        def fetch_file(
            remote: str, local: str, check: Callable[[Path], object] | None = None
        ) -> Path:
            urls = [f"{server}/{remote}" for server in base]
            download.fetch(urls, folder / local, manifest, check=check, policy=policy)
            return folder / local

        calibration_name = f"calibration_{name}.json"
        calibration = panoptic.read_calibration(
            fetch_file(calibration_name, calibration_name, panoptic.read_calibration)
        )
        unknown = [camera for camera in options.cameras or () if camera not in calibration]
        if unknown:
            raise DataError(
                "--cameras",
                f"{calibration_name} has no {', '.join(unknown)}",
                "names look like 00_03",
            )
        poses, frames = _poses(folder, manifest, fetch_file)
        wanted = [frame for frame in frames if frame in options.frames]
        if not wanted:
            span = f"{frames[0]} to {frames[-1]}"
            raise DataError(
                "--frames", f"{name} has no pose in this range: its poses are of frames {span}"
            )
        cameras = options.cameras or spread(calibration)
        count = len(options.cameras) if options.cameras else options.hd_cameras
        print(
            f"{name}: {len(wanted):,} of {len(frames):,} frames with poses, "
            f"from each of {count} cameras"
        )
        got = {}
        for camera in cameras:
            if len(got) == count:
                break
            try:
                got[camera] = _camera(
                    camera, wanted, folder, manifest, fetch_file, options.keep_videos
                )
            except Missing as error:
                print(f"{name}: camera {camera} is left out: {error}", file=sys.stderr)
    if len(got) < count:
        missing = (
            f", all but {', '.join(c for c in cameras if c not in got)}" if options.cameras else ""
        )
        raise DataError(
            folder, f"no server has more videos than those of {len(got)} cameras{missing}"
        )
    print(f"{folder}: {sum(got.values()):,} images of cameras {', '.join(got)}; {poses}")
    command = [
        "python",
        "data_scripts/build_tfrecords.py",
        "panoptic",
        str(folder),
        f"records/{name}",
    ]
    print(f"next: {shlex.join(command)}")


def _poses(
    folder: Path, manifest: Manifest, fetch_file: Callable[..., Path]
) -> tuple[str, list[int]]:
    """Fetch and unpack the 3D poses where missing: (their folder's name, the frames with poses)."""
    for kind in POSES:
        frames = _frames_with_poses(folder / kind)
        unpacked = manifest.get(folder / f"{kind}.tar").get("unpacked")
        if frames and unpacked in (None, len(frames)):
            return kind, frames
    for kind in POSES:
        try:
            archive = fetch_file(f"{kind}.tar", f"{kind}.tar")
            break
        except Missing:
            if kind == POSES[-1]:
                raise
            print(
                f"{folder.name}: no server has {kind}.tar, trying the older {POSES[-1]}.tar",
                file=sys.stderr,
            )
    with archives.unpacked(
        archive, lambda name: bool(re.search(r"(^|/)body3DScene_\d+\.json$", name))
    ) as temporary:
        holders = {path.parent for path in temporary.rglob("body3DScene_*.json")}
        if len(holders) != 1:
            raise DataError(
                archive, f"body3DScene_*.json in {len(holders)} folders, expected one", "delete it"
            )
        shutil.rmtree(folder / kind, ignore_errors=True)
        holders.pop().rename(folder / kind)
    frames = _frames_with_poses(folder / kind)
    manifest.add(archive, unpacked=len(frames))
    archive.unlink()
    return kind, frames


def _frames_with_poses(folder: Path) -> list[int]:
    return sorted(
        int(match[1])
        for path in folder.glob("*.json")
        if (match := re.search(r"_(\d+)$", path.stem))
    )


def spread(calibration: dict[str, Camera]) -> list[str]:
    """Order the HD cameras by farthest-point sampling: the first few see people from all around.

    Args:
        calibration: name -> camera.

    Returns:
        Names "00_NN", from the first in the file on. (The toolbox takes them by number, and
        neighbours stand together.)
    """
    names = [name for name in calibration if name.startswith("00_")]
    centres = np.array([-calibration[name].R.T @ calibration[name].t for name in names])
    distances = np.linalg.norm(centres[:, None] - centres, axis=-1)
    chosen = [0] if names else []
    while len(chosen) < len(names):
        nearest = distances[:, chosen].min(axis=1)
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return [names[i] for i in chosen]


def _camera(
    camera: str,
    wanted: list[int],
    folder: Path,
    manifest: Manifest,
    fetch_file: Callable[..., Path],
    keep: bool,
) -> int:
    """Extract the wanted frames of one camera; returns how many. Fetches the video if needed."""
    local = f"hdVideos/hd_{camera}.mp4"

    def image_path(frame: int) -> Path:
        return folder / "hdImgs" / camera / f"{camera}_{frame:08d}.jpg"

    frames = manifest.get(folder / local).get("frames")
    if frames is None or any(not image_path(frame).exists() for frame in wanted if frame < frames):
        video = fetch_file(f"videos/hd_shared_crf20/hd_{camera}.mp4", local)
        frames = extract_frames(video, wanted, image_path)
        manifest.add(video, frames=frames)
        if not keep:
            video.unlink()
    images = sum(image_path(frame).exists() for frame in wanted)
    expected = sum(frame < frames for frame in wanted)
    if images != expected or not expected:
        problem = f"{images} images, expected {expected}; the video has {frames:,} frames"
        raise DataError(
            folder / "hdImgs" / camera, problem, "ask for earlier --frames, or run it again"
        )
    if expected < len(wanted):
        print(
            f"{folder.name}: camera {camera} ends at frame {frames:,}, "
            f"{len(wanted) - expected} poses have no image"
        )
    return images


def extract_frames(video: Path, wanted: list[int], image_path: Callable[[int], Path]) -> int:
    """Write frames of a video as JPEG.

    Frames are counted one by one from 0, since seeking in a video is not exact.

    Args:
        video: the file.
        wanted: frame numbers, ascending; frames that were extracted before are skipped.
        image_path: returns the path of a frame's image.

    Returns:
        The number of frames in the video: as counted where its end was reached, else as its header
        says.

    Raises:
        DataError: naming the video and the frame, when it ends before the end that its header says
            or a frame cannot be decoded; or when the disk is full.
    """
    # FFmpeg's own messages do not name the file
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "8")
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(str(video))
    try:
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if not capture.isOpened() or frames < 1:
            raise DataError(
                video,
                "cannot be opened as a video: truncated, or not a video",
                "delete it and run it again",
            )
        position = 0
        ended = False
        for frame in tqdm(
            [n for n in wanted if not image_path(n).exists()],
            desc=f"frames of {video.name}",
            unit=" images",
        ):
            while position <= frame and not ended:
                ended = not capture.grab()
                position += not ended
            if ended:
                break
            decoded, picture = capture.retrieve()
            if not decoded:
                hint = "delete it and run it again; if that does not help, ask for other --frames"
                raise DataError(f"{video}, frame {frame}", "cannot be decoded", hint)
            atomic_write(image_path(frame), encode_jpeg(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)))
    finally:
        capture.release()
    if ended and position < frames - FRAME_COUNT_TOLERANCE:
        problem = f"cannot be decoded, though the video says it has {frames:,} frames"
        hint = (
            f"delete it and run it again; if that does not help, ask for --frames before {position}"
        )
        raise DataError(f"{video}, frame {position}", problem, hint)
    return position if ended else max(frames, position)


def frame_range(text: str) -> range:
    """Parse `"A:B:STEP"` as range(A, B, STEP); each may be left out; `"A"` is that one frame."""
    parts = text.split(":")
    if (
        not (
            1 <= len(parts) <= 3
            and all(re.fullmatch(r"-?\d*", part) and part != "-" for part in parts)
        )
        or text == ""
    ):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a range of frames; expected A:B:STEP, such as 0:3000:10"
        )
    numbers = [int(part) if part else None for part in parts]
    if any(number is not None and number < 0 for number in numbers):
        raise argparse.ArgumentTypeError(
            f"{text!r}: frames count from 0, a number below it has no meaning"
        )
    start = numbers[0] or 0
    stop, step = ([*numbers[1:], None])[:2] if len(numbers) > 1 else (start + 1, None)
    if step == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: the step must be at least 1")
    chosen = range(start, sys.maxsize if stop is None else stop, step or 1)
    if not chosen:
        raise argparse.ArgumentTypeError(f"{text!r} holds no frame: {stop} is not after {start}")
    return chosen


def _servers(options: argparse.Namespace) -> list[str]:
    """The servers in the order in which they are tried."""
    if options.base_url:
        return [options.base_url, *options.mirror]
    return [SERVERS[0], *options.mirror, *SERVERS[1:]]


def _list() -> None:
    for kind, names in SEQUENCES.items():
        print(f"{kind} ({len(names.split())})")
        for name in names.split():
            print(f"  {name}")
    print(f"{len(_known())} sequences, as in {SOURCE}")


def _known() -> list[str]:
    return " ".join(SEQUENCES.values()).split()


def _warn_if_unknown(name: str) -> None:
    """Warn of a name that is not in the list, which is not complete: it may be misspelled."""
    if not re.fullmatch(r"\w+", name):
        raise DataError(
            name, "is not a name of a sequence", "they look like 171204_pose1; --list shows them"
        )
    if name not in _known():
        close = difflib.get_close_matches(name, _known(), 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        print(f"{name}: not among the {len(_known())} sequences of --list{hint}", file=sys.stderr)


def _accept_terms(accepted: bool) -> None:
    """Show the terms and, at a terminal, ask. A script is not asked: running it accepts them."""
    print(TERMS)
    if accepted:
        return
    if not sys.stdin.isatty():
        print("Going on without being asked means that you accept these terms.")
        return
    answer = ""
    with contextlib.suppress(EOFError):
        answer = input("Do you accept these terms? [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise DataError("terms of use", "not accepted", "nothing was fetched")


def _cameras(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    if not all(re.fullmatch(r"00_\d\d", name) for name in names):
        raise argparse.ArgumentTypeError(f"{text!r}: expected HD cameras such as 00_00,00_03")
    return names


def _camera_count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 31):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to 31")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: download_panoptic.py 171204_pose1 --out panoptic --hd-cameras 3 "
        "--frames 0:3000:30. Run again, it fetches only missing files.",
    )
    parser.add_argument(
        "sequences", metavar="SEQ", nargs="*", help="sequences, such as 171204_pose1"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="each sequence becomes a folder in it"
    )
    parser.add_argument("--list", action="store_true", help="list the sequences and exit")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--hd-cameras",
        metavar="N",
        type=_camera_count,
        default=5,
        help="number of HD cameras, 1 to 31, spread over the dome (default: 5)",
    )
    which.add_argument(
        "--cameras", metavar="NAMES", type=_cameras, help="these HD cameras: 00_00,00_03"
    )
    parser.add_argument(
        "--frames",
        metavar="A:B:STEP",
        type=frame_range,
        default=frame_range("::30"),
        help="frames from A on and before B, of those that have poses (default: ::30, about one "
        "per second; ::1 for all)",
    )
    parser.add_argument(
        "--keep-videos", action="store_true", help="keep the videos once their frames are extracted"
    )
    parser.add_argument(
        "--accept-licence", action="store_true", help="accept the terms of use without being asked"
    )
    parser.add_argument(
        "--mirror",
        metavar="URL",
        action="append",
        default=[],
        help="another server to try; may be given again",
    )
    parser.add_argument("--base-url", metavar="URL", help=f"instead of {' and '.join(SERVERS)}")
    download.add_options(parser)
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM: as on Ctrl-C
    sys.exit(main())
