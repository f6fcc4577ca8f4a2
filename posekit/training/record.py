"""Content of record.json: mean pose, command, provenance; and `pack`, which makes a run smaller."""

import platform
import shlex
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from posekit import __version__, geometry, hardware, inputs, records
from posekit.files import atomic_file

__all__ = ["bfloat16_pays", "command", "mean_targets", "pack", "provenance"]


def bfloat16_pays() -> bool:
    """Return whether the hardware multiplies bfloat16: a GPU, or a CPU with AVX512-BF16 or AMX."""
    if hardware.accelerators():
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def mean_targets(directories: Sequence[str | Path]) -> tuple[np.ndarray, np.ndarray]:
    """Average the targets of training people: the best constant prediction.

    Args:
        directories: record folders.

    Returns:
        (17, 2) mean normalised crop coordinates of each joint, over people in whom it is labelled
        and in the crop (0, the centre, for a joint that never is); (17,) fraction of people with
        the joint in the crop, among those in whom this is known (0.5 if never).
    """
    points = []
    in_crop = []
    known = []
    for directory in directories:
        box_px = records.read_manifest(directory)["box_px"]
        for person in records.read_records(directory):
            affine = geometry.crop_affine(np.full(2, (person.width - 1) / 2), box_px, box_px)
            located = inputs.locate_in_crop(
                affine, person.keypoints, person.labelled, person.width, box_px
            )
            points.append(located[0])
            in_crop.append(located[1])
            known.append(person.joint_known)
    in_crop = np.stack(in_crop)
    known = np.stack(known)
    pose = np.sum(points, axis=0) / np.maximum(in_crop.sum(axis=0), 1)[:, None]
    share = (in_crop & known).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return pose, np.where(known.any(axis=0), share, 0.5)


def command(argv: Sequence[str]) -> str:
    """Return the command line for a record, with absolute paths cut to their last part."""
    if "posekit" not in argv[0]:
        return "posekit.training.train"
    parts = [argument.rpartition("=") for argument in argv[1:]]
    parts = [
        (key, sign, Path(value).name if Path(value).is_absolute() else value)
        for key, sign, value in parts
    ]
    return shlex.join(["python", "-m", "posekit", *map("".join, parts)])


def provenance() -> dict:
    """Return commit, versions and hardware for a record; no host name, no path."""
    try:
        root = Path(__file__).resolve().parents[2]
        commit = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in (
                Path("/proc/cpuinfo").read_text().splitlines()
                if Path("/proc/cpuinfo").exists()
                else []
            )
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    cores = hardware.cores()
    return {
        "commit": commit,
        "posekit": __version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "hardware": f"{cpu}, {cores} core{'s' * (cores != 1)}",
        "system": platform.system(),
    }


def pack(run: str | Path) -> None:
    """Halve the size of a run's model.keras, in place: round weights to float16, then deflate.

    The model stays an ordinary float32 Keras file. Rounding changes a weight by at most one part in
    2,048.
    """
    path = Path(run) / "model.keras"
    model = keras.saving.load_model(path, compile=False)
    model.set_weights([w.astype(np.float16).astype(w.dtype) for w in model.get_weights()])
    loose = path.with_name("loose.keras")
    try:
        model.save(loose)
        with (
            atomic_file(path) as packed,
            zipfile.ZipFile(loose) as old,
            zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new,
        ):
            for name in old.namelist():
                new.writestr(name, old.read(name))
    finally:
        loose.unlink(missing_ok=True)
