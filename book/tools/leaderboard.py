"""The leaderboard of the class project: score results on people whose annotations students lack.

    leaderboard.py blind ANNOTATIONS.json BLIND.json      for the students: people and boxes only
    leaderboard.py mean-pose ANNOTATIONS.json RESULTS.json [--train TRAIN.json]     the baseline
    leaderboard.py score ANNOTATIONS.json RESULTS.json --team NAME --board BOARD.csv
    leaderboard.py table BOARD.csv                        the Markdown table, without a new row

The numbers are those of `python -m posekit evaluate --coco ANNOTATIONS.json --results
RESULTS.json`: `posekit.metrics.coco_scores` computes both. `book/teaching/project.md` describes the
project.
"""

import argparse
import csv
import datetime
import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
from filelock import FileLock

from posekit import geometry, metrics
from posekit.datasets import coco_json, read_json
from posekit.errors import DataError
from posekit.files import atomic_write
from posekit.skeleton import COCO17

SCORES = ("AP", "AP50", "AP75", "AR")
"""The numbers of `metrics.coco_scores` that the board holds; the first one ranks."""
COLUMNS = ("team", "time", *SCORES, "detections", "results_sha256", "annotations_sha256")
"""Columns of the board, a row per submission; times are UTC."""
MAX_NAME = 40
MAX_BYTES = 200_000_000
"""A larger results file is not read."""
MEAN_POSE_OF = "minidome"
"""Model of the package whose training people give the mean pose if no others are named."""
CROP = 224
"""Side of the crop in which poses are averaged; the joints in the image do not depend on it."""


# ---- files for the students ----------------------------------------------------------------------


def blind(annotations: Path) -> dict:
    """Return what students may have of an annotation file: images, people and boxes.

    `posekit evaluate --coco` predicts in the boxes and writes results; it cannot score them.

    Args:
        annotations: person keypoint annotations, COCO JSON.

    Returns:
        COCO JSON. All joints are unlabelled; areas and whatever else the file holds is left out.

    Raises:
        DataError: when the file cannot be used.
    """
    file, people = metrics.coco.checked_annotations(annotations, notes=[])
    categories = read_json(annotations).get("categories", [])
    kept = ("id", "name", "supercategory", "keypoints", "skeleton")
    return {
        "images": [_image_entry(image) for image in file.images.values()],
        "categories": [{key: c[key] for key in kept if key in c} for c in categories],
        "annotations": [
            {
                "id": number,
                "image_id": person.image.id,
                "category_id": _category_id(person),
                "bbox": [round(float(value), 3) for value in box],
                "iscrowd": int(person.crowd),
                "num_keypoints": 0,
                "keypoints": [0] * (3 * len(person.category.joints)),
            }
            for number, (person, box) in enumerate(people, 1)
        ],
    }


def _image_entry(image: coco_json.CocoImage) -> dict:
    width, height = image.size or (None, None)
    entry = {"id": image.id, "file_name": image.name, "width": width, "height": height}
    return {key: value for key, value in entry.items() if value is not None}


def mean_pose(annotations: Path, train: Path | None = None) -> list[dict]:
    """Return COCO results that place the mean pose of training people in each annotated box.

    Args:
        annotations: of the people to predict, COCO JSON; a blind file will do.
        train: of the training people, COCO JSON; None: those of `MEAN_POSE_OF`.

    Raises:
        DataError: when a file cannot be used, or the training people lack a joint.
    """
    pose = _mean_of(train) if train else _packaged_mean()
    joints = geometry.decode_keypoints(pose, (CROP, CROP))
    results = []
    for person, box in metrics.coco.checked_annotations(annotations, notes=[])[1]:
        if person.crowd:
            continue
        placed = geometry.apply_affine(geometry.invert(_into_crop(box)), joints).round(3)
        keypoints = person.category.from_coco17(np.column_stack([placed, np.ones(len(placed))]))
        results.append(
            {
                "image_id": person.image.id,
                "category_id": _category_id(person),
                "keypoints": keypoints.ravel().tolist(),
                "score": 0.5,
            }
        )
    return results


def _into_crop(box: np.ndarray) -> np.ndarray:
    """The affine from the image to the padded square around a box."""
    return geometry.crop_affine(geometry.bbox_center(box), geometry.square_side(box), CROP)


def _packaged_mean() -> np.ndarray:
    from posekit.inference import predictor

    record = read_json(predictor.weights_folder() / MEAN_POSE_OF / "record.json")
    return np.array(record["mean_pose"], np.float64)


def _mean_of(train: Path) -> np.ndarray:
    """(17, 2) mean of the labelled joints in the normalised coordinates of each person's square."""
    total = np.zeros((len(COCO17), 2))
    count = np.zeros((len(COCO17), 1))
    for person, box in metrics.coco.checked_annotations(train, notes=[])[1]:
        if not person.crowd:
            pose = geometry.apply_affine(_into_crop(box), person.keypoints)
            labelled = person.labelled[:, None]
            total += np.where(labelled, geometry.encode_keypoints(pose, (CROP, CROP)), 0)
            count += labelled
    if not count.all():
        missing = ", ".join(name for name, n in zip(COCO17.joints, count, strict=True) if not n)
        raise DataError(train, f"labels no {missing}", "name annotations that have every joint")
    return total / count


def _category_id(person: coco_json.CocoPerson) -> object:
    return 1 if person.category.id is None else person.category.id


# ---- the board -----------------------------------------------------------------------------------


def submit(
    annotations: Path,
    results: Path,
    team: str,
    board: Path,
    per_day: int | None = None,
    now: datetime.datetime | None = None,
) -> tuple[list[dict], list[str]]:
    """Score a results file and append a row to the board.

    Args:
        annotations: person keypoint annotations, COCO JSON, which the students do not have.
        results: the students' file in COCO's results format.
        team: name of the team.
        board: CSV file; created when it is missing.
        per_day: a team's largest number of submissions per day (UTC); None: any.
        now: time of the submission; None: the clock's.

    Returns:
        All rows of the board, the new one last; and notes for the teacher.

    Raises:
        DataError: when one of the files cannot be used; the board is then unchanged.
    """
    team = _checked_name(team)
    now = now or datetime.datetime.now(datetime.UTC)
    time = now.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    content, results_digest = _read_results(results)
    annotations_digest = _digest(_bytes_of(annotations))
    board.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(board.with_name(f".{board.name}.lock")):
        rows = read_board(board)
        _check_board(board, rows, annotations_digest)
        today = sum(row["team"] == team and row["time"][:10] == time[:10] for row in rows)
        if per_day is not None and today >= per_day:
            problem = f"has handed in {today} files today, of {per_day} allowed"
            raise DataError(f"team {team}", problem, "the day ends at midnight UTC")
        scores = _scores(annotations, content, results)
        notes = [
            f"team {row['team']} handed in the same file on {row['time']} UTC"
            for row in rows
            if row["results_sha256"] == results_digest and row["team"] != team
        ]
        row = {
            "team": team,
            "time": time,
            **{name: f"{scores[name]:.4f}" for name in SCORES},
            "detections": str(len(content)),
            "results_sha256": results_digest,
            "annotations_sha256": annotations_digest,
        }
        rows.append(row)
        _write_board(board, rows)
    return rows, notes


def _scores(annotations: Path, content: list, results: Path) -> dict[str, float]:
    """The ten numbers of COCO; an error about an entry names the students' file."""
    try:
        scores = metrics.coco_scores(annotations, content, notes=[])
    except DataError as error:
        if error.where.startswith("results"):
            where = error.where.replace("results", str(results), 1)
            raise DataError(where, error.problem, error.hint) from None
        raise
    if scores[SCORES[0]] != scores[SCORES[0]]:
        raise DataError(annotations, "has no person to score on", "name the full annotations")
    return scores


def _read_results(path: Path) -> tuple[list, str]:
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        problem = f"has {path.stat().st_size:,} bytes"
        raise DataError(path, problem, f"at most {MAX_BYTES:,} are read")
    content = read_json(path)
    if not isinstance(content, list):
        hint = "expected a list of {image_id, category_id, keypoints, score}"
        raise DataError(path, "is not a list", hint)
    if not content:
        raise DataError(path, "holds no detection", "predict the people of the blind file")
    return content, _digest(_bytes_of(path))


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise DataError(path, problem, "check the path") from None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _checked_name(team: str) -> str:
    """A name that is safe in a CSV file, in a spreadsheet and in a Markdown table."""
    name = " ".join(team.split())
    good = name[:1].isalnum() and all(c.isalnum() or c in " _-." for c in name)
    if not good or len(name) > MAX_NAME:
        hint = f"letters, digits, spaces, - _ and ., at most {MAX_NAME}, a letter or digit first"
        raise DataError("--team", f"{team!r} cannot be a name", hint)
    return name


def read_board(path: Path) -> list[dict]:
    """Read the rows of a board; an empty list where there is no file.

    Raises:
        DataError: when the file is not a board.
    """
    if not path.exists():
        return []
    hint = "restore a copy, or name a new file"
    try:
        text = _bytes_of(path).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"cannot be read as CSV: {error}", hint) from None
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise DataError(path, f"has other columns than {', '.join(COLUMNS)}", hint)
    for number, row in enumerate(rows, 2):
        try:
            if None in row or None in row.values():
                raise ValueError("another number of columns")
            _ = [float(row[name]) for name in SCORES]
        except ValueError as error:
            raise DataError(f"{path}, line {number}", str(error), hint) from None
    return rows


def _check_board(path: Path, rows: list[dict], annotations_digest: str) -> None:
    if any(row["annotations_sha256"] != annotations_digest for row in rows):
        problem = "holds scores on another annotation file, which cannot be compared"
        raise DataError(path, problem, "use one board per annotation file")


def _write_board(path: Path, rows: list[dict]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        atomic_write(path, text.getvalue().encode("utf-8"))
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise DataError(path, problem, "check the folder") from None


def table(rows: list[dict]) -> str:
    """Return the Markdown table: each team's best submission, the best team first.

    Teams with equal AP, as shown, share a rank.
    """
    best: dict[str, dict] = {}
    tries: dict[str, int] = {}
    for row in rows:
        team = row["team"]
        tries[team] = tries.get(team, 0) + 1
        if team not in best or float(row[SCORES[0]]) > float(best[team][SCORES[0]]):
            best[team] = row
    ranked = sorted(best.values(), key=lambda row: (-_shown(row, SCORES[0]), row["time"]))
    lines = [
        f"| rank | team | {' | '.join(SCORES)} | submissions | best one, UTC |",
        f"|--:|:--|{'--:|' * len(SCORES)}--:|:--|",
    ]
    for row in ranked:
        value = _shown(row, SCORES[0])
        rank = 1 + sum(_shown(other, SCORES[0]) > value for other in ranked)
        scores = " | ".join(f"{_shown(row, name):.3f}" for name in SCORES)
        cells = f"{rank} | {row['team']} | {scores} | {tries[row['team']]} | {row['time'][:16]}"
        lines.append(f"| {cells} |")
    return "\n".join(lines)


def _shown(row: dict, name: str) -> float:
    return round(float(row[name]), 3)


# ---- command line --------------------------------------------------------------------------------


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="leaderboard.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("blind", "write the people and boxes that students get, without joints"),
        ("mean-pose", "write the results of always predicting the mean pose"),
    ):
        p = commands.add_parser(name, help=text, description=text)
        p.add_argument("annotations", type=Path, metavar="ANNOTATIONS")
        p.add_argument("out", type=Path, metavar="OUT", help="JSON file to write")
        if name == "mean-pose":
            p.add_argument(
                "--train",
                type=Path,
                metavar="ANNOTATIONS",
                help="annotations of the training people (default: MiniDome's mean pose)",
            )
    text = "score a results file, append a row to the board, print the table"
    p = commands.add_parser("score", help=text, description=text)
    p.add_argument("annotations", type=Path, metavar="ANNOTATIONS")
    p.add_argument("results", type=Path, metavar="RESULTS")
    p.add_argument("--team", required=True, metavar="NAME", help="name of the team (required)")
    p.add_argument("--board", required=True, type=Path, metavar="CSV", help="the board (required)")
    p.add_argument(
        "--per-day",
        type=int,
        metavar="N",
        help="refuse more than N submissions of a team per day (default: any number)",
    )
    text = "print the table of a board"
    p = commands.add_parser("table", help=text, description=text)
    p.add_argument("board", type=Path, metavar="CSV")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 for bad input."""
    args = _arguments(argv)
    try:
        if args.command in ("blind", "mean-pose"):
            if args.out.exists():
                raise DataError(args.out, "exists", "give another name, or delete it")
            if args.command == "blind":
                content = blind(args.annotations)
            else:
                content = mean_pose(args.annotations, args.train)
            atomic_write(args.out, json.dumps(content).encode("utf-8"))
            print(args.out)
        elif args.command == "score":
            rows, notes = submit(
                args.annotations, args.results, args.team, args.board, args.per_day
            )
            for note in notes:
                print(f"note: {note}", file=sys.stderr)
            print(table(rows))
        else:
            if not args.board.is_file():
                raise DataError(args.board, "no such file", "score a results file first")
            print(table(read_board(args.board)))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
