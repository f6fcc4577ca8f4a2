"""Read Leeds Sports Pose and its extended training set: 14 joints in MATLAB files (chapter 02).

One image, one person. Johnson & Everingham, BMVC 2010 (LSP) and CVPR 2011 (LSP Extended). MATLAB
counts pixels from 1, so 1 is subtracted from every coordinate. The third row means two things: in
LSP 1 is *occluded* (each joint is annotated), in LSPET 1 is *annotated*. The face joints of COCO do
not exist here; neck and head top are not among COCO's 17 and become `extra_keypoints`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from posekit.datasets import (
    PersonAnnotation,
    excluded_images,
    matlab,
    skip_errors,
    source_ids,
)
from posekit.errors import DataError
from posekit.skeleton import COCO17, LSP14, convert, convert_flags

__all__ = ["SPLITS", "read", "read_lspet"]

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
    """Read the people of Leeds Sports Pose, in the order of the images' numbers.

    Args:
        root: folder with `joints.mat`, `joints` (3, 14, N), and `images/`; the i-th image by
            number is the i-th column.
        split: `"train"` im0001-im0900 without the images in `exclude.txt`, `"val"` im0901-im1000,
            `"test"` above, None all.
        filtered: gets the number of people left out, by reason.
        skipped: see `posekit.datasets.read`.

    Yields:
        PersonAnnotation; v = 1 where a joint is occluded, else 2.

    Raises:
        DataError: when `joints.mat` is not LSP's, or has not one column per image.
    """
    if split is not None and split not in SPLITS:
        raise DataError(root, f"no split {split!r}", f"choose one of {', '.join(SPLITS)}")
    first, last = SPLITS[split] if split else (0, None)
    joints, images = _load(Path(root), (3, len(LSP14), None))
    joints = joints.transpose(2, 1, 0)
    numbers = [_number(image) for image in images]
    chosen = [
        i
        for i, number in enumerate(numbers)
        if number >= first and (last is None or number <= last)
    ]
    yield from _annotations(Path(root), "lsp", joints, images, chosen, split, filtered, skipped)


def read_lspet(
    root: str | Path,
    split: str | None = "train",
    *,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
) -> Iterator[PersonAnnotation]:
    """Read the people of LSP Extended, in the order of the images' numbers.

    The labels were crowd-sourced: some are swapped or off.

    Args:
        root: folder with `joints.mat`, `joints` (14, 3, N), and `images/`.
        split: only a name; `"train"` leaves out the images in `exclude.txt`.
        filtered: gets the number of people left out, by reason.
        skipped: see `posekit.datasets.read`.

    Yields:
        PersonAnnotation; v = 2 where a joint is annotated, else v = 0 and not known.

    Raises:
        DataError: when `joints.mat` is not LSPET's, or has not one column per image.
    """
    joints, images = _load(Path(root), (len(LSP14), 3, None))
    joints = joints.transpose(2, 0, 1)
    yield from _annotations(
        Path(root), "lspet", joints, images, range(len(images)), split, filtered, skipped
    )


def _annotations(
    root: Path,
    dataset: str,
    joints: np.ndarray,
    images: list[Path],
    chosen: Iterable[int],
    split: str | None,
    filtered: Counter | None,
    skipped: list[dict] | None,
) -> Iterator[PersonAnnotation]:
    filtered = Counter() if filtered is None else filtered
    excluded = excluded_images(root, split)
    ids = source_ids(image.name for image in images)
    for i in chosen:
        with skip_errors(images[i].stem, skipped):
            image = images[i]
            points = joints[i, :, :2] - 1
            flags = joints[i, :, 2]
            where = f"{root / 'joints.mat'}, column {i + 1} ({image.name})"
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
            if image.name in excluded:
                filtered["exclude.txt"] += 1
            elif not visible.any():
                filtered["no labelled joint"] += 1
            else:
                yield PersonAnnotation(
                    image=image,
                    source_id=ids[image.name],
                    person_id=ids[image.name],
                    keypoints=np.where(visible[:, None] > 0, convert(points, LSP14, COCO17), 0),
                    keypoints_visible=visible,
                    joint_known=_IN_LSP14 & (visible > 0),
                    bbox=None,
                    area=0.0,
                    dataset=dataset,
                    extra_keypoints=extra_keypoints,
                )


def _load(root: Path, shape: tuple) -> tuple[np.ndarray, list[Path]]:
    """`joints` of joints.mat in the wanted shape (None: any), and the images by number."""
    path = root / "joints.mat"
    wanted = f"({', '.join('N' if n is None else str(n) for n in shape)})"
    if not path.is_file():
        raise DataError(path, "no such file", "give the folder that holds joints.mat and images/")
    joints = matlab.load(path, "joints")
    if joints is None:
        raise DataError(
            path, f"no variable 'joints', expected one of shape {wanted}", "fetch it again"
        )
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
    images = sorted((root / "images").glob("*.jpg"), key=_order)
    if len(images) != joints.shape[2]:
        raise DataError(
            path,
            f"{joints.shape[2]} columns of joints, but {len(images)} images in {root / 'images'}",
            "the i-th image by number must be the i-th column: restore or remove images",
        )
    return joints.astype(np.float64), images


def _order(image: Path) -> tuple[int, str]:
    """By the number in the name, so that im10 follows im9 in copies without leading zeros, too."""
    match = re.search(r"\d+", image.stem)
    return int(match[0]) if match else -1, image.name


def _number(image: Path) -> int:
    match = re.fullmatch(r"im(\d+)", image.stem)
    if match is None:
        raise DataError(
            image, "no file number in the name", "LSP's images are named im0001.jpg ..."
        )
    return int(match[1])
