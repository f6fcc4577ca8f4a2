"""Real photos behind MiniDome's people: chosen, cut, softened and matched to the scene's light
(chapter 02)."""

from pathlib import Path

import numpy as np

from posekit.errors import DataError
from posekit.images import read_image

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def list_photos(folder: str | Path) -> list[Path]:
    """The photos of a folder by name.

    Raises:
        DataError: when there are none, or no such folder.
    """
    folder = Path(folder)
    try:
        photos = sorted(
            p
            for p in folder.iterdir()
            if p.suffix.lower() in ENDINGS and not p.name.startswith(".")
        )
    except OSError as error:
        raise DataError(
            folder, f"cannot read it: {error.strerror or error}", "expected a folder of photos"
        ) from None
    if not photos:
        raise DataError(
            folder, "holds no photos", f"expected files that end in {', '.join(ENDINGS)}"
        )
    return photos


def behind(
    photos: list[Path], size: tuple[int, int], tint: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One of the photos as a backdrop.

    A part of it with the aspect ratio of the image, at least two thirds as wide and high as fits,
    is cut out, scaled, maybe mirrored and blurred (people are in focus, what is behind them less),
    and brought half the way to the scene's light.

    Args:
        photos: files, see `list_photos`.
        size: (w, h) of the image.
        tint: (3,) colour of the scene's light, about 1.
        rng: source of random numbers.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        DataError: naming the photo, when it cannot be read.
    """
    import cv2

    photo = read_image(photos[rng.integers(len(photos))])
    h, w = photo.shape[:2]
    share = min(w / size[0], h / size[1]) * rng.uniform(0.67, 1)
    cut = max(1, int(share * size[0])), max(1, int(share * size[1]))
    x = int(rng.integers(w - cut[0] + 1))
    y = int(rng.integers(h - cut[1] + 1))
    part = photo[y : y + cut[1], x : x + cut[0]]
    part = part[:, ::-1] if rng.random() < 0.5 else part
    how = cv2.INTER_AREA if share > 1 else cv2.INTER_LINEAR
    out = cv2.resize(np.ascontiguousarray(part), size, interpolation=how)
    sigma = rng.uniform(0, 2.2) * size[0] / 640
    if sigma > 0.4:
        out = cv2.GaussianBlur(out, (0, 0), sigma)
    mean = out.mean(axis=(0, 1)) + 1
    gain = np.clip(125 * tint / mean, 0.5, 2) ** 0.5
    return cv2.LUT(
        out, np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8).reshape(256, 1, 3)
    )
