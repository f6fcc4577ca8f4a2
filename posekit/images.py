"""Reading and writing pictures: RGB in memory everywhere, OpenCV's BGR only inside this room (chapter 08 shows why)."""

from pathlib import Path

import numpy as np

from posekit.errors import DataError

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def decode_image(data: bytes, where: object) -> np.ndarray:
    """JPEG or PNG bytes -> (H, W, 3) uint8 RGB.

    Args:
        data: the file's bytes.
        where: what to name in an error (file, or shard and record).

    Raises:
        DataError: when the bytes are no picture, or a JPEG that ends early.
    """
    import cv2

    if not data:
        raise DataError(where, "the picture is empty (0 bytes)", "fetch it again or leave it out")
    if data.startswith(_JPEG_START) and _JPEG_END not in data[-1024:]:
        raise DataError(where, "the JPEG is truncated (no end marker)", "fetch it again or leave it out")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise DataError(where, "not a picture that can be decoded", "fetch it again or leave it out")
    return image


def read_image(path: str | Path) -> np.ndarray:
    """A picture file -> (H, W, 3) uint8 RGB.

    Raises:
        DataError: when the file is missing, unreadable, no picture, or truncated.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot read the picture: {error.strerror or error}", "check the path") from None
    return decode_image(data, path)


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """(H, W, 3) uint8 RGB -> JPEG bytes; `quality` 1-100."""
    import cv2

    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"cannot encode a picture of shape {image.shape}, {image.dtype}")
    return data.tobytes()
