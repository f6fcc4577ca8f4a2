"""Boxes, affines, crops and normalised coordinates (chapter 01).

Conventions
    A pixel's *centre* is at integer coordinates, so an image W wide spans -0.5 ... W - 0.5.
    `bbox` is COCO's (x, y, w, h) of pixel *edges*: a box over pixel columns 0 ... W - 1 is
    (0, ..., W, ...), its centre W / 2 - 0.5.
    An affine is a (2, 3) float64 array A with p' = A[:, :2] p + A[:, 2].
    Normalised coordinates run over -0.5 ... 0.5 across the crop: u = (x + 0.5) / W - 0.5 (DeepPose,
    equation 1, with the box as unit).
"""

import math

import numpy as np

PADDING = 1.25
"""Side of the square crop in sides of the person's box, as in MMPose and SimpleBaseline."""


# ---- boxes ---------------------------------------------------------------------------------------


def bbox_from_keypoints(keypoints: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the tightest box around the pixels of selected joints.

    Args:
        keypoints: (K, 2) pixels.
        mask: (K,) bool, true for the selected joints.

    Returns:
        (4,) float32 bbox (x, y, w, h); w = h = 1 for a single joint.

    Raises:
        ValueError: when no joint is selected.
    """
    points = np.asarray(keypoints, np.float64)[np.asarray(mask, bool)]
    if len(points) == 0:
        raise ValueError("no joint to put a box around")
    low = points.min(axis=0)
    high = points.max(axis=0)
    return np.concatenate([low, high - low + 1]).astype(np.float32)


def bbox_of_image(width: int, height: int) -> np.ndarray:
    """Return the box of the full image, (4,) float32, as DeepPose uses on LSP."""
    return np.array([0, 0, width, height], np.float32)


def bbox_center(bbox: np.ndarray) -> np.ndarray:
    """Return the centre of a bbox in pixel-centre coordinates, (2,) float64."""
    x, y, w, h = np.asarray(bbox, np.float64)
    return np.array([x + w / 2 - 0.5, y + h / 2 - 0.5])


def square_side(bbox: np.ndarray, padding: float = PADDING) -> float:
    """Return the side of the padded square around a bbox, in pixels.

    A square keeps the person's proportions: no axis is stretched.

    Raises:
        ValueError: when the box is empty or not finite.
    """
    box = np.asarray(bbox, np.float64)
    w, h = box[2:].tolist()
    if not (np.isfinite(box).all() and w > 0 and h > 0):
        raise ValueError(f"empty or infinite box {np.asarray(bbox).tolist()}")
    return max(w, h) * padding


# ---- affine maps ---------------------------------------------------------------------------------


def crop_affine(
    center: np.ndarray,
    side: float | np.ndarray,
    size: int,
    rotation: float | np.ndarray = 0.0,
    flip: bool | np.ndarray = False,
    shift: tuple | np.ndarray = (0.0, 0.0),
) -> np.ndarray:
    """Return the affine from image pixels to the pixels of a square crop, for one or for many.

    Args:
        center: (..., 2) crop centre in image pixels.
        side: (...) side of the crop in image pixels, > 0.
        size: side of the crop in its own pixels.
        rotation: (...) degrees; positive turns the content counter-clockwise as seen (y points
            down).
        flip: (...) bool, mirror the crop left-right *after* the rotation; swap left and right
            labels with it (`flip_keypoints`).
        shift: (..., 2) displacement of the content as a fraction of the crop's side.

    Returns:
        (..., 2, 3) float64; the leading axes are broadcast. The crop's centre lands on
        ((size - 1) / 2, (size - 1) / 2).
    """
    scale = size / np.asarray(side, np.float64)
    c = scale * np.cos(np.deg2rad(rotation))
    s = scale * np.sin(np.deg2rad(rotation))
    linear = np.stack([c, s, -s, c], axis=-1).reshape(*c.shape, 2, 2)
    moved = (linear @ np.asarray(center, np.float64)[..., None])[..., 0]
    offset = (size - 1) / 2 + np.asarray(shift, np.float64) * size - moved
    affine = np.empty((*np.broadcast_shapes(offset.shape[:-1], np.shape(flip)), 2, 3))
    affine[..., :2] = linear
    affine[..., 2] = offset
    affine[..., 0, :] *= np.where(flip, -1.0, 1.0)[..., None]
    affine[..., 0, 2] += np.where(flip, size - 1, 0)
    return affine


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the affine that applies `first`, then `second`: (2, 3) each."""
    second = np.asarray(second)
    return second[:, :2] @ np.asarray(first) + np.array([[0, 0, 1]]) * second[:, 2:]


def invert(affine: np.ndarray) -> np.ndarray:
    """Return the inverse of an affine.

    Args:
        affine: (..., 2, 3).

    Returns:
        (..., 2, 3) float64.

    Raises:
        numpy.linalg.LinAlgError: when the affine is singular.
    """
    affine = np.asarray(affine, np.float64)
    linear = np.linalg.inv(affine[..., :2])
    return np.concatenate([linear, -linear @ affine[..., 2:]], axis=-1)


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply an affine to points.

    Args:
        affine: (..., 2, 3).
        points: (..., K, 2).

    Returns:
        (..., K, 2) float64, a new array.
    """
    affine = np.asarray(affine, np.float64)
    return (
        np.asarray(points, np.float64) @ np.swapaxes(affine[..., :2], -1, -2)
        + affine[..., None, :, 2]
    )


def warp(
    image: np.ndarray, affine: np.ndarray, size: tuple[int, int], out: np.ndarray | None = None
) -> np.ndarray:
    """Resample an image by an affine; pixels from outside the image are black.

    Enlarging and mild shrinking use one bilinear `cv2.warpAffine`. At half size and below bilinear
    sampling would skip pixels (aliasing), so the needed part of the image is halved first, as often
    as necessary, each pixel the mean of four.

    Args:
        image: (H, W, C) uint8.
        affine: (2, 3) image pixels -> output pixels.
        size: (w, h) of the output.
        out: (h, w, C) uint8 to write into; a new array if None.

    Returns:
        (h, w, C) uint8.
    """
    import cv2

    affine = np.asarray(affine, np.float64)
    (a, b, _), (c, d, _) = affine.tolist()  # for one matrix much faster than np.linalg.det
    halvings = int(math.log2(abs(a * d - b * c)) / -2 + 1e-9)
    if halvings > 0:
        w, h = size
        block = 2**halvings
        edges = image.shape[1::-1]
        reach = apply_affine(invert(affine), [(-1, -1), (w, -1), (-1, h), (w, h)])
        low = np.clip(np.floor(reach.min(axis=0)).astype(int) - block, 0, edges)
        blocks = (
            np.clip(np.ceil(reach.max(axis=0)).astype(int) + block + 1, 0, edges) - low
        ) // block
        if blocks.all():
            left, top = low
            right, bottom = low + blocks * block
            image = image[top:bottom, left:right]
            for _ in range(halvings):
                image = cv2.resize(
                    image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA
                )
            first = low + (block - 1) / 2  # the centre of the first block
            affine = compose(affine, np.array([[block, 0, first[0]], [0, block, first[1]]]))
    return cv2.warpAffine(
        image, affine, size, dst=out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )


# ---- codec: pixels <-> normalised coordinates ----------------------------------------------------


def encode_keypoints(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Convert crop pixels to normalised coordinates; -0.5 and 0.5 are the crop's edges.

    Args:
        keypoints: (..., K, 2) crop pixels.
        size: (w, h) of the crop.

    Returns:
        (..., K, 2) float64.

    Source:
        Toshev & Szegedy, "DeepPose", CVPR 2014, equation 1.
    """
    return (np.asarray(keypoints, np.float64) + 0.5) / np.asarray(size, np.float64) - 0.5


def decode_keypoints(normalised: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Convert normalised coordinates to crop pixels, the inverse of `encode_keypoints`.

    Args:
        normalised: (..., K, 2).
        size: (w, h) of the crop.

    Returns:
        (..., K, 2) float64 crop pixels.
    """
    return (np.asarray(normalised, np.float64) + 0.5) * np.asarray(size, np.float64) - 0.5


def inside(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which points lie on the area of an image: -0.5 <= x < w - 0.5, and y likewise.

    Args:
        keypoints: (..., K, 2) pixels.
        size: (w, h) of the image.

    Returns:
        (..., K) bool.
    """
    points = np.asarray(keypoints)
    return np.all((points >= -0.5) & (points < np.asarray(size) - 0.5), axis=-1)


def flip_keypoints(keypoints: np.ndarray, width: int, flip_indices: tuple[int, ...]) -> np.ndarray:
    """Mirror keypoints left-right *and* swap their names: a mirrored left wrist is a right wrist.

    Args:
        keypoints: (..., K, 2) pixels.
        width: of the image.
        flip_indices: (K,) index of each joint's mirror twin.

    Returns:
        (..., K, 2), a new array.
    """
    flipped = np.array(keypoints, copy=True)[..., list(flip_indices), :]
    flipped[..., 0] = width - 1 - flipped[..., 0]
    return flipped
