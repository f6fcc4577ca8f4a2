"""The small tables of chapter 02, from annotations that are too large or not free to come with the
book: `python book/tools/tables.py`.

    python book/tools/tables.py coco labels.tar.xz      # writes book/tables/coco.json
    python book/tools/tables.py leeds LSP LSPET         # writes book/tables/leeds.json

Each table names its source, licence, the sha256 of what it was made from and this command. They
hold counts only, no person's pose. `tests/book/test_tables.py` regenerates them where the data are
there, and compares.
"""

import argparse
import hashlib
import json
import sys
import tarfile
from pathlib import Path

import numpy as np

from posekit.errors import DataError
from posekit.geometry import PADDING
from posekit.skeleton import COCO17, LSP14

TABLES = Path(__file__).resolve().parents[1] / "tables"

SIZES = (100, 640)
"""Sides of COCO's photos in pixels: the longest is 640; below 100 there are next to none."""
EDGES_PX = (0, 32, 45, 64, 91, 128, 181, 256, 362, 512, 640)
"""Classes of a box's longer side in pixels, half an octave each."""
NEAR_PX = 10
"""A box that ends this close to the photo's edge is cut off by it: at the lower edge outlines often
stop 3 to 10 pixels short."""
BINS = 28
"""Of a heat map, across the padded square (normalised -0.5 ... 0.5)."""


def read_labels(archive: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """All lines of the label files in an archive.

    Args:
        archive: tar of text files, one per photo, one line per person:
            `0 cx cy w h x1 y1 v1 ... x17 y17 v17`, by width and height.

    Returns:
        (people (N, 56) float64, photo of each person (N,), names of the photos).

    Raises:
        DataError: when a file is not made of such lines.
    """
    people = []
    names = []
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith(".txt"):
                rows = np.array(tar.extractfile(member).read().split(), np.float64)
                if rows.size % 56:
                    raise DataError(
                        f"{archive}, {member.name}", f"{rows.size} numbers, expected 56 per person"
                    )
                people.append(rows.reshape(-1, 56))
                names.append(member.name)
    if not people:
        raise DataError(
            archive, "no label files", "give the archive of COCO's keypoint labels in YOLO's format"
        )
    return (
        np.concatenate(people),
        np.repeat(np.arange(len(people)), [len(rows) for rows in people]),
        names,
    )


def photo_sizes(
    values: np.ndarray, labelled: np.ndarray, photo: np.ndarray, photos: int
) -> np.ndarray:
    """Recover the number of pixels of a photo along one axis from its joints' relative positions.

    COCO's joints were clicked on whole pixels. So the side is the number that makes all of a
    photo's coordinates whole again.

    Args:
        values: (N, 17) joints along this axis, 0 ... 1, rounded to six decimals.
        labelled: (N, 17) bool.
        photo: (N,) the photo of each person.
        photos: how many there are.

    Returns:
        (photos,) pixels; 0 where several sides would do (below 321 the double always does), or
        none.
    """
    row, joint = np.nonzero(labelled)
    share = values[row, joint]
    where = photo[row]
    low, high = SIZES
    fits = np.ones((photos, high - low + 1), bool)
    for k, side in enumerate(range(low, high + 1)):
        fits[where[np.abs(share * side - np.round(share * side)) > 6e-7 * side], k] = False
    return np.where(fits.sum(axis=1) == 1, low + fits.argmax(axis=1), 0)


def coco(archive: Path) -> dict:
    """The table of COCO's keypoints: counts of joints, boxes and positions, of train2017 and
    val2017 together."""
    rows, photo, names = read_labels(archive)
    box = rows[:, 1:5]
    joints = rows[:, 5:].reshape(-1, len(COCO17), 3)
    flags = joints[..., 2].astype(int)
    labelled = flags > 0
    sizes = np.stack(
        [photo_sizes(joints[..., k], labelled, photo, len(names)) for k in (0, 1)], axis=1
    )
    sized = np.all(sizes > 0, axis=1)[photo]
    split = np.array([Path(name).parent.name for name in names])
    return {
        "source": "COCO 2017 person keypoints (Lin et al. 2014), as YOLO-pose labels of "
        "train2017 and val2017",
        "licence": "CC BY 4.0, COCO Consortium; photos are not used",
        "command": f"python book/tools/tables.py coco {archive.name}",
        "input": {archive.name: _sha256(archive)},
        "photos": {name: int(np.sum(split == name)) for name in sorted(set(split))},
        "people": {name: int(np.sum(split[photo] == name)) for name in sorted(set(split))},
        "photos_of_known_size": int(np.all(sizes > 0, axis=1).sum()),
        "people_a_photo": np.bincount(np.bincount(photo)).tolist(),
        "joints": list(COCO17.joints),
        "flags": _flags(flags),
        "labelled_a_person": np.bincount(labelled.sum(axis=1), minlength=len(COCO17) + 1).tolist(),
        **_sides(joints[..., :2], labelled),
        **_in_pixels(box[sized], joints[sized], sizes[photo][sized]),
    }


def _flags(flags: np.ndarray) -> list[list[int]]:
    """(N, K) flags -> for each joint how many are 0, 1 and 2."""
    return [[int(np.sum(flags[:, k] == v)) for v in (0, 1, 2)] for k in range(flags.shape[1])]


def _sides(points: np.ndarray, labelled: np.ndarray) -> dict:
    left = COCO17.index("left_shoulder")
    right = COCO17.index("right_shoulder")
    both = labelled[:, left] & labelled[:, right]
    ahead = points[both, left, 0] > points[both, right, 0]
    return {"both_shoulders": int(both.sum()), "left_shoulder_on_the_right": int(ahead.sum())}


def _in_pixels(box: np.ndarray, joints: np.ndarray, size: np.ndarray) -> dict:
    """Compute what needs the photo's proportions: sizes of boxes, positions in the padded square,
    the torso's direction."""
    centre = box[:, :2] * size
    extent = box[:, 2:] * size
    longer = extent.max(axis=1)
    points = joints[..., :2] * size[:, None]
    flags = joints[..., 2]
    low = centre - extent / 2
    high = centre + extent / 2
    touches = {"left": low[:, 0] < NEAR_PX, "top": low[:, 1] < NEAR_PX}
    touches |= {
        "right": high[:, 0] > size[:, 0] - NEAR_PX,
        "bottom": high[:, 1] > size[:, 1] - NEAR_PX,
    }
    size_class = np.searchsorted(EDGES_PX, longer, side="right") - 1
    classes = len(EDGES_PX) - 1
    cut = touches["bottom"]
    return {
        "people_of_known_size": len(box),
        "box_edges_px": list(EDGES_PX),
        "box_longer_side": np.bincount(
            np.minimum(size_class, classes - 1), minlength=classes
        ).tolist(),
        "labelled_joints_by_box": [
            int(np.sum(flags[np.minimum(size_class, classes - 1) == c] > 0)) for c in range(classes)
        ],
        "touches": {side: int(np.sum(which)) for side, which in touches.items()},
        "touches_any": int(np.sum(np.any(list(touches.values()), axis=0))),
        "missing_at_the_bottom_edge": np.sum(flags[cut] == 0, axis=0).tolist(),
        "missing_elsewhere": np.sum(flags[~cut] == 0, axis=0).tolist(),
        "box_centre": _histogram(box[:, :2] - 0.5, 16),
        **_trunk(points, flags > 0, COCO17),
        **_places(points, flags > 0, centre, longer),
    }


def _histogram(points: np.ndarray, bins: int) -> list[list[int]]:
    """(N, 2) points in -0.5 ... 0.5 -> counts, rows run down the image."""
    edges = np.linspace(-0.5, 0.5, bins + 1)
    return np.histogram2d(points[:, 1], points[:, 0], bins=(edges, edges))[0].astype(int).tolist()


def _places(
    points: np.ndarray, labelled: np.ndarray, centre: np.ndarray, longer: np.ndarray
) -> dict:
    """Compute, for each joint, a heat map, mean and spread in the padded square around the box."""
    u = (points + 0.5 - centre[:, None]) / (PADDING * longer[:, None, None])
    chosen = [u[labelled[:, k], k] for k in range(len(COCO17))]
    return {
        "mean": [[round(float(v), 4) for v in p.mean(axis=0)] for p in chosen],
        "spread": [[round(float(v), 4) for v in p.std(axis=0)] for p in chosen],
        "places": [_histogram(p, BINS) for p in chosen],
    }


def _trunk(points: np.ndarray, labelled: np.ndarray, skeleton) -> dict:
    """From which way up: the direction from mid-hip to mid-shoulder, degrees from upright, in
    twelve classes."""
    shoulders, hips = (
        [skeleton.index(f"{side}_{part}") for side in ("left", "right")]
        for part in ("shoulder", "hip")
    )
    all_four = labelled[:, [*shoulders, *hips]].all(axis=1)
    x, y = (points[all_four][:, shoulders].mean(axis=1) - points[all_four][:, hips].mean(axis=1)).T
    angle = np.degrees(np.arctan2(x, -y))
    return {"trunk_angle": np.histogram(np.abs(angle), np.arange(0, 181, 15))[0].tolist()}


def leeds(lsp: Path, lspet: Path) -> dict:
    """The table of Leeds Sports Pose and its extension: the third row's flags as they are stored,
    and the torso's direction."""
    import scipy.io

    tables = {}
    for name, root, axes in (("lsp", lsp, (2, 1, 0)), ("lspet", lspet, (2, 0, 1))):
        joints = scipy.io.loadmat(root / "joints.mat")["joints"].transpose(axes).astype(np.float64)
        flags = joints[..., 2].astype(int)
        known = np.ones_like(flags, bool) if name == "lsp" else flags == 1
        tables[name] = {
            "people": len(joints),
            "flags": [[int(np.sum(flags[:, k] == v)) for v in (0, 1)] for k in range(len(LSP14))],
            **_trunk(joints[..., :2], known, LSP14),
        }
    files = {"lsp/joints.mat": lsp / "joints.mat", "lspet/joints.mat": lspet / "joints.mat"}
    return {
        "source": "Leeds Sports Pose, im0001-im1000 (Johnson and Everingham 2010), and LSP "
        "Extended (2011)",
        "licence": "for research; only counts are kept, no pose and no photo",
        "command": "python book/tools/tables.py leeds LSP LSPET",
        "input": {name: _sha256(path) for name, path in files.items()},
        "joints": list(LSP14.joints),
        **tables,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_text(table: dict) -> str:
    """Return the text of a table: one line per entry."""
    lines = [
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in table.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(argv: list[str] | None = None) -> int:
    """Make one table; 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="table", required=True)
    commands.add_parser("coco").add_argument("sources", nargs=1, type=Path, metavar="LABELS")
    commands.add_parser("leeds").add_argument("sources", nargs=2, type=Path, metavar="FOLDER")
    given = parser.parse_args(argv)
    try:
        table = {"coco": coco, "leeds": leeds}[given.table](*given.sources)
    except (DataError, OSError, tarfile.TarError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    TABLES.mkdir(exist_ok=True)
    (TABLES / f"{given.table}.json").write_text(to_text(table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
