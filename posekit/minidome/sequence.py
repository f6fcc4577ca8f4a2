"""Write a MiniDome sequence in CMU Panoptic's layout and as COCO keypoint JSON, from any number of
processes (chapter 02).

    OUT/calibration_<seq>.json
    OUT/hdPose3d_stage1_coco19/body3DScene_%08d.json
    OUT/hdImgs/00_NN/00_NN_%08d.jpg
    OUT/annotations/person_keypoints_<seq>.json     file names relative to OUT

<seq> is OUT's name. Everything is written to a temporary folder next to OUT and renamed when
complete.
"""

import contextlib
import functools
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from posekit.errors import DataError
from posekit.files import atomic_folder, local_path
from posekit.images import encode_jpeg
from posekit.minidome import desk, phone, room, solids
from posekit.minidome.actions import FPS
from posekit.minidome.annotate import CATEGORIES, annotate, bodies_json
from posekit.minidome.backdrop import behind, list_photos
from posekit.minidome.dome import CAMERAS, calibration_json, make_cameras, make_phones, make_webcams
from posekit.minidome.motion import read_motion
from posekit.minidome.render import draw, ray_grid
from posekit.minidome.scene import SceneConfig, sample_scene

JPEG_QUALITY = 92
_CACHE_BYTES = 300e6  # rays kept by one process


@dataclass(frozen=True)
class SequenceConfig:
    """Arguments of a sequence; see `make_sequence`."""

    frames: int
    cameras: int
    size: tuple[int, int]
    take: int
    seed: int
    mode: str = "dome"
    empty: float = 0.0
    motion: str = ""
    step: int = 1
    backgrounds: str = ""

    def check(self) -> None:
        """Raise DataError for a plan that cannot be carried out."""
        for name, low, high in (
            ("frames", 1, 10**8 - 1),
            ("cameras", 1, CAMERAS),
            ("take", 1, 10**5),
            ("seed", 0, 2**63),
            ("step", 1, 10**4),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise DataError(
                    f"--{name} {value}", f"expected a whole number from {low} to {high}"
                )
        if self.mode not in MODES:
            raise DataError(f"--mode {self.mode}", f"expected one of {', '.join(MODES)}")
        if not 0 <= self.empty <= 1:
            raise DataError(f"--empty {self.empty}", "expected a share from 0 to 1")
        if not all(32 <= side <= 4096 for side in self.size):
            raise DataError(
                f"--size {self.size[0]}x{self.size[1]}",
                "expected sides from 32 to 4096",
                "such as 640x360",
            )


MODES = {
    "dome": (make_cameras, sample_scene),
    "desk": (make_webcams, desk.sample_scene),
    "phone": (make_phones, phone.sample_scene),
}
"""Each mode's cameras and scenes."""


# ---- one frame -----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=2)
def _cameras(size: tuple[int, int], seed: int, mode: str) -> dict:
    return MODES[mode][0](size, seed)


@functools.lru_cache(maxsize=2)
def _scene_config(plan: SequenceConfig) -> SceneConfig:
    clips = tuple(read_motion(plan.motion)) if plan.motion else None
    return SceneConfig(clips, plan.step, plan.empty, bool(plan.backgrounds))


@functools.lru_cache(maxsize=2)
def _photos(folder: str) -> list[Path]:
    return list_photos(folder)


@functools.lru_cache(maxsize=2)
def _scene(plan: SequenceConfig, number: int):
    frames = min(plan.take, plan.frames - number * plan.take)
    cameras = _cameras(plan.size, plan.seed, plan.mode)
    return MODES[plan.mode][1](
        plan.seed, number, frames, cameras, plan.cameras, _scene_config(plan)
    )


_ray_grids: dict = {}


def _grid(plan: SequenceConfig, name: str):
    key = (plan.size, plan.seed, plan.mode, name)
    if key not in _ray_grids:
        most = max(1, int(_CACHE_BYTES / (22 * plan.size[0] * plan.size[1])))
        while len(_ray_grids) >= most:
            del _ray_grids[next(iter(_ray_grids))]
        _ray_grids[key] = ray_grid(_cameras(plan.size, plan.seed, plan.mode)[name])
    return _ray_grids[key]


def render_frame(
    plan: SequenceConfig, frame: int
) -> tuple[dict, list[tuple[str, np.ndarray, list[dict]]]]:
    """One frame of a sequence in memory.

    Returns:
        the 3D bodies as Panoptic's JSON, and for each camera its name, the image (H, W, 3) uint8
        RGB and the COCO annotations of `annotate.annotate`.
    """
    number, moment = divmod(frame, plan.take)
    scene = _scene(plan, number)
    shapes = solids.merge(
        [p.solids_at(moment, i) for i, p in enumerate(scene.people)] + [scene.furniture]
    )
    sheet = room.shadows(scene, shapes) if plan.backgrounds else room.paint(scene, shapes)
    views = []
    photo = None
    for name in scene.cameras:
        grid = _grid(plan, name)
        if plan.backgrounds:
            rng = np.random.default_rng([plan.seed, 0xBAC, number, int(name[3:])])
            photo = behind(_photos(plan.backgrounds), plan.size, scene.tint, rng)
        image, solid_index = draw(
            scene, shapes, sheet, grid, [plan.seed, 0xF111, number, int(name[3:])], photo
        )
        views.append((name, image, annotate(scene, moment, shapes, solid_index, grid.camera)))
    return bodies_json(scene, moment, frame, FPS), views


def _write_frame(plan: SequenceConfig, folder: Path, frame: int) -> tuple[list[dict], list[dict]]:
    """Write one frame's files; its entries for COCO's `images` and `annotations`."""
    bodies, views = render_frame(plan, frame)
    path = folder / "hdPose3d_stage1_coco19" / f"body3DScene_{frame:08d}.json"
    path.write_text(json.dumps(bodies), encoding="utf-8")
    images = []
    annotations = []
    for name, image, people in views:
        file_name = f"hdImgs/{name}/{name}_{frame:08d}.jpg"
        (folder / file_name).write_bytes(encode_jpeg(image, JPEG_QUALITY))
        image_id = frame * 100 + int(name[3:])
        height, width = image.shape[:2]
        images.append(
            {
                "id": image_id,
                "file_name": file_name,
                "width": width,
                "height": height,
                "camera": name,
                "frame": frame,
            }
        )
        annotations += [
            {"id": image_id * 10 + a["body_id"], "image_id": image_id, **a} for a in people
        ]
    return images, annotations


# ---- many frames ---------------------------------------------------------------------------------


def _start_worker() -> None:
    """A worker leaves Ctrl-C to its parent, dies with it, and keeps to one core."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _frames(
    plan: SequenceConfig, folder: Path, workers: int
) -> Iterator[tuple[list[dict], list[dict]]]:
    task = functools.partial(_write_frame, plan, folder)
    if workers == 1 or plan.frames == 1:
        yield from map(task, range(plan.frames))
        return
    context = multiprocessing.get_context(
        "spawn"
    )  # fork would copy TensorFlow's locks out of a notebook
    pool = ProcessPoolExecutor(
        min(workers, plan.frames), mp_context=context, initializer=_start_worker
    )
    try:
        yield from pool.map(
            task, range(plan.frames), chunksize=max(1, min(8, plan.frames // (4 * workers)))
        )
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _output_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `out` on success and removed otherwise."""
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(
                out, "is there already and not empty", "choose another folder, or remove it first"
            )
        with atomic_folder(out) as folder:
            yield folder
    except OSError as error:
        raise DataError(
            out,
            f"cannot write here: {error.strerror or error}",
            "choose a writable folder with enough free space",
        ) from error


def make_sequence(
    out: str | Path,
    frames: int = 300,
    cameras: int = 2,
    size: tuple[int, int] = (640, 360),
    take: int = 1,
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
    *,
    mode: str = "dome",
    empty: float = 0.0,
    motion: str | Path | None = None,
    step: int = 1,
    backgrounds: str | Path | None = None,
) -> dict[str, float | str]:
    """Write one MiniDome sequence.

    Args:
        out: folder to make; it may exist if it is empty. Its name is the sequence's.
        frames: number of frames.
        cameras: number of active cameras per scene, sampled from the 31 by the seed.
        size: (w, h) of the images.
        take: for how many frames the same people move on; 1 makes each frame a new scene.
        seed: draws everything; the same seed gives the same bytes, whatever `workers`.
        workers: processes.
        progress: show a progress bar.
        mode: `"dome"`; `"desk"`: people at their webcam; `"phone"`: standing people who gesture at
            a phone.
        empty: fraction of scenes without people, 0-1.
        motion: an npz file (`motion.read_motion`); each person performs it from a random frame on.
        step: how many of the dome's frames (29.97 per second) the motion goes on from frame to
            frame of a take.
        backgrounds: folder of photos that stand behind the people in place of the room.

    Returns:
        `shares` of the sequence.

    Raises:
        DataError: on arguments out of range, a motion or photo that cannot be used, a folder that
            is not empty or cannot be written.
    """
    out = local_path(out).absolute()
    plan = SequenceConfig(
        frames,
        cameras,
        tuple(size),
        take,
        seed,
        mode,
        float(empty),
        str(local_path(motion)) if motion else "",
        step,
        str(local_path(backgrounds)) if backgrounds else "",
    )
    plan.check()
    if workers < 1:
        raise DataError(f"--workers {workers}", "expected 1 or more")
    _scene_config(plan)
    if plan.backgrounds:
        _photos(plan.backgrounds)
    with _output_folder(out) as folder:
        dome = _cameras(plan.size, plan.seed, plan.mode)
        for name in dome:
            (folder / "hdImgs" / name).mkdir(parents=True)
        (folder / "hdPose3d_stage1_coco19").mkdir()
        (folder / "annotations").mkdir()
        text = json.dumps(calibration_json(dome, out.name), indent=1)
        (folder / f"calibration_{out.name}.json").write_text(text, encoding="utf-8")
        images = []
        annotations = []
        with _bar(progress, plan, out.name) as bar:
            for new_images, new_annotations in _frames(plan, folder, workers):
                images += new_images
                annotations += new_annotations
                bar.update(1)
        for name in dome:
            with contextlib.suppress(OSError):  # a camera that never looked on
                (folder / "hdImgs" / name).rmdir()
        info = {"description": "MiniDome, made people", "version": "2", **asdict(plan)}
        info |= {"motion": Path(plan.motion).name, "backgrounds": Path(plan.backgrounds).name}
        coco = {
            "info": info,
            "images": images,
            "annotations": annotations,
            "categories": CATEGORIES,
        }
        (folder / "annotations" / f"person_keypoints_{out.name}.json").write_text(
            json.dumps(coco), encoding="utf-8"
        )
        result = shares(folder, out.name)
    return result


def _bar(progress: bool, plan: SequenceConfig, name: str):
    from tqdm.auto import tqdm

    return tqdm(total=plan.frames, desc=f"MiniDome {name}", unit="frame", disable=not progress)


def shares(folder: str | Path, sequence: str | None = None) -> dict[str, float | str]:
    """Compute how varied a MiniDome sequence is.

    Args:
        folder: the sequence.
        sequence: its name, where the folder's differs.

    Returns:
        `mode`, `frames`, `pictures`, `people` (annotated, once per image), and the shares
        `joints_occluded` (hidden among the labelled joints), `people_from_behind` (facing away by
        more than 90 degrees), `scenes_with_two_or_more` (people in the room), `people_cut_off`
        (some joint outside the frame) and `people_left_out` (in the room, but out of the frame or
        hidden).

    Raises:
        DataError: when the folder is no MiniDome sequence.
    """
    folder = Path(folder).absolute()
    path = folder / "annotations" / f"person_keypoints_{sequence or folder.name}.json"
    try:
        coco = json.loads(path.read_text(encoding="utf-8"))
        crowds = {}
        for file in sorted((folder / "hdPose3d_stage1_coco19").glob("body3DScene_*.json")):
            crowds[int(file.stem[-8:])] = len(
                json.loads(file.read_text(encoding="utf-8"))["bodies"]
            )
        people = coco["annotations"]
        flags = np.array([a["keypoints"][2::3] for a in people]).reshape(-1, 17)
        behind = np.array([a["facing_deg"] > 90 for a in people])
        present = sum(crowds[image["frame"]] for image in coco["images"])
    except OSError as error:
        raise DataError(
            error.filename or path,
            f"cannot read it: {error.strerror}",
            "is this a MiniDome sequence?",
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            path, f"not the annotations of a MiniDome sequence: {error!r}", "make it again"
        ) from None
    scenes = list(crowds.values())[:: coco["info"].get("take", 1)]
    share = lambda part: round(float(np.mean(part)), 4) if np.size(part) else 0.0  # noqa: E731
    return {
        "mode": coco["info"].get("mode", "dome"),
        "frames": len(crowds),
        "pictures": len(coco["images"]),
        "people": len(people),
        "joints_occluded": share(flags[flags > 0] == 1),
        "people_from_behind": share(behind),
        "scenes_with_two_or_more": share(np.array(scenes) >= 2),
        "people_cut_off": share((flags == 0).any(axis=1)),
        "people_left_out": round(1 - len(people) / max(present, 1), 4),
    }


def describe(values: dict[str, float | str]) -> str:
    """Format `shares` for printing, each share next to the minimum for its mode."""
    wanted = {"joints_occluded": 0.15, "people_from_behind": 0.25, "scenes_with_two_or_more": 0.40}
    wanted = wanted if values["mode"] == "dome" else {"people_cut_off": 0.80}
    lines = [
        f"{values['frames']} frames, {values['pictures']} images, "
        f"{values['people']} annotated people"
    ]
    for name, value in values.items():
        if isinstance(value, float):
            least = f"  (at least {wanted[name]:.0%})" if name in wanted else ""
            lines.append(f"{name.replace('_', ' '):<24}{value:7.1%}{least}")
    return "\n".join(lines)
