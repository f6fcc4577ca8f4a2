"""Leeds Sports Pose and its extended training set: one photo, one person, 14 joints in MATLAB files (chapter 02).

Johnson & Everingham, BMVC 2010 (LSP) and CVPR 2011 (LSP Extended). MATLAB counts pixels from 1, so 1 is taken off every
coordinate. The third row means two things: in LSP 1 is *occluded* (each joint is annotated), in LSPET 1 is *annotated*.
The face joints of COCO do not exist here; neck and head top have no place among COCO's 17 and go beside them, as `extra_keypoints`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from posekit.datasets import PersonAnnotation, excluded_images, skip_errors
from posekit.errors import DataError
from posekit.skeleton import COCO17, LSP14, convert, convert_flags

#: File numbers (first, last) of each split of LSP; the test half is the official one.
SPLITS = {"train": (1, 900), "val": (901, 1000), "test": (1001, None)}

_EXTRA = [LSP14.index("neck"), LSP14.index("head_top")]
_IN_LSP14 = convert_flags(np.ones(len(LSP14), bool), LSP14, COCO17)


def read(
    root: str | Path,
    split: str | None,
    *,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
) -> Iterator[PersonAnnotation]:
    """People of Leeds Sports Pose, in the order of the photos' names.

    Args:
        root: folder with `joints.mat`, `joints` (3, 14, N), and `images/`; the i-th photo in name order is the i-th column.
        split: `"train"` im0001-im0900 without the photos in `exclude.txt`, `"val"` im0901-im1000, `"test"` above, None all.
        filtered: gets the number of people left out, by reason.
        skipped: see `sources.read`.

    Yields:
        PersonAnnotation; v = 1 where a joint is occluded, else 2.

    Raises:
        DataError: when `joints.mat` is not LSP's, or its columns and the photos are not equally many.
    """
    if split is not None and split not in SPLITS:
        raise DataError(root, f"no split {split!r}", f"choose one of {', '.join(SPLITS)}")
    first, last = SPLITS[split] if split else (0, None)
    joints, photos = _load(Path(root), (3, len(LSP14), None))
    joints = joints.transpose(2, 1, 0)
    numbers = [_number(photo) for photo in photos]
    chosen = [
        i
        for i, number in enumerate(numbers)
        if number >= first and (last is None or number <= last)
    ]
    yield from _samples(Path(root), "lsp", joints, photos, chosen, split, filtered, skipped)


def read_lspet(
    root: str | Path,
    split: str | None = "train",
    *,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
) -> Iterator[PersonAnnotation]:
    """People of LSP Extended, in the order of the photos' names. The labels were crowd-sourced: some are swapped or off.

    Args:
        root: folder with `joints.mat`, `joints` (14, 3, N), and `images/`.
        split: only a name; `"train"` leaves out the photos in `exclude.txt`.
        filtered: gets the number of people left out, by reason.
        skipped: see `sources.read`.

    Yields:
        PersonAnnotation; v = 2 where a joint is annotated, else v = 0 and not known.

    Raises:
        DataError: when `joints.mat` is not LSPET's, or its columns and the photos are not equally many.
    """
    joints, photos = _load(Path(root), (len(LSP14), 3, None))
    joints = joints.transpose(2, 0, 1)
    yield from _samples(
        Path(root), "lspet", joints, photos, range(len(photos)), split, filtered, skipped
    )


def _samples(
    root, dataset, joints, photos, chosen, split, filtered, skipped
) -> Iterator[PersonAnnotation]:
    filtered = Counter() if filtered is None else filtered
    excluded = excluded_images(root, split)
    for i in chosen:
        with skip_errors(photos[i].stem, skipped):
            photo, points, flags = photos[i], joints[i, :, :2] - 1, joints[i, :, 2]
            where = f"{root / 'joints.mat'}, column {i + 1} ({photo.name})"
            if not np.all(np.isfinite(joints[i])):
                raise DataError(where, "holds NaN or infinity", "fix joints.mat")
            if not np.all(np.isin(flags, (0, 1))):
                raise DataError(
                    where,
                    f"flags {sorted(set(flags.tolist()))}, expected 0 or 1",
                    "fix joints.mat",
                )
            visible = 2 - flags if dataset == "lsp" else 2 * flags
            extra_keypoints = np.column_stack([points, visible])[_EXTRA] * (
                visible[_EXTRA, None] > 0
            )
            visible = convert_flags(visible, LSP14, COCO17)
            if photo.name in excluded:
                filtered["exclude.txt"] += 1
            elif not visible.any():
                filtered["no labelled joint"] += 1
            else:
                yield PersonAnnotation(
                    image=photo,
                    source_id=photo.stem,
                    person_id=photo.stem,
                    keypoints=np.where(visible[:, None] > 0, convert(points, LSP14, COCO17), 0),
                    keypoints_visible=visible,
                    joint_known=_IN_LSP14 & (visible > 0),
                    bbox=None,
                    area=0.0,
                    dataset=dataset,
                    extra_keypoints=extra_keypoints,
                )


def _load(root: Path, shape: tuple) -> tuple[np.ndarray, list[Path]]:
    """`joints` of joints.mat in the wanted shape (None: any), and the photos in name order, equally many."""
    import scipy.io

    path = root / "joints.mat"
    wanted = f"({', '.join('N' if n is None else str(n) for n in shape)})"
    if not path.is_file():
        raise DataError(path, "no such file", "give the folder that holds joints.mat and images/")
    try:
        content = scipy.io.loadmat(path, variable_names=["joints"])
    except Exception as error:  # scipy raises half a dozen kinds for files that are not MATLAB's
        problem = f"cannot be read as a MATLAB file: {type(error).__name__} {error}"
        raise DataError(path, problem, "fetch it again") from None
    if "joints" not in content:
        raise DataError(
            path, f"no variable 'joints', expected one of shape {wanted}", "fetch it again"
        )
    joints = content["joints"]
    if joints.ndim != 3 or any(
        n not in (None, m) for n, m in zip(shape, joints.shape, strict=True)
    ):
        other = (
            ", perhaps lsp and lspet are mixed up"
            if joints.ndim == 3 and joints.shape[1::-1] == shape[:2]
            else ""
        )
        raise DataError(
            path,
            f"expected 'joints' of shape {wanted}, got {joints.shape}",
            f"fetch it again{other}",
        )
    if not np.issubdtype(joints.dtype, np.number) or np.iscomplexobj(joints):
        raise DataError(path, f"expected 'joints' of numbers, got {joints.dtype}", "fetch it again")
    photos = sorted((root / "images").glob("*.jpg"))
    if len(photos) != joints.shape[2]:
        raise DataError(
            path,
            f"{joints.shape[2]} columns of joints, but {len(photos)} photos in {root / 'images'}",
            "the i-th photo in name order must be the i-th column: restore the missing or remove the surplus",
        )
    return joints.astype(np.float64), photos


def _number(photo: Path) -> int:
    match = re.fullmatch(r"im(\d+)", photo.stem)
    if match is None:
        raise DataError(photo, "no file number in the name", "LSP's photos are named im0001.jpg …")
    return int(match[1])
