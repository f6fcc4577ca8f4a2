"""Read your own images: a table of joints, or the COCO JSON of an annotation tool (chapter 02).

    FOLDER/keypoints.csv        image,person,joint,x,y,v     one joint per line
    FOLDER/images/...           the images (or next to the table)

or one COCO keypoint JSON and the images, as CVAT, Label Studio, COCO Annotator and Roboflow export
them; its joints may stand in any order. Coordinates count from the centre of the first pixel of the
image *as it is displayed*: a phone stores many images lying on their side.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from posekit.datasets import (
    PersonAnnotation,
    coco,
    excluded_images,
    read_json,
    skip_errors,
    source_ids,
)
from posekit.datasets.coco_json import MAX_COORDINATE, CocoImage
from posekit.datasets.foreign_formats import refuse_content, refuse_folder
from posekit.datasets.image_files import ImageFinder, folder_named
from posekit.datasets.joint_names import joint_of
from posekit.errors import DataError
from posekit.skeleton import COCO17

__all__ = ["COLUMNS", "TABLE", "read", "template"]

K = len(COCO17)
TABLE = "keypoints.csv"
COLUMNS = ("image", "person", "joint", "x", "y", "v")
_EMPTY = frozenset({"nan", "na", "n/a", "null", "none"})
"""Values that tools write into a cell without a value."""


def read(
    root: str | Path,
    split: str | None = None,
    *,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
    notes: list[str] | None = None,
) -> Iterator[PersonAnnotation]:
    """Read the people of your own images.

    A joint that has no line in the table is not labelled and nothing is known of it; with v = 0 it
    is outside the image. A person has no annotated box: it is taken from the joints.

    Args:
        root: the folder.
        split: of several JSON files it picks the one that it names; else only a name. `"train"`
            leaves out the images in `exclude.txt`.
        filtered: gets the number of people left out, by reason.
        skipped: see `posekit.datasets.read`; a line of the table that cannot be used costs its
            whole person.
        notes: see `posekit.datasets.read`.

    Returns:
        A stream of PersonAnnotation, image by image in the table's order; `person_id` is
        "image/person".

    Raises:
        DataError: when there is neither table nor JSON, or both; naming file and line.
    """
    root = Path(root)
    tables = sorted(root.glob(TABLE))
    files = coco.annotation_files(root, split)
    if not tables and not files:
        refuse_folder(root)
    if len(tables) + len(files) != 1:
        names = [str(path.relative_to(root)) for path in (*tables, *files)]
        found = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "neither"
        for path in files[:1]:
            refuse_content(path, read_json(path))
        problem = f"expected one {TABLE} or one COCO JSON, found {found}"
        raise DataError(root, problem, "see chapter 02, 'Annotate ten photos of your own'")
    if tables:
        images = folder_named(root, "images") or root
        filtered = Counter() if filtered is None else filtered
        return _read_table(tables[0], images, split, filtered, skipped)
    return coco.read(
        files[0],
        coco.images_folder(root, files[0]),
        dataset="own",
        split=split,
        as_displayed=True,
        filtered=filtered,
        skipped=skipped,
        notes=notes,
    )


def template(images: list[str | Path]) -> str:
    """Write the empty table for one person in each image: fill in x, y, v, delete what is unseen.

    Args:
        images: their paths; the names go into the table.

    Returns:
        The text of a `keypoints.csv`.
    """
    lines = [",".join(COLUMNS)]
    lines += [f"{Path(image).name},1,{joint},,," for image in images for joint in COCO17.joints]
    return "\n".join(lines) + "\n"


def _read_table(
    path: Path, images: Path, split: str | None, filtered: Counter, skipped: list | None
) -> Iterator[PersonAnnotation]:
    excluded = excluded_images(path.parent, split)
    finder = ImageFinder(images)
    people = _people(path)
    ids = source_ids(name for name, _ in people)
    for (name, person), lines in people.items():
        with skip_errors(f"{name}/{person}", skipped):
            keypoints = np.zeros((K, 2))
            visible = np.zeros(K, int)
            known = np.zeros(K, bool)
            for number, row in lines:
                where = f"{path}, line {number}"
                k, x, y, v = _joint(where, row)
                if known[k]:
                    problem = f"{COCO17.joints[k]} of person {person} occurs twice"
                    raise DataError(where, problem, "leave one of the lines")
                keypoints[k] = x, y
                visible[k] = v
                known[k] = True
            if not (visible > 0).any():
                filtered["no labelled joint"] += 1
            elif Path(name).name in excluded:
                filtered["exclude.txt"] += 1
            else:
                image = CocoImage(name, name, f"{path}, line {lines[0][0]}", name, None)
                yield PersonAnnotation(
                    image=finder.find(image),
                    source_id=ids[name],
                    person_id=f"{name}/{person}",
                    keypoints=keypoints,
                    keypoints_visible=visible,
                    joint_known=known,
                    bbox=None,
                    area=0.0,
                    dataset="own",
                    as_displayed=True,
                )


def _people(path: Path) -> dict[tuple[str, str], list[tuple[int, dict]]]:
    """(image, person) -> its lines with their numbers, without lines that were not filled in."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read: {error}"
        raise DataError(path, problem, "save the table as CSV in UTF-8") from None
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    columns = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if missing := [name for name in COLUMNS if name not in columns]:
        hint = f"the first line is {','.join(COLUMNS)}"
        raise DataError(f"{path}, line 1", f"no column {missing[0]!r}", hint)
    people: dict[tuple[str, str], list[tuple[int, dict]]] = {}
    lines = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        for values in lines:
            if lines.line_num == 1 or not any(value.strip() for value in values):
                continue
            cells = (value.strip() for value in values)
            cells = ("" if cell.lower() in _EMPTY else cell for cell in cells)
            row = dict(zip(columns, cells, strict=False))
            if not any(row.get(name) for name in ("x", "y", "v")):
                continue
            if not row.get("image") or not row.get("joint"):
                where = f"{path}, line {lines.line_num}"
                raise DataError(where, "has no image or no joint", "fill it in, or delete the line")
            key = row["image"].replace("\\", "/"), _person_name(row.get("person"))
            people.setdefault(key, []).append((lines.line_num, row))
    except csv.Error as error:
        where = f"{path}, line {lines.line_num}"
        raise DataError(where, f"is not CSV: {error}", "save the table as CSV again") from None
    return people


def _person_name(text: str | None) -> str:
    """The person's name or number; a whole number may be written 1.0, as pandas does."""
    name = text or "1"
    return name.removesuffix(".0") if name.removesuffix(".0").isdecimal() else name


def _joint(where: str, row: dict) -> tuple[int, float, float, int]:
    """(joint, x, y, v) of one line."""
    joint = joint_of(row["joint"])
    if joint is None:
        problem = f"unknown joint {row['joint']!r}"
        raise DataError(where, problem, f"one of {', '.join(COCO17.joints)}")
    v = _number(row.get("v") or "2")
    if v not in (0, 1, 2):
        hint = "0 outside the image, 1 occluded, 2 visible"
        raise DataError(where, f"v is {row.get('v')!r}", hint)
    if v == 0:
        return COCO17.index(joint), 0.0, 0.0, 0
    x = _number(row.get("x"))
    y = _number(row.get("y"))
    if x is None or y is None:
        problem = f"x {row.get('x')!r}, y {row.get('y')!r}: expected two numbers"
        raise DataError(where, problem, "fill in both")
    if not (abs(x) < MAX_COORDINATE and abs(y) < MAX_COORDINATE):  # NaN is not less
        raise DataError(where, f"x {x}, y {y} is no position in an image", "fill in pixels")
    return COCO17.index(joint), x, y, int(v)


def _number(text: str | None) -> float | None:
    """A number as spreadsheets write it, with point or comma; None where it is not one."""
    try:
        return float((text or "").replace(",", "."))
    except ValueError:
        return None
