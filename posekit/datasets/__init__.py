"""Where people come from: every data set becomes a stream of the same `PersonAnnotation` (chapters 01, 02).

One module a data set; each has a `read(...) -> Iterator[PersonAnnotation]`, streams, never holds photos in memory, and raises
`DataError` naming the file, the record and the fix. What a reader leaves out it counts by reason in `filtered`.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posekit.errors import DataError
from posekit.images import read_image
from posekit.skeleton import COCO17


@dataclass(frozen=True)
class PersonAnnotation:
    """One annotated person in one photo, in the COCO-17 skeleton.

    Three things are told apart that other code mixes up (see `book/` chapter 06, visibility):

    | keypoints_visible | joint_known | meaning | coordinates | target of the visibility output |
    |---|---|---|---|---|
    | 2, 1 | True | labelled, seen (2) or occluded (1), inside the photo | valid | 1 if inside the crop, else 0 |
    | 0 | True | known to be outside the photo | ignored | 0 |
    | 0 | False | nothing is known | ignored | none: weight 0 |

    Args:
        image: path of the photo.
        source_id: the photo's name within its data set, stable across machines, e.g. `"000000123456"`.
        person_id: unique within the data set, e.g. `"000000123456/17"`; decides order and shard by its hash.
        keypoints: (17, 2) float32 photo pixels, x then y, pixel centres at integers.
        keypoints_visible: (17,) uint8 in {0, 1, 2} as in COCO.
        joint_known: (17,) bool, see the table.
        bbox: (4,) float32 annotated box (x, y, w, h) in photo pixels, or None where the data set has none.
        area: the person's exact area in photo pixels squared (COCO's `area`); 0 where it is not known, or only estimated.
        dataset: one of `DATASETS`.
        photo_size: (w, h) that the annotations were made for, or None where the data set does not tell.
        extra_keypoints: (2, 3) float32 x, y, v of neck and head top, which are no joints of COCO's; v = 0: nothing is known. None where the
            data set does not label them. They help a network to learn, and are not scored.
        as_displayed: the annotations refer to the photo turned as its EXIF orientation says, as viewers show it. The official
            data sets count on the pixels as they are stored.

    Raises:
        DataError: on wrong shapes, values that are not finite, flags outside {0, 1, 2} or an empty box.
    """

    image: Path
    source_id: str
    person_id: str
    keypoints: np.ndarray
    keypoints_visible: np.ndarray
    joint_known: np.ndarray
    bbox: np.ndarray | None
    area: float
    dataset: str
    photo_size: tuple[int, int] | None = None
    as_displayed: bool = False
    extra_keypoints: np.ndarray | None = None

    def __post_init__(self):
        K = len(COCO17)
        where = f"{self.image}, person {self.person_id}"
        for name, dtype, shape in (
            ("keypoints", np.float32, (K, 2)),
            ("keypoints_visible", np.uint8, (K,)),
            ("joint_known", bool, (K,)),
            ("bbox", np.float32, (4,)),
            ("extra_keypoints", np.float32, (2, 3)),
        ):
            value = getattr(self, name)
            if value is None and name in ("bbox", "extra_keypoints"):
                continue
            value = np.array(value)
            if value.shape != shape:
                raise DataError(
                    where,
                    f"{name} has shape {value.shape}, expected {shape}",
                    "fix or remove the annotation",
                )
            if not np.all(np.isfinite(value.astype(np.float64))):
                raise DataError(
                    where, f"{name} holds NaN or infinity", "fix or remove the annotation"
                )
            object.__setattr__(self, name, value.astype(dtype))
        if self.keypoints_visible.max() > 2:
            raise DataError(
                where,
                f"visibility flags {sorted(set(self.keypoints_visible.tolist()))}, expected 0, 1 or 2",
            )
        if self.bbox is not None and not np.all(self.bbox[2:] > 0):
            raise DataError(
                where, f"empty box {self.bbox.tolist()}", "fix or remove the annotation"
            )
        if not (np.isfinite(self.area) and self.area >= 0):
            raise DataError(
                where,
                f"area is {self.area}, expected a number >= 0",
                "fix or remove the annotation",
            )

    @property
    def labelled(self) -> np.ndarray:
        """(17,) bool: joints with valid coordinates (v >= 1)."""
        return self.keypoints_visible >= 1

    def read_photo(self) -> np.ndarray:
        """The photo as the annotations mean it, (H, W, 3) uint8 RGB.

        Raises:
            DataError: when it cannot be read, or has not the size that the annotations were made for.
        """
        photo = read_image(self.image, self.as_displayed)
        size = photo.shape[1::-1]
        if self.photo_size is not None and size != tuple(self.photo_size):
            wanted = "x".join(map(str, self.photo_size))
            raise DataError(
                f"{self.image}, person {self.person_id}",
                f"the photo is {size[0]}x{size[1]}, but its annotations are for {wanted}",
                "restore the photo that was annotated, or scale the annotations with it",
            )
        return photo


#: The data sets that `read` knows.
DATASETS = ("minidome", "panoptic", "coco", "lsp", "lspet", "mpii", "own", "background")


def read(
    dataset: str,
    root: str | Path,
    split: str,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
) -> Iterator[PersonAnnotation]:
    """The people of one split of any data set that posekit knows.

    Args:
        dataset: one of `DATASETS`. MiniDome is read from its COCO JSON, which knows exact visibility.
        root: the data set's folder.
        split: `"train"`, `"val"` or `"test"`. It picks the annotation file of COCO and the file numbers of LSP; elsewhere
            `root` is one split and this only names it. `"train"` applies an `exclude.txt` beside the annotations.
        filtered: gets the number of people left out, by reason.
        skipped: None: the first annotation that cannot be used stops the reading. A list: it gets {"person_id", "problem"} of each such
            annotation, and the reading goes on.

    Returns:
        A stream of samples.

    Raises:
        DataError: when `root` is not such a data set, or something in it cannot be used.
    """
    from posekit.datasets import background, coco, custom, lsp, mpii, panoptic

    root = Path(root)
    if not root.is_dir():
        raise DataError(root, "no such folder", "check the path")
    notes = {"split": split, "filtered": filtered, "skipped": skipped}
    if dataset == "minidome":
        return coco.read(*coco.find_minidome(root), dataset=dataset, **notes)
    if dataset == "coco":
        return coco.read(*coco.find(root, split), **notes)
    if dataset == "panoptic":
        return panoptic.read(root, **notes)
    if dataset == "lsp":
        return lsp.read(root, **notes)
    if dataset == "lspet":
        return lsp.read_lspet(root, **notes)
    if dataset == "mpii":
        return mpii.read(root, **notes)
    if dataset == "own":
        return custom.read(root, **notes)
    if dataset == "background":
        return background.read(root, **notes)
    raise DataError(dataset, "unknown data set", f"choose one of {', '.join(DATASETS)}")


@contextmanager
def skip_errors(person: str, skipped: list[dict] | None) -> Iterator[None]:
    """Around the use of one annotation: notes a `DataError` in `skipped` and goes on, or lets it through where that is None.

    Args:
        person: who is skipped, by a name that is the same on every machine.
        skipped: see `read`.
    """
    try:
        yield
    except DataError as error:
        if skipped is None:
            raise
        skipped.append({"person_id": person, "problem": error.problem})


def read_json(path: str | Path) -> object:
    """The content of a JSON file. Raises `DataError` naming the file, and the line where it is broken."""
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise DataError(
            path, f"cannot be read: {error.strerror or error}", "check the path"
        ) from None
    except json.JSONDecodeError as error:
        problem = f"broken JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        raise DataError(path, problem, "fetch or write it again") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(path, f"not JSON: {error}", "fetch or write it again") from None


def excluded_photos(annotations_dir: str | Path, split: str | None) -> frozenset[str]:
    """File names of photos that must not be trained on: the lines of `exclude.txt` beside the annotations.

    Args:
        annotations_dir: folder of the annotation file.
        split: the file counts for `"train"` only; any other split gets the empty set.
    """
    path = Path(annotations_dir) / "exclude.txt"
    if split != "train" or not path.exists():
        return frozenset()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read: {error}", "one photo's file name a line") from None
    return frozenset(
        Path(line.strip()).name
        for line in lines
        if line.strip() and not line.strip().startswith("#")
    )
