"""Read MPII Human Pose from its published JSON conversion: 410 activities, 16 joints (chapter 02).

Andriluka et al., CVPR 2014. The original is a MATLAB file of nested structures; `train.json` and
`valid.json`, lists of {image, joints, joints_vis, center, scale}, are the conversion published with
SimpleBaseline and HRNet (github.com/leoxiaobin/deep-high-resolution-net.pytorch, "MPII data").
Coordinates count from 1, as in MATLAB, and 1 is subtracted. `scale` is the person's height in units
of 200 px.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from posekit.datasets import PersonAnnotation, excluded_images, read_json, skip_errors, source_ids
from posekit.errors import DataError
from posekit.skeleton import COCO17, MPII16, convert, convert_flags

__all__ = ["FILES", "read"]

FILES = {"train": "train.json", "val": "valid.json", "test": "test.json"}


def read(
    root: str | Path,
    split: str,
    *,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
) -> Iterator[PersonAnnotation]:
    """Read the people of MPII Human Pose, in the file's order.

    Args:
        root: folder with `annot/train.json` and `annot/valid.json` (or these files themselves) and
            `images/`.
        split: `"train"`, `"val"` (valid.json) or `"test"` (test.json, if you have one with joints).
        filtered: gets the number of people left out, by reason.
        skipped: see `posekit.datasets.read`.

    Yields:
        PersonAnnotation; v = 2 where `joints_vis` is 1, else v = 0 and not known: the conversion
        does not tell occluded from not annotated. The box is the square of `scale` about `center`,
        moved down by 15 px per scale, as SimpleBaseline does to include the feet.

    Raises:
        DataError: when there is no such file, or an entry in it cannot be used.
    """
    root = Path(root)
    filtered = Counter() if filtered is None else filtered
    if split not in FILES:
        raise DataError(root, f"no split {split!r}", f"choose one of {', '.join(FILES)}")
    candidates = [folder / FILES[split] for folder in (root / "annot", root)]
    path = next((p for p in candidates if p.is_file()), None)
    if path is None:
        raise DataError(
            root, f"neither annot/{FILES[split]} nor {FILES[split]}", "fetch MPII's JSON conversion"
        )
    entries = read_json(path)
    if not isinstance(entries, list):
        raise DataError(path, "is not a list of people", "fetch MPII's JSON conversion again")
    excluded = excluded_images(path.parent, split)
    people: Counter = Counter()
    ids = source_ids(str(entry.get("image")) for entry in entries if isinstance(entry, dict))
    for position, entry in enumerate(entries):
        with skip_errors(f"entry {position + 1} of {path.name}", skipped):
            sample = _person(entry, f"{path}, entry {position + 1}", root / "images", people, ids)
            if sample.image.name in excluded:
                filtered["exclude.txt"] += 1
            elif not sample.labelled.any():
                filtered["no labelled joint"] += 1
            else:
                yield sample


def _person(
    entry: object, where: str, images: Path, people: Counter, ids: dict[str, str]
) -> PersonAnnotation:
    """One entry; `people` counts the people per image: MPII gives them no ids."""
    try:
        name = str(entry["image"])
        joints = np.asarray(entry["joints"], np.float64).reshape(len(MPII16), 2) - 1
        labelled = np.asarray(entry["joints_vis"], np.float64).reshape(len(MPII16))
        center = np.asarray(entry["center"], np.float64).reshape(2) - 1
        scale = float(entry["scale"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        problem = f"cannot be read: {type(error).__name__} {error}"
        raise DataError(
            where, problem, "it needs image, joints (16x2), joints_vis (16), center (2), scale"
        ) from None
    where = f"{where} ({name})"
    if not np.all(np.isin(labelled, (0, 1))):
        raise DataError(
            where,
            f"joints_vis {sorted(set(labelled.tolist()))}, expected 0 or 1",
            "fix or remove the entry",
        )
    if not (
        np.all(np.isfinite(joints[labelled > 0]))
        and np.all(np.isfinite(center))
        and np.isfinite(scale)
    ):
        raise DataError(where, "holds NaN or infinity", "fix or remove the entry")
    number = people[name]
    people[name] += 1
    points = np.where(labelled[:, None] > 0, joints, 0)
    flags = 2 * labelled
    side = 200 * scale
    box = None
    if scale > 0:
        middle = center + (0, 15 * scale)
        box = np.array([*(middle + 0.5 - side / 2), side, side])
    visible = convert_flags(flags, MPII16, COCO17)
    source_id = ids.get(name, name)
    try:
        return PersonAnnotation(
            image=images / name,
            source_id=source_id,
            person_id=f"{source_id}/{number}",
            keypoints=convert(points, MPII16, COCO17),
            keypoints_visible=visible,
            joint_known=visible > 0,
            bbox=box,
            area=0.0,
            dataset="mpii",
        )
    except DataError as error:
        raise DataError(where, error.problem, error.hint) from None
