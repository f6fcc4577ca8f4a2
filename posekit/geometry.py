"""Boxes, crops and cameras: the affine maps that take a person from photo to network input and back
(chapters 01, 02).

Conventions
    A pixel's *centre* is at integer coordinates, so a picture W wide spans -0.5 ... W - 0.5.
    `bbox` is COCO's (x, y, w, h) of pixel *edges*: a box over pixel columns 0 ... W - 1 is (0, ...,
    W, ...), its centre W / 2 - 0.5. An affine map is a (2, 3) float64 array A with p' = A[:, :2] p
    + A[:, 2]. Normalised coordinates run over -0.5 ... 0.5 across the crop: u = (x + 0.5) / W - 0.5
    (DeepPose, eq. 1, with the box as unit).
"""

import numpy as np

PADDING = 1.25
"""How much larger than the person's box the square crop is, as in MMPose and SimpleBaseline."""


# ---- boxes ---------------------------------------------------------------------------------------


def bbox_from_keypoints(keypoints: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The tightest box around the pixels of the joints that count.

    Args:
        keypoints: (K, 2) pixels.
        mask: (K,) true where a joint counts.

    Returns:
        (4,) float32 bbox (x, y, w, h); w = h = 1 for a single joint.

    Raises:
        ValueError: when no joint counts.
    """
    points = np.asarray(keypoints, np.float64)[np.asarray(mask, bool)]
    if len(points) == 0:
        raise ValueError("no joint to put a box around")
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([low, high - low + 1]).astype(np.float32)


def bbox_of_image(width: int, height: int) -> np.ndarray:
    """The full photo as a (4,) float32 bbox, as DeepPose does on LSP."""
    return np.array([0, 0, width, height], np.float32)


def bbox_center(bbox: np.ndarray) -> np.ndarray:
    """Centre of a bbox in pixel-centre coordinates, (2,) float64."""
    x, y, w, h = np.asarray(bbox, np.float64)
    return np.array([x + w / 2 - 0.5, y + h / 2 - 0.5])


def square_side(bbox: np.ndarray, padding: float = PADDING) -> float:
    """Side in photo pixels of the padded square around a bbox. The person keeps its proportions: no
    axis is stretched.

    Raises:
        ValueError: when the box is empty or not finite.
    """
    w, h = (float(v) for v in np.asarray(bbox, np.float64)[2:])
    if not (np.all(np.isfinite(np.asarray(bbox, np.float64))) and w > 0 and h > 0):
        raise ValueError(f"empty or infinite box {np.asarray(bbox).tolist()}")
    return max(w, h) * padding


# ---- affine maps ---------------------------------------------------------------------------------


def crop_affine(
    center: np.ndarray,
    side: float,
    size: int,
    rotation: float = 0.0,
    flip: bool = False,
    shift: tuple = (0.0, 0.0),
) -> np.ndarray:
    """Affine map from photo pixels to the pixels of a square crop.

    Args:
        center: (2,) crop centre in photo pixels.
        side: side of the crop in photo pixels, > 0.
        size: side of the crop in its own pixels.
        rotation: degrees; positive turns the picture's content counter-clockwise as seen (y points
            down).
        flip: mirror the crop left-right *after* the rotation; swap left and right labels with it
            (`flip_keypoints`).
        shift: (2,) displacement of the content in shares of the crop's side.

    Returns:
        (2, 3) float64. The crop's centre lands on ((size - 1) / 2, (size - 1) / 2).
    """
    scale = size / float(side)
    c, s = np.cos(np.deg2rad(rotation)), np.sin(np.deg2rad(rotation))
    linear = scale * np.array([[c, s], [-s, c]])
    offset = (
        (size - 1) / 2
        + np.asarray(shift, np.float64) * size
        - linear @ np.asarray(center, np.float64)
    )
    affine = np.concatenate([linear, offset[:, None]], axis=1)
    if flip:
        affine = compose(np.array([[-1.0, 0, size - 1], [0, 1, 0]]), affine)
    return affine


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The map that applies `first`, then `second`: (2, 3) each."""
    return (
        np.asarray(second)[:, :2] @ np.asarray(first)
        + np.array([[0, 0, 1]]) * np.asarray(second)[:, 2:]
    )


def invert(affine: np.ndarray) -> np.ndarray:
    """The inverse of an affine map, (2, 3) float64.

    Raises:
        numpy.linalg.LinAlgError: when the map is singular.
    """
    affine = np.asarray(affine, np.float64)
    linear = np.linalg.inv(affine[..., :2])
    return np.concatenate([linear, -linear @ affine[..., 2:]], axis=-1)


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points: affine (..., 2, 3), points (..., K, 2) -> (..., K, 2) float64. The inputs are not
    changed."""
    affine = np.asarray(affine, np.float64)
    return (
        np.asarray(points, np.float64) @ np.swapaxes(affine[..., :2], -1, -2)
        + affine[..., None, :, 2]
    )


def warp(
    image: np.ndarray, affine: np.ndarray, size: tuple[int, int], out: np.ndarray | None = None
) -> np.ndarray:
    """Resample a picture through an affine map; what lies outside the photo becomes black.

    Enlarging and mild shrinking use one bilinear `cv2.warpAffine`. At half size and below bilinear
    sampling would skip pixels (aliasing), so the part of the photo that is needed is halved first,
    as often as it takes, each pixel the mean of four.

    Args:
        image: (H, W, C) uint8.
        affine: (2, 3) photo pixels -> output pixels.
        size: (w, h) of the output.
        out: (h, w, C) uint8 to write into; a new array if None.

    Returns:
        (h, w, C) uint8.
    """
    import cv2

    affine = np.asarray(affine, np.float64)
    halvings = int(np.log2(1 / np.sqrt(abs(np.linalg.det(affine[:, :2])))) + 1e-9)
    if halvings > 0:
        (w, h), block, edges = size, 2**halvings, image.shape[1::-1]
        reach = apply_affine(invert(affine), [(-1, -1), (w, -1), (-1, h), (w, h)])
        low = np.clip(np.floor(reach.min(axis=0)).astype(int) - block, 0, edges)
        blocks = (
            np.clip(np.ceil(reach.max(axis=0)).astype(int) + block + 1, 0, edges) - low
        ) // block
        if blocks.all():
            (left, top), (right, bottom) = low, low + blocks * block
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
    """Crop pixels (..., K, 2) -> normalised coordinates; -0.5 and 0.5 are the crop's edges. `size`
    is (w, h)."""
    return (np.asarray(keypoints, np.float64) + 0.5) / np.asarray(size, np.float64) - 0.5


def decode_keypoints(normalised: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The inverse of `encode_keypoints`: normalised coordinates (..., K, 2) -> crop pixels. `size`
    is (w, h)."""
    return (np.asarray(normalised, np.float64) + 0.5) * np.asarray(size, np.float64) - 0.5


def inside(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(..., K) bool: does the joint lie on the picture's area (-0.5 <= x < w - 0.5)? `size` is (w,
    h)."""
    points = np.asarray(keypoints)
    return np.all((points >= -0.5) & (points < np.asarray(size) - 0.5), axis=-1)


def flip_keypoints(keypoints: np.ndarray, width: int, flip_indices: tuple[int, ...]) -> np.ndarray:
    """Mirror joints left-right *and* swap their labels: a mirrored left wrist is a right wrist.
    (..., K, 2) pixels."""
    flipped = np.array(keypoints, copy=True)[..., list(flip_indices), :]
    flipped[..., 0] = width - 1 - flipped[..., 0]
    return flipped


def segment_distance(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How near the segments a-b and c-d pass each other, and where on the first.

    Args:
        a, b, c, d: (..., 3) ends; they broadcast.

    Returns:
        the distance (...), and the place (...) on a-b that is nearest, 0 at a and 1 at b.

    Source:
        Ericson, "Real-Time Collision Detection", 2005, section 5.1.9.
    """
    a, b, c, d = (np.asarray(v, np.float64) for v in (a, b, c, d))
    u, v, w = b - a, d - c, a - c
    uu, uv, vv, uw, vw = ((p * q).sum(-1) for p, q in ((u, u), (u, v), (v, v), (u, w), (v, w)))
    uu, vv = np.maximum(uu, 1e-12), np.maximum(vv, 1e-12)
    denominator = uu * vv - uv * uv
    s = np.clip(
        np.where(
            denominator > 1e-12 * uu * vv, (uv * vw - uw * vv) / np.maximum(denominator, 1e-12), 0
        ),
        0,
        1,
    )
    t = np.clip((uv * s + vw) / vv, 0, 1)
    s = np.clip((uv * t - uw) / uu, 0, 1)
    apart = w + s[..., None] * u - t[..., None] * v
    return np.linalg.norm(apart, axis=-1), s
