"""Your own photos: a folder of pictures and a table of joints, or the COCO JSON of an annotation tool (chapter 02, "annotate ten photos of your own").

    FOLDER/keypoints.csv        image,person,joint,x,y,v     one joint a line
    FOLDER/images/…             the photos (or beside the table)

or FOLDER/*.json in COCO's keypoint format with FOLDER/images/, as CVAT, Label Studio and COCO Annotator export it; its joints may stand in any order.
Coordinates count from the centre of the first pixel of the photo *as it is displayed*: a telephone stores many photos lying on their side.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from posekit.datasets import PersonAnnotation, coco, excluded_photos, skip_errors
from posekit.errors import DataError
from posekit.skeleton import COCO17

K = len(COCO17)
TABLE = "keypoints.csv"
COLUMNS = ("image", "person", "joint", "x", "y", "v")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def read(
    root: str | Path,
    split: str | None = None,
    *,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
) -> Iterator[PersonAnnotation]:
    """People of your own photos.

    A joint that has no line in the table is not labelled and nothing is known of it; with v = 0 it is out of the photo. A person
    has no annotated box: it is taken from the joints.

    Args:
        root: the folder.
        split: only a name; `"train"` leaves out the photos in `exclude.txt`.
        filtered: gets the number of people left out, by reason.
        skipped: see `sources.read`; a line of the table that cannot be used costs its whole person.

    Yields:
        PersonAnnotation, photo by photo in the table's order; `person_id` is "image/person".

    Raises:
        DataError: when there is neither table nor JSON, or both; naming file and line.
    """
    root = Path(root)
    tables, jsons = (
        sorted(root.glob(TABLE)),
        sorted(root.glob("*.json")) + sorted(root.glob("annotations/*.json")),
    )
    if len(tables) + len(jsons) != 1:
        found = ", ".join(str(path.relative_to(root)) for path in (*tables, *jsons)) or "neither"
        raise DataError(
            root,
            f"expected one {TABLE} or one COCO JSON, found {found}",
            "see chapter 02, 'your own photos'",
        )
    images = root / "images" if (root / "images").is_dir() else root
    if jsons:
        return coco.read(
            jsons[0],
            images,
            dataset="own",
            split=split,
            as_displayed=True,
            filtered=filtered,
            skipped=skipped,
        )
    return _table(tables[0], images, split, Counter() if filtered is None else filtered, skipped)


def template(photos: list[str | Path]) -> str:
    """The empty table for one person in each of these photos: fill in x, y and v, delete what you cannot see.

    Args:
        photos: their paths; the names go into the table.

    Returns:
        the text of a `keypoints.csv`.
    """
    lines = [",".join(COLUMNS)]
    lines += [f"{Path(photo).name},1,{joint},,," for photo in photos for joint in COCO17.joints]
    return "\n".join(lines) + "\n"


def _table(
    path: Path, images: Path, split: str | None, filtered: Counter, skipped: list | None
) -> Iterator[PersonAnnotation]:
    excluded = excluded_photos(path.parent, split)
    for (photo, person), lines in _people(path).items():
        with skip_errors(f"{photo}/{person}", skipped):
            keypoints, visible = np.zeros((K, 2)), np.zeros(K, int)
            known = np.zeros(K, bool)
            for number, row in lines:
                k, x, y, v = _joint(f"{path}, line {number}", row)
                if known[k]:
                    where = f"{path}, line {number}"
                    raise DataError(
                        where,
                        f"{COCO17.joints[k]} of person {person} occurs twice",
                        "leave one of the lines",
                    )
                keypoints[k], visible[k], known[k] = (x, y), v, True
            if not (visible > 0).any():
                filtered["no labelled joint"] += 1
            elif Path(photo).name in excluded:
                filtered["exclude.txt"] += 1
            else:
                yield PersonAnnotation(
                    image=images / photo,
                    source_id=str(Path(photo).with_suffix("")),
                    person_id=f"{photo}/{person}",
                    keypoints=keypoints,
                    keypoints_visible=visible,
                    joint_known=known,
                    bbox=None,
                    area=0.0,
                    dataset="own",
                    as_displayed=True,
                )


def _people(path: Path) -> dict[tuple[str, str], list[tuple[int, dict]]]:
    """(image, person) -> its lines with their numbers, those with an empty x, y and v left out: they were not filled in."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            path, f"cannot be read: {error}", "save the table as CSV in UTF-8"
        ) from None
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    columns = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if missing := [name for name in COLUMNS if name not in columns]:
        raise DataError(
            f"{path}, line 1", f"no column {missing[0]!r}", f"the first line is {','.join(COLUMNS)}"
        )
    people: dict[tuple[str, str], list[tuple[int, dict]]] = {}
    lines = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        for values in lines:
            if lines.line_num == 1 or not any(value.strip() for value in values):
                continue
            row = dict(zip(columns, (value.strip() for value in values), strict=False))
            if not any(row.get(name) for name in ("x", "y", "v")):
                continue
            if not row.get("image") or not row.get("joint"):
                raise DataError(
                    f"{path}, line {lines.line_num}",
                    "has no image or no joint",
                    "fill it in, or delete the line",
                )
            people.setdefault((row["image"], row.get("person") or "1"), []).append(
                (lines.line_num, row)
            )
    except csv.Error as error:
        raise DataError(
            f"{path}, line {lines.line_num}", f"is no CSV: {error}", "save the table as CSV again"
        ) from None
    return people


def _joint(where: str, row: dict) -> tuple[int, float, float, int]:
    """(joint, x, y, v) of one line."""
    joint = coco.joint_of(row["joint"])
    if joint is None:
        raise DataError(
            where, f"unknown joint {row['joint']!r}", f"one of {', '.join(COCO17.joints)}"
        )
    v = row.get("v") or "2"
    if v not in ("0", "1", "2"):
        raise DataError(where, f"v is {v!r}", "0 outside the photo, 1 hidden, 2 seen")
    if v == "0":
        return COCO17.index(joint), 0.0, 0.0, 0
    try:
        x, y = (float((row.get(name) or "").replace(",", ".")) for name in ("x", "y"))
    except ValueError:
        raise DataError(
            where, f"x {row.get('x')!r}, y {row.get('y')!r}: expected two numbers", "fill in both"
        ) from None
    if not (np.isfinite(x) and np.isfinite(y) and abs(x) < 1e6 and abs(y) < 1e6):
        raise DataError(where, f"x {x}, y {y} is no place in a photo", "fill in pixels")
    return COCO17.index(joint), x, y, int(v)
