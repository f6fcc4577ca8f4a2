"""Schema of a record: the crop of one person, and the keys of its tf.train.Example (chapter 03)."""

import hashlib
from dataclasses import dataclass

import numpy as np

from posekit import geometry
from posekit.datasets import PersonAnnotation
from posekit.errors import DataError
from posekit.images import encode_jpeg
from posekit.records.tfrecord import encode_example, parse_example
from posekit.skeleton import COCO17

SCHEMA_VERSION = 1
JPEG_QUALITY = 92
BOX_SOURCES = ("annotation", "joints", "image")

MIN_SPAN_PX = 4.0
"""Smallest span in pixels of joints that make a box."""


@dataclass(frozen=True)
class CropSettings:
    """Settings of the crop of a person from a photo.

    Args:
        box_source: `"annotation"`: the annotated box where there is one, else the joints';
            `"joints"`: the box of the labelled joints; `"image"`: the full photo, as DeepPose does
            on LSP.
        context: side of the stored image in sides of the padded box, 1 ... 10.
        box_px: side of the padded box in stored pixels, 8 ... 4096.
        padding: side of the padded box in sides of the box, 0.1 ... 10.
    """

    box_source: str = "annotation"
    context: float = 1.5
    box_px: int = 224
    padding: float = geometry.PADDING

    def __post_init__(self):
        for name, value, valid, expected in (
            (
                "box_source",
                self.box_source,
                self.box_source in BOX_SOURCES,
                f"one of {', '.join(BOX_SOURCES)}",
            ),
            ("context", self.context, 1 <= self.context <= 10, "a number in 1 ... 10"),
            ("box_px", self.box_px, 8 <= self.box_px <= 4096, "a whole number in 8 ... 4096"),
            ("padding", self.padding, 0.1 <= self.padding <= 10, "a number in 0.1 ... 10"),
        ):
            if not valid:
                raise DataError(name, f"is {value!r}", f"expected {expected}")

    @property
    def stored_px(self) -> int:
        """Side of the stored image in pixels."""
        return round(self.box_px * self.context)

    def as_manifest(self) -> dict:
        """The settings as a manifest states them; the key of `box_source` is `box` there."""
        return {
            "box": self.box_source,
            "context": self.context,
            "box_px": self.box_px,
            "padding": self.padding,
        }


def encode_person(sample: PersonAnnotation, settings: CropSettings) -> bytes:
    """Encode one person as a serialized tf.train.Example: read the photo, crop it in one warp.

    It depends on its arguments and the photo only, so it can run in this process, a worker or a
    cluster.

    Args:
        sample: the person.
        settings: of the crop.

    Returns:
        the record's payload; the keys are listed in `PersonRecord`.

    Raises:
        DataError: when the photo cannot be read or has another size than its annotations say.
    """
    photo = sample.load_image()
    bbox = _box(sample, settings.box_source, photo.shape)
    size = settings.stored_px
    side = geometry.square_side(bbox, settings.padding) * size / settings.box_px
    affine = geometry.crop_affine(geometry.bbox_center(bbox), side, size)
    keypoints = geometry.apply_affine(affine, sample.keypoints)
    encoded = encode_jpeg(geometry.warp(photo, affine, (size, size)), JPEG_QUALITY)
    extra = {}
    if sample.extra_keypoints is not None:
        places = np.where(
            sample.extra_keypoints[:, 2:] > 0,
            geometry.apply_affine(affine, sample.extra_keypoints[:, :2]),
            0,
        )
        extra = {"person/extra": np.column_stack([places, sample.extra_keypoints[:, 2]])}
    return encode_example(
        {
            "image/encoded": encoded,
            "image/format": "jpeg",
            "image/height": size,
            "image/width": size,
            "image/key/sha256": hashlib.sha256(encoded).hexdigest(),
            "image/source_id": sample.source_id,
            "person/keypoints": np.where(sample.labelled[:, None], keypoints, 0),
            "person/keypoints_visible": sample.keypoints_visible,
            "person/joint_known": sample.joint_known,
            "person/bbox": bbox,
            "person/area": float(sample.area),
            "person/crop_to_image": geometry.invert(affine),
            "person/id": sample.person_id,
            "dataset": sample.dataset,
            **extra,
        }
    )


def _box(sample: PersonAnnotation, box_source: str, photo_shape: tuple) -> np.ndarray:
    if box_source == "image":
        return geometry.bbox_of_image(photo_shape[1], photo_shape[0])
    if box_source == "annotation" and sample.bbox is not None:
        return sample.bbox
    return geometry.bbox_from_keypoints(sample.keypoints, sample.labelled)


def reason_unusable(sample: PersonAnnotation, box_source: str) -> str | None:
    """Return the reason why a person has no usable box, or None.

    Background samples (no person, `datasets.background`) have a box of their own.

    Args:
        sample: the person.
        box_source: see `CropSettings`.
    """
    if not sample.labelled.any() and not (
        sample.joint_known.all() and sample.bbox is not None and box_source != "joints"
    ):
        return "no labelled joint"
    if box_source == "joints" or (box_source == "annotation" and sample.bbox is None):
        span = np.ptp(sample.keypoints[sample.labelled], axis=0).max()
        if span < MIN_SPAN_PX:
            return f"joints span less than {MIN_SPAN_PX:g} px, no box"
    return None


@dataclass(frozen=True)
class PersonRecord:
    """One decoded record.

    P is the side of the stored image; keys of the tf.train.Example are in brackets.

    Args:
        encoded: JPEG of the context crop, (P, P, 3) [image/encoded].
        height: P [image/height].
        width: P [image/width].
        source_id: name of the photo [image/source_id].
        keypoints: (17, 2) float32 stored pixels, valid where v >= 1, also outside the image
            [person/keypoints].
        keypoints_visible: (17,) uint8 in {0, 1, 2} [person/keypoints_visible].
        joint_known: (17,) bool, see `PersonAnnotation` [person/joint_known].
        bbox: (4,) float32 the box that was used, unpadded, photo pixels [person/bbox].
        area: of the person in photo pixels squared, 0 if not known [person/area].
        crop_to_image: (2, 3) float64 stored pixels -> photo pixels [person/crop_to_image].
        person_id: unique in the data set [person/id].
        dataset: its name [dataset].
        extra_keypoints: (2, 3) float32 stored pixels x, y and v of neck and head top; v = 0: not
            known [person/extra, where they are labelled].

    `image/format` and `image/key/sha256` (of the JPEG) are stored, too.
    """

    encoded: bytes
    height: int
    width: int
    source_id: str
    keypoints: np.ndarray
    keypoints_visible: np.ndarray
    joint_known: np.ndarray
    bbox: np.ndarray
    area: float
    crop_to_image: np.ndarray
    person_id: str
    dataset: str
    extra_keypoints: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """(17,) bool, v >= 1."""
        return self.keypoints_visible >= 1

    def labels(self, num_joints: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the labels of the first K joints of COCO19.

        Args:
            num_joints: K, 17 or 19.

        Returns:
            keypoints (K, 2), keypoints_visible (K,) and joint_known (K,).
        """
        more = num_joints - len(COCO17)
        seen = self.extra_keypoints[:more, 2].astype(np.uint8)
        return (
            np.concatenate([self.keypoints, self.extra_keypoints[:more, :2]]),
            np.concatenate([self.keypoints_visible, seen]),
            np.concatenate([self.joint_known, seen > 0]),
        )


def decode_person(payload: bytes, where: object = "record") -> PersonRecord:
    """Decode a record's payload, the inverse of `encode_person`.

    Args:
        payload: of the record.
        where: what to name in an error.

    Raises:
        DataError: when the payload is not a record of posekit.
    """
    try:
        features = parse_example(payload)
        extra = np.asarray(features.get("person/extra", np.zeros(6)), np.float32).reshape(2, 3)
        # Checked before the cast, which would make 1 of 257 and of 1.5.
        for name, flags, allowed in (
            ("keypoints_visible", features["person/keypoints_visible"], (0, 1, 2)),
            ("joint_known", features["person/joint_known"], (0, 1)),
            ("extra", extra[:, 2], (0, 1, 2)),
        ):
            if not np.isin(flags, allowed).all():
                found = sorted(set(np.asarray(flags).tolist()) - set(allowed))
                raise ValueError(f"person/{name} holds {found}, expected one of {allowed}")
        return PersonRecord(
            encoded=features["image/encoded"][0],
            height=int(features["image/height"][0]),
            width=int(features["image/width"][0]),
            source_id=features["image/source_id"][0].decode(),
            keypoints=features["person/keypoints"].reshape(len(COCO17), 2),
            keypoints_visible=features["person/keypoints_visible"]
            .astype(np.uint8)
            .reshape(len(COCO17)),
            joint_known=features["person/joint_known"].astype(bool).reshape(len(COCO17)),
            bbox=features["person/bbox"].reshape(4),
            area=float(features["person/area"][0]),
            crop_to_image=features["person/crop_to_image"].astype(np.float64).reshape(2, 3),
            person_id=features["person/id"][0].decode(),
            dataset=features["dataset"][0].decode(),
            extra_keypoints=extra,
        )
    except (KeyError, IndexError, ValueError, OverflowError, AttributeError) as error:
        problem = f"not a record of posekit: {type(error).__name__} {error}"
        raise DataError(where, problem, "build it with build_tfrecords.py") from None
