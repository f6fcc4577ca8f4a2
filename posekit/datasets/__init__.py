"""Read every data set as a stream of the same `PersonAnnotation` (chapters 01 and 02).

One module per data set. Each has a `read(...) -> Iterator[PersonAnnotation]` that streams, never
holds images in memory, and raises a `DataError` that names the file, the record and the fix. What
a reader filters out it counts by reason in `filtered`.
"""

import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from posekit.datasets.foreign_formats import hint_for_content
from posekit.errors import DataError
from posekit.files import local_path
from posekit.images import read_image
from posekit.skeleton import COCO17

__all__ = [
    "DATASETS",
    "PersonAnnotation",
    "add_notes",
    "excluded_images",
    "load_annotated_image",
    "read",
    "read_json",
    "skip_errors",
    "source_ids",
]


@dataclass(frozen=True)
class PersonAnnotation:
    """One annotated person in one image, in the COCO-17 skeleton.

    Three cases are distinguished that are often confused (chapter 06, in-crop probability):

    | keypoints_visible | joint_known | meaning | coordinates | target of the visibility output |
    |---|---|---|---|---|
    | 2, 1 | True | labelled, visible (2) or occluded (1) | valid | 1 if inside the crop, else 0 |
    | 0 | True | known to be outside the image | ignored | 0 |
    | 0 | False | nothing is known | ignored | none: weight 0 |

    Args:
        image: path of the image.
        source_id: the image's name within its data set, the same on every machine, e.g.
            `"000000123456"`.
        person_id: unique within the data set, e.g. `"000000123456/17"`; decides order and shard by
            its hash.
        keypoints: (17, 2) float32 image pixels, x then y, pixel centres at integers.
        keypoints_visible: (17,) uint8 in {0, 1, 2} as in COCO.
        joint_known: (17,) bool, see the table.
        bbox: (4,) float32 annotated box (x, y, w, h) in image pixels, or None where the data set
            has none.
        area: the person's exact area in image pixels squared (COCO's `area`); 0 where it is not
            known, or only estimated.
        dataset: one of `DATASETS`.
        image_size: (w, h) that the annotations were made for, or None where the data set does not
            say.
        as_displayed: the annotations refer to the image rotated by its EXIF orientation, as
            viewers show it. The official data sets count the pixels as they are stored.
        extra_keypoints: (2, 3) float32 x, y, v of neck and head top, which are not joints of
            COCO-17; v = 0: nothing is known. None where the data set does not label them. They
            help a network to learn, and are not scored.

    Raises:
        DataError: on wrong shapes, values that are not finite, flags outside {0, 1, 2} or an empty
            box.
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
    image_size: tuple[int, int] | None = None
    as_displayed: bool = False
    extra_keypoints: np.ndarray | None = None

    def __post_init__(self):
        K = len(COCO17)
        hint = "fix or remove the annotation"
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
                problem = f"{name} has shape {value.shape}, expected {shape}"
                raise DataError(where, problem, hint)
            if not np.all(np.isfinite(value.astype(np.float64))):
                raise DataError(where, f"{name} holds NaN or infinity", hint)
            # Checked before the cast, which would make 1 of 257 and of 1.5.
            if name == "keypoints_visible" and not np.isin(value, (0, 1, 2)).all():
                flags = sorted(set(value.tolist()))
                raise DataError(where, f"visibility flags {flags}, expected 0, 1 or 2", hint)
            if name == "joint_known" and not np.isin(value, (0, 1)).all():
                flags = sorted(set(value.tolist()))
                raise DataError(where, f"joint_known holds {flags}, expected True or False", hint)
            if name == "extra_keypoints" and not np.isin(value[:, 2], (0, 1, 2)).all():
                flags = value[:, 2].tolist()
                raise DataError(where, f"v of neck and head top is {flags}, not 0, 1 or 2", hint)
            object.__setattr__(self, name, value.astype(dtype))
        if self.bbox is not None and not np.all(self.bbox[2:] > 0):
            raise DataError(where, f"empty box {self.bbox.tolist()}", hint)
        if not (np.isfinite(self.area) and self.area >= 0):
            raise DataError(where, f"area is {self.area}, expected a number >= 0", hint)

    @property
    def labelled(self) -> np.ndarray:
        """(17,) bool: joints with valid coordinates (v >= 1)."""
        return self.keypoints_visible >= 1

    def load_image(self) -> np.ndarray:
        """Read the image as the annotations mean it, (H, W, 3) uint8 RGB.

        Raises:
            DataError: when it cannot be read, or has another size than the annotations were made
                for.
        """
        where = f"{self.image}, person {self.person_id}"
        return load_annotated_image(self.image, self.image_size, self.as_displayed, where)


def load_annotated_image(
    path: str | Path, size: tuple[int, int] | None, as_displayed: bool, where: str
) -> np.ndarray:
    """Read an image in the orientation that its annotations were made for.

    Where the annotated size fits only one of the two orientations, as stored or rotated by EXIF,
    that one is taken; where it fits both or is not known, `as_displayed` decides.

    Args:
        path: the file.
        size: (w, h) that the annotations were made for, or None.
        as_displayed: whether annotations refer to the image rotated by its EXIF orientation.
        where: the image and its person or annotation, for the error.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: when it cannot be read, or has another size in both orientations.
    """
    image = read_image(path, as_displayed)
    if size is None or image.shape[1::-1] == tuple(size):
        return image
    other = read_image(path, not as_displayed)
    if other.shape[1::-1] == tuple(size):
        return other
    found = "x".join(map(str, image.shape[1::-1]))
    wanted = "x".join(map(str, size))
    raise DataError(
        where,
        f"the image is {found}, but its annotations are for {wanted}",
        "restore the image that was annotated, or scale the annotations with it",
    )


#: The data sets that `read` knows.
DATASETS = ("minidome", "panoptic", "coco", "lsp", "lspet", "mpii", "own", "background")


def read(
    dataset: str,
    root: str | Path,
    split: str,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
    notes: list[str] | None = None,
) -> Iterator[PersonAnnotation]:
    """Read the people of one split of any data set that posekit knows.

    Args:
        dataset: one of `DATASETS`. MiniDome is read from its COCO JSON, which knows exact
            visibility.
        root: the data set's folder.
        split: `"train"`, `"val"` or `"test"`. It picks the annotation file of COCO and the file
            numbers of LSP; elsewhere `root` is one split and this only names it. `"train"` applies
            an `exclude.txt` next to the annotations.
        filtered: gets the number of people left out, by reason.
        skipped: None: the first annotation that cannot be used stops the reading. A list: it gets
            {"person_id", "problem"} of each such annotation, and the reading goes on.
        notes: gets what else is worth knowing, such as joint names that are not COCO's; None:
            warnings are issued instead.

    Returns:
        A stream of annotations.

    Raises:
        DataError: when `root` is not such a data set, or something in it cannot be used.
    """
    from posekit.datasets import background, coco, custom, lsp, mpii, panoptic

    root = local_path(root)
    if root.is_file():
        raise DataError(root, "is a file", "give the folder that holds it and the images")
    if not root.is_dir():
        raise DataError(root, "no such folder", "check the path")
    options = {"split": split, "filtered": filtered, "skipped": skipped}
    if dataset == "minidome":
        return coco.read(*coco.find_minidome(root), dataset=dataset, notes=notes, **options)
    if dataset == "coco":
        return coco.read(*coco.find(root, split), notes=notes, **options)
    if dataset == "panoptic":
        return panoptic.read(root, **options)
    if dataset == "lsp":
        return lsp.read(root, **options)
    if dataset == "lspet":
        return lsp.read_lspet(root, **options)
    if dataset == "mpii":
        return mpii.read(root, **options)
    if dataset == "own":
        return custom.read(root, notes=notes, **options)
    if dataset == "background":
        return background.read(root, **options)
    raise DataError(dataset, "unknown data set", f"choose one of {', '.join(DATASETS)}")


def add_notes(found: Iterable[str], where: object, notes: list[str] | None) -> None:
    """Append notes about a file to `notes`, or issue them as warnings where that is None."""
    for note in found:
        text = f"{where}: {note}"
        if notes is None:
            warnings.warn(text, stacklevel=2)
        else:
            notes.append(text)


def source_ids(names: Iterable[str]) -> dict[str, str]:
    """Return the source id of each image: its name without the suffix, if only one has that.

    Images that share it, such as `a.jpg` and `a.png`, keep their suffixes.

    Args:
        names: of all images of a data set, with `/` between folders.

    Returns:
        Name -> source id; different names have different ids.
    """
    paths = {name: PurePosixPath(name) for name in names if name}
    ids = {name: str(path.with_suffix("")) if path.name else name for name, path in paths.items()}
    while True:
        uses = Counter(ids.values())
        shared = [name for name, chosen in ids.items() if uses[chosen] > 1 and chosen != name]
        if not shared:
            return ids
        ids.update((name, name) for name in shared)


@contextmanager
def skip_errors(person: str, skipped: list[dict] | None) -> Iterator[None]:
    """Note a `DataError` about one annotation in `skipped` and go on; raise it where that is None.

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
    """Read a JSON file.

    Raises:
        DataError: naming the file, and the line where it is broken.
    """
    try:
        content = local_path(path).read_bytes()
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise DataError(path, problem, "check the path") from None
    if found := hint_for_content(content[:64]):
        raise DataError(path, *found)
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        problem = f"broken JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        raise DataError(path, problem, "fetch or write it again") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"not JSON in UTF-8: {error.reason} at line {line}"
        raise DataError(path, problem, "save it as UTF-8, or fetch it again") from None
    except RecursionError as error:
        raise DataError(path, f"not JSON: {error}", "fetch or write it again") from None


def excluded_images(annotations_dir: str | Path, split: str | None) -> frozenset[str]:
    """Read which images must not be trained on: file names in `exclude.txt` by the annotations.

    Args:
        annotations_dir: folder of the annotation file.
        split: the file counts for `"train"` only; any other split gets the empty set.

    Returns:
        File names without folders.
    """
    path = Path(annotations_dir) / "exclude.txt"
    if split != "train" or not path.exists():
        return frozenset()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read: {error}"
        raise DataError(path, problem, "one image's file name per line") from None
    return frozenset(
        Path(line.strip()).name
        for line in lines
        if line.strip() and not line.strip().startswith("#")
    )
