"""The data of the released model: training mix and validation records (model card)."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments import common
from posekit import datasets
from posekit.datasets import PersonAnnotation
from posekit.errors import DataError
from posekit.minidome.sequence import make_sequence

BOX_PX = 192
"""Side of the padded box in stored pixels: the largest input that a run may ask for. LSPET's photos
hold little more."""
DOMINANT_RATIO = 4.0
"""A person is dominant in a photo if their box has at least this many times the area of every
other."""


@dataclass(frozen=True)
class Part:
    """One record folder of the mix.

    Args:
        dataset: a name of `datasets.DATASETS`.
        folder: name of a folder in `POSEKIT_DATA`, or of a sequence in `SEQUENCES`.
        box: `box_source` of `records.CropSettings`.
        times: how often its people are seen in one pass over the mix.
        dominant_only: keep dominant people only (`dominant_people`).
        open_only: keep people and images under an open licence only (`OpenLicence`).
    """

    dataset: str
    folder: str
    box: str
    times: int
    dominant_only: bool = False
    open_only: bool = False


PEOPLE = (
    Part("lspet", "lspet", "joints", 1),
    Part("lspet", "lspet", "image", 1),
    Part("lsp", "lsp", "joints", 2),
    Part("lsp", "lsp", "image", 2),
    Part("coco", "webcam_people", "image", 5),
    Part("coco", "webcam_people", "annotation", 3),
    Part("coco", "web_upper", "image", 5),
    Part("coco", "web_upper", "annotation", 3),
    Part("coco", "web_smoking", "image", 1),
    Part("coco", "web_smoking", "annotation", 1),
    Part("coco", "coco", "annotation", 6),
    Part("coco", "coco", "image", 6, dominant_only=True),
    Part("coco", "coco_gray", "annotation", 6),
    Part("coco", "coco_gray", "image", 6, dominant_only=True),
    Part("coco", "coco_extra", "annotation", 6),
    Part("coco", "coco_extra", "image", 6, dominant_only=True),
)
"""Real people. The webcam photos are few and closest to the use: a seventh of the mix."""
BACKGROUND = (
    Part("background", "negatives", "image", 15),
    Part("background", "webcam_people", "annotation", 30),
    Part("background", "web_upper", "annotation", 30),
    Part("background", "coco", "annotation", 9),
    Part("background", "coco_gray", "annotation", 9),
    Part("background", "coco_extra", "annotation", 9),
)
"""Photos without a person, and squares next to people. Few webcam photos leave such a square."""
SYNTHETIC = (
    Part("minidome", "phone", "annotation", 1),
    Part("minidome", "phone", "image", 1),
    Part("minidome", "laptop", "image", 1),
    Part("minidome", "desk", "image", 1),
    Part("background", "desk", "annotation", 2),
)
"""Rendered people, a small share: the labels of their hidden joints are exact, too."""
OPEN_LICENCE = (
    Part("lsp", "lsp", "joints", 4),
    Part("lsp", "lsp", "image", 4),
    Part("coco", "webcam_people", "image", 6, open_only=True),
    Part("coco", "webcam_people", "annotation", 4, open_only=True),
    Part("coco", "web_upper", "image", 6, open_only=True),
    Part("coco", "web_upper", "annotation", 4, open_only=True),
    Part("coco", "coco", "annotation", 6, open_only=True),
    Part("background", "negatives", "image", 20, open_only=True),
    Part("background", "coco", "annotation", 9, open_only=True),
)
"""The mix of `--licensed-only`, with `SYNTHETIC`: LSP's photos (CC BY 2.0), webcam photos of
repositories under the MIT licence, and COCO photos that may be used commercially."""
OPEN_TERMS = {"MIT", "4", "5", "7", "8"}
"""Entries of a source table that count as open: MIT; of COCO's licences CC BY, CC BY-SA, no known
copyright restrictions, and works of the United States government."""
SEQUENCES = {
    "phone": {"frames": 600, "cameras": 1, "seed": 8, "mode": "phone", "size": (480, 640)},
    "laptop": {"frames": 600, "cameras": 1, "seed": 9, "mode": "phone", "size": (640, 480)},
    "desk": {"frames": 400, "cameras": 1, "seed": 6, "mode": "desk", "empty": 0.2},
}
"""Name -> arguments of `make_sequence`."""
VALIDATION = {
    "webcam": ("coco", "webcam_people", "image"),
    "stills": ("coco", "webcam_stills", "image"),
    "lsp": ("lsp", "lsp", "image"),
    "lsp_joints_box": ("lsp", "lsp", "joints"),
    "coco": ("coco", "coco", "annotation"),
    "web_upper": ("coco", "web_upper", "image"),
    "background": ("background", "negatives", "image"),
    "background_squares": ("background", "coco", "annotation"),
    "background_stills": ("background", "webcam_stills", "annotation"),
}
"""Name -> (data set, folder, box) of the people on which models are compared: split "val", never
trained on."""


def dominant_people(people: Iterable[PersonAnnotation]) -> Iterator[PersonAnnotation]:
    """Keep the people for whom the full photo is a fair box.

    Args:
        people: with boxes; those of one photo need not be neighbours.

    Yields:
        Of each photo the person with the largest box, if it has at least `DOMINANT_RATIO` times the
        area of every other.
    """
    photos = {}
    for person in people:
        photos.setdefault(person.source_id, []).append(person)
    for group in photos.values():
        areas = np.array([0.0 if p.bbox is None else np.prod(p.bbox[2:]) for p in group])
        largest = int(np.argmax(areas))
        others = np.delete(areas, largest)
        if areas[largest] > 0 and (areas[largest] >= DOMINANT_RATIO * others).all():
            yield group[largest]


class OpenLicence:
    """Select the people whose photo is under an open licence, by the table of a data set.

    `name` is the end of the name of the record folder.

    Args:
        folder: of the data set; its sources.csv or index.csv lists `file` and `licence` or
            `coco_license_id`.

    Raises:
        DataError: if there is no such table.
    """

    name = "open"

    def __init__(self, folder: Path):
        tables = [folder / name for name in ("sources.csv", "index.csv")]
        table = next((path for path in tables if path.is_file()), None)
        if table is None:
            raise DataError(folder, "lists no licences", "expected sources.csv or index.csv")
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        column = "licence" if "licence" in rows[0] else "coco_license_id"
        self.names = {Path(row["file"]).name for row in rows if row[column] in OPEN_TERMS}

    def __call__(self, people: Iterable[PersonAnnotation]) -> Iterator[PersonAnnotation]:
        """Yield the people of open photos."""
        return (person for person in people if Path(person.source_id).name in self.names)


def synthetic_sequences(folder: Path) -> dict[str, Path]:
    """Generate the sequences of `SEQUENCES` in front of photos of rooms, unless they are there.

    Returns:
        Name -> folder.
    """
    (rooms,) = common.photos("negatives")
    for name, options in SEQUENCES.items():
        if not (folder / name).is_dir():
            make_sequence(folder / name, backgrounds=rooms / "images", **options)
    return {name: folder / name for name in SEQUENCES}


def training_records(
    folder: Path, synthetic: bool = True, licensed_only: bool = False
) -> list[Path]:
    """Write the records of the mix, unless they are there.

    Args:
        folder: for the records and the sequences.
        synthetic: include rendered people.
        licensed_only: the mix of `OPEN_LICENCE` instead of all photos; always with rendered people.

    Returns:
        Record folders, each as often as its people are to be seen.

    Raises:
        DataError: if `POSEKIT_DATA` is not set, or a folder of it cannot be used.
    """
    synthetic = synthetic or licensed_only
    sequences = synthetic_sequences(folder) if synthetic else {}
    mix = []
    photos = OPEN_LICENCE if licensed_only else PEOPLE + BACKGROUND
    for part in photos + (SYNTHETIC if synthetic else ()):
        source = sequences.get(part.folder) or common.photos(part.folder)[0]
        keep = dominant_people if part.dominant_only else None
        keep = OpenLicence(source) if part.open_only else keep
        written = common.people_records(
            folder, part.dataset, source, "train", part.box, keep, box_px=BOX_PX
        )
        mix += [written] * part.times
    return mix


def validation_records(folder: Path) -> dict[str, Path]:
    """Write the records of `VALIDATION`, unless they are there.

    Returns:
        Name -> record folder.
    """
    return {
        name: common.people_records(
            folder, dataset, common.photos(source)[0], "val", box, box_px=BOX_PX
        )
        for name, (dataset, source, box) in VALIDATION.items()
    }


def validation_people(kind: str) -> Iterator[PersonAnnotation]:
    """Yield the people of a kind of `VALIDATION`."""
    dataset, source, _ = VALIDATION[kind]
    return datasets.read(dataset, common.photos(source)[0], "val")


def shares(mix: list[Path], people: dict[Path, int]) -> dict[str, float]:
    """Compute the fraction of each record folder in a mix.

    Args:
        mix: of `training_records`.
        people: record folder -> number of people.

    Returns:
        Name of the folder -> fraction of the people seen, largest first.
    """
    seen = Counter({folder.name: mix.count(folder) * people[folder] for folder in set(mix)})
    return {name: round(count / seen.total(), 4) for name, count in seen.most_common()}
