"""Where people come from: every data set becomes a stream of the same `PersonSample` (chapters 01, 02).

One module a data set; each has `read(root, split) -> Iterator[PersonSample]`, streams, never holds photos in memory, and
raises `DataError` naming the file, the record and the mend.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posekit.errors import DataError
from posekit.skeleton import COCO17


@dataclass(frozen=True)
class PersonSample:
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
        area: the person's area in photo pixels squared (COCO's `area`); 0 where it is not known.
        dataset: `"coco"`, `"panoptic"`, `"lsp"`, `"lspet"`, `"minidome"`.

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

    def __post_init__(self):
        K = len(COCO17)
        where = f"{self.image}, person {self.person_id}"
        for name, dtype, shape in (
            ("keypoints", np.float32, (K, 2)),
            ("keypoints_visible", np.uint8, (K,)),
            ("joint_known", bool, (K,)),
            ("bbox", np.float32, (4,)),
        ):
            value = getattr(self, name)
            if value is None and name == "bbox":
                continue
            value = np.array(value)
            if value.shape != shape:
                raise DataError(
                    where, f"{name} has shape {value.shape}, expected {shape}", "mend or remove the annotation"
                )
            if not np.all(np.isfinite(value.astype(np.float64))):
                raise DataError(where, f"{name} holds NaN or infinity", "mend or remove the annotation")
            object.__setattr__(self, name, value.astype(dtype))
        if self.keypoints_visible.max() > 2:
            raise DataError(
                where, f"visibility flags {sorted(set(self.keypoints_visible.tolist()))}, expected 0, 1 or 2"
            )
        if self.bbox is not None and not np.all(self.bbox[2:] > 0):
            raise DataError(where, f"empty box {self.bbox.tolist()}", "mend or remove the annotation")
        if not (np.isfinite(self.area) and self.area >= 0):
            raise DataError(where, f"area is {self.area}, expected a number >= 0", "mend or remove the annotation")

    @property
    def labelled(self) -> np.ndarray:
        """(17,) bool: joints with valid coordinates (v >= 1)."""
        return self.keypoints_visible >= 1
