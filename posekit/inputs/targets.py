"""The network's input crop and its training targets, from one stored person (chapter 03).

The only place where targets are built: the input pipelines (`tfdata`, `on_device`), the evaluation,
the cascade and the mean pose of a run's record use these functions.
"""

from collections.abc import Sequence

import numpy as np

from posekit import geometry
from posekit.images import simulate_cheap_camera
from posekit.inputs.augment import Augmentation, AugmentParams, half_body_square
from posekit.skeleton import COCO19, NUM_KEYPOINTS

_FLIP_INDICES = np.array(COCO19.flip_indices)
MAX_BLACK = 12
"""Largest value, after JPEG, of the black that surrounds a photo in a stored image."""
BACKGROUND_SHARE = 0.4
"""Fraction of a stored image's side, in its middle, that a photo of 4 : 3 fills with the default
padding (1.25) and context (1.5)."""


def input_affines(
    keypoints: np.ndarray,
    keypoints_visible: np.ndarray,
    stored_px: int,
    box_px: int,
    input_size: int,
    params: Sequence[AugmentParams],
) -> np.ndarray:
    """Compute the affines from stored pixels to the network's input, for a batch.

    Args:
        keypoints: (B, K, 2) stored pixels, K = 17 or 19.
        keypoints_visible: (B, K) in {0, 1, 2}.
        stored_px: side of the stored images.
        box_px: side of the padded box in stored pixels.
        input_size: side of the network's input.
        params: of the augmentation, one per person; `AugmentParams()` for the plain centre crop.

    Returns:
        (B, 2, 3) float64.
    """
    centers = np.full((len(params), 2), (stored_px - 1) / 2)
    sides = np.full(len(params), float(box_px))
    body = np.asarray(keypoints, np.float64)[:, :NUM_KEYPOINTS]
    usable = np.asarray(keypoints_visible)[:, :NUM_KEYPOINTS] >= 1
    usable = usable & geometry.inside(body, (stored_px, stored_px))
    for i, drawn in enumerate(params):
        if drawn.half_body and (square := half_body_square(body[i], usable[i], drawn.half_body)):
            centers[i] = square[0]
            sides[i] = max(square[1], box_px / 3)  # smaller ones would only enlarge stored pixels
    return geometry.crop_affine(
        centers,
        sides / [drawn.zoom for drawn in params],
        input_size,
        [drawn.rotation for drawn in params],
        [drawn.flip for drawn in params],
        [drawn.shift for drawn in params],
    )


def input_affine(
    keypoints: np.ndarray,
    keypoints_visible: np.ndarray,
    stored_px: int,
    box_px: int,
    input_size: int,
    params: AugmentParams,
) -> np.ndarray:
    """Compute the affine of one person, (2, 3) float64: `input_affines` with B = 1."""
    return input_affines(
        np.asarray(keypoints)[None],
        np.asarray(keypoints_visible)[None],
        stored_px,
        box_px,
        input_size,
        [params],
    )[0]


def render_crop(
    image: np.ndarray,
    affine: np.ndarray,
    params: AugmentParams,
    rng: np.random.Generator | None,
    out: np.ndarray,
    background: np.ndarray | None = None,
) -> None:
    """Warp a stored image, change its colours, erase a rectangle and degrade it.

    Args:
        image: (P, P, 3) uint8 stored image.
        affine: (2, 3) stored -> crop pixels, see `input_affine`.
        params: of the augmentation.
        rng: source of the noise; may be None where `params` needs none.
        out: (S, S, 3) uint8, is overwritten with the crop.
        background: (P, P, 3) uint8, a stored image without a person that fills the crop outside the
            photo; None: black.
    """
    import cv2

    size = out.shape[:2]
    geometry.warp(image, affine, size, out)
    if background is not None:
        _fill_background(out, image, affine, background)
    if params.colour is not None:
        out[:] = cv2.transform(out, params.colour)
    if params.erase_box is not None:
        x0, y0, x1, y1 = (round(v * len(out)) for v in params.erase_box)
        out[y0:y1, x0:x1] = rng.integers(0, 256, (y1 - y0, x1 - x0, 3), np.uint8)
    if params.degrade:
        out[:] = simulate_cheap_camera(out, rng)


def photo_mask(image: np.ndarray) -> np.ndarray:
    """Find the photo inside the black of a stored image.

    Args:
        image: (P, P, 3) uint8 stored image.

    Returns:
        (P, P) uint8: 255 within the rectangle around everything that is not black, else 0.
    """
    bright = image.max(axis=2) > MAX_BLACK
    rows = np.flatnonzero(bright.any(axis=1))
    columns = np.flatnonzero(bright.any(axis=0))
    mask = np.zeros(image.shape[:2], np.uint8)
    if len(rows):
        mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 255
    return mask


def _fill_background(
    crop: np.ndarray, image: np.ndarray, affine: np.ndarray, background: np.ndarray
) -> None:
    """Fill a crop (S, S, 3), where the photo of `image` does not reach, with the middle of
    `background`."""
    import cv2

    size = crop.shape[1::-1]
    photo = cv2.warpAffine(photo_mask(image), affine, size, flags=cv2.INTER_NEAREST)
    margin = round(len(background) * (1 - BACKGROUND_SHARE) / 2)
    middle = background[margin:-margin, margin:-margin]
    behind = cv2.resize(middle, size, interpolation=cv2.INTER_LINEAR)
    crop[:] = np.where(photo[..., None] > 0, crop, behind)


def locate_in_crop(
    affine: np.ndarray,
    keypoints: np.ndarray,
    labelled: np.ndarray,
    stored_px: int,
    crop_px: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute where labelled joints lie in a crop, and which of them lie inside it.

    Args:
        affine: (..., 2, 3) stored -> crop pixels.
        keypoints: (..., K, 2) stored pixels.
        labelled: (..., K) bool, v >= 1.
        stored_px: side of the stored image.
        crop_px: side of the crop.

    Returns:
        normalised coordinates (..., K, 2) float64, 0 for joints that are not in the crop;
        in-crop (..., K) bool: labelled, inside the stored image and inside the crop.
    """
    size = (crop_px, crop_px)
    points = geometry.apply_affine(affine, keypoints)
    in_crop = geometry.inside(points, size) & geometry.inside(keypoints, (stored_px, stored_px))
    in_crop = in_crop & np.asarray(labelled, bool)
    return np.where(in_crop[..., None], geometry.encode_keypoints(points, size), 0), in_crop


def encode_targets(
    affine: np.ndarray,
    keypoints: np.ndarray,
    keypoints_visible: np.ndarray,
    joint_known: np.ndarray,
    flip: bool | np.ndarray,
    stored_px: int,
    input_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Encode the training targets of a crop, for one person or for a batch.

    Args:
        affine: (..., 2, 3) stored -> crop pixels.
        keypoints: (..., K, 2) stored pixels, K = 17 or 19.
        keypoints_visible: (..., K) in {0, 1, 2}.
        joint_known: (..., K) bool, see `PersonAnnotation`.
        flip: (...) bool, true where the crop is mirrored: left and right joints then swap their
            names.
        stored_px: side of the stored image.
        input_size: side of the crop.

    Returns:
        keypoint targets (..., K, 3) float32: normalised u, v and the weight (1: labelled and in the
        crop); visibility targets (..., K, 2) float32: 1 if in the crop, and the weight (1: it is
        known).
    """
    labelled = np.asarray(keypoints_visible) >= 1
    normalised, in_crop = locate_in_crop(affine, keypoints, labelled, stored_px, input_size)
    visibility_weight = np.asarray(joint_known, bool)
    keypoint_targets = np.concatenate([normalised, in_crop[..., None]], axis=-1)
    visibility_targets = np.stack([in_crop, visibility_weight], axis=-1)
    twins = _FLIP_INDICES[: in_crop.shape[-1]]
    mirrored = np.asarray(flip)[..., None, None]
    keypoint_targets = np.where(mirrored, keypoint_targets[..., twins, :], keypoint_targets)
    visibility_targets = np.where(mirrored, visibility_targets[..., twins, :], visibility_targets)
    return keypoint_targets.astype(np.float32), visibility_targets.astype(np.float32)


def crop_person(
    image: np.ndarray,
    keypoints: np.ndarray,
    keypoints_visible: np.ndarray,
    joint_known: np.ndarray,
    *,
    box_px: int,
    input_size: int = 224,
    augment: Augmentation | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crop the network's input from a stored image, together with its targets.

    Args:
        image: (P, P, 3) uint8 stored image; the padded box is its centre square of `box_px`.
        keypoints: (17, 2) stored pixels.
        keypoints_visible: (17,) in {0, 1, 2}.
        joint_known: (17,) bool, see `PersonAnnotation`.
        box_px: side of the padded box in stored pixels.
        input_size: side of the crop, S.
        augment: strength of the augmentation; None for the centre crop.
        rng: source of the random choices; needed with `augment`.

    Returns:
        image (S, S, 3) uint8, black where the crop reaches beyond the stored image; keypoint
        targets (17, 3) and visibility targets (17, 2), see `encode_targets`. A joint beyond the
        stored image counts as outside the crop.
    """
    params = augment.draw(rng) if augment else AugmentParams()
    stored_px = len(image)
    affine = input_affine(keypoints, keypoints_visible, stored_px, box_px, input_size, params)
    crop = np.empty((input_size, input_size, 3), np.uint8)
    render_crop(image, affine, params, rng, crop)
    targets = encode_targets(
        affine, keypoints, keypoints_visible, joint_known, params.flip, stored_px, input_size
    )
    return crop, *targets
