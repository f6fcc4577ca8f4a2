"""Reading and writing pictures: RGB in memory everywhere, OpenCV's BGR only inside this room
(chapter 08 shows why)."""

from pathlib import Path

import numpy as np

from posekit.errors import DataError

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_MAY_BE_TRANSPARENT = (b"\x89PNG", b"RIFF")  # PNG and WebP


def decode_image(data: bytes, where: object, as_displayed: bool = False) -> np.ndarray:
    """A picture file's bytes -> (H, W, 3) uint8 RGB, whatever it was stored as.

    Grey and palettes become RGB, CMYK (Adobe's inverted one too) is converted without colour
    management, 16 bits keep their upper 8, and what is transparent shows white, as on a page.

    Args:
        data: the file's bytes: JPEG, PNG, or what else OpenCV reads.
        where: what to name in an error (file, or shard and record).
        as_displayed: turn the picture as its EXIF orientation says, as viewers and browsers do;
            False takes the pixels as they are stored, as the tools of the official data sets do.

    Raises:
        DataError: when the bytes are no picture, or a JPEG that ends early.
    """
    import cv2

    if not data:
        raise DataError(where, "the picture is empty (0 bytes)", "fetch it again or leave it out")
    if data.startswith(_JPEG_START) and not _jpeg_ends(data):
        raise DataError(
            where, "the JPEG is truncated (no end marker)", "fetch it again or leave it out"
        )
    coded = np.frombuffer(data, np.uint8)
    stored = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB if as_displayed else stored)
    except cv2.error as error:  # a header that asks for a picture of 10^9 pixels
        raise DataError(
            where, f"cannot be decoded: {error.err}", "fetch it again or leave it out"
        ) from None
    if image is None:
        raise DataError(
            where, "not a picture that can be decoded", "fetch it again or save it as a JPEG"
        )
    if data.startswith(_MAY_BE_TRANSPARENT):
        whole = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)
        if whole is not None and whole.ndim == 3 and whole.shape[2] == 4:
            if as_displayed and not np.array_equal(image, cv2.imdecode(coded, stored)):
                raise DataError(
                    where, "is both transparent and to be turned by its EXIF", "save it as a JPEG"
                )
            alpha = whole[..., 3:].astype(np.float32) / np.iinfo(whole.dtype).max
            image = np.round(image * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return image


def _jpeg_ends(data: bytes) -> bool:
    """Whether an end marker follows the picture's data: that of a preview in its head does not
    count, and a film behind it does not matter."""
    place = 2
    while (
        data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] != b"\xda"
    ):  # segments up to the start of the scan
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return _JPEG_END in data[place:]


def read_image(path: str | Path, as_displayed: bool = False) -> np.ndarray:
    """A picture file -> (H, W, 3) uint8 RGB; `as_displayed` as in `decode_image`.

    Raises:
        DataError: when the file is missing, unreadable, no picture, or truncated.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            path, f"cannot read the picture: {error.strerror or error}", "check the path"
        ) from None
    return decode_image(data, path, as_displayed)


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """(H, W, 3) uint8 RGB -> JPEG bytes; `quality` 1-100."""
    import cv2

    ok, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not ok:
        raise ValueError(f"cannot encode a picture of shape {image.shape}, {image.dtype}")
    return data.tobytes()


def simulate_cheap_camera(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture as a cheap camera would have taken it in a dim room: each of four faults in about
    half of the pictures.

    Dim: up to four times darker, shadows more than lights (a gamma). Blurred: by a movement of up
    to 6 % of the side, in any direction. Noisy: normal, up to 15 of 255, grainier in half the
    resolution. Compressed: JPEG of quality 15 to 60.

    Args:
        image: (H, W, 3) uint8 RGB; left as it is.
        rng: where the choices come from.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    height, width = image.shape[:2]
    dim, blurred, noisy, compressed = rng.random(4) < 0.5
    if dim:
        gain, gamma = rng.uniform(0.25, 1), rng.uniform(0.8, 1.6)
        image = cv2.LUT(
            image, (255 * gain * (np.arange(256) / 255) ** gamma).round().astype(np.uint8)
        )
    if blurred:
        length, angle = rng.uniform(0.01, 0.06) * width, rng.uniform(0, np.pi)
        side = 2 * int(length / 2) + 3
        end = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        trace = np.zeros((side, side), np.float32)
        middle = side // 2
        cv2.line(
            trace,
            *(tuple(np.round(middle + sign * end).astype(int).tolist()) for sign in (-1, 1)),
            1.0,
            1,
        )
        image = cv2.filter2D(image, -1, trace / trace.sum(), borderType=cv2.BORDER_REPLICATE)
    if noisy:
        coarse = 1 + int(rng.random() < 0.5)
        shape = -(-height // coarse), -(-width // coarse), 3
        noise = rng.normal(0, rng.uniform(2, 15), shape).astype(np.float32)
        noise = noise.repeat(coarse, axis=0).repeat(coarse, axis=1)[:height, :width]
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if compressed:
        image = decode_image(encode_jpeg(image, int(rng.integers(15, 61))), "a picture in memory")
    return image


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """An empty uint8 array that begins at a multiple of 64 bytes, where TensorFlow takes it over
    without copying."""
    buffer = np.empty(np.prod(shape) + 63, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + np.prod(shape)].reshape(shape)
