"""Read and write images: RGB in memory; OpenCV's BGR stays inside this module (chapter 11)."""

import io
from pathlib import Path

import numpy as np

from posekit.errors import DataError
from posekit.files import local_path

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_MAY_BE_TRANSPARENT = (b"\x89PNG", b"RIFF")  # PNG and WebP
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def decode_image(data: bytes, where: object, as_displayed: bool = False) -> np.ndarray:
    """Decode an image file to RGB.

    Grey images and palettes become RGB, CMYK (also Adobe's inverted one) is converted without
    colour management, of 16 bits the upper 8 are kept, and transparent pixels become white.

    Args:
        data: bytes of the file: JPEG, PNG, or another format that OpenCV reads; AVIF, through
            Pillow, as OpenCV ignores its rotation; HEIC, if the package pillow-heif is installed,
            always as displayed.
        where: what to name in an error (file, or shard and record).
        as_displayed: apply the EXIF orientation, as viewers and browsers do; False takes the pixels
            as stored, as the tools of the official data sets do.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: when the bytes are no image, or a JPEG that ends early.
    """
    import cv2

    if not data:
        raise DataError(where, "the image is empty (0 bytes)", "fetch it again or leave it out")
    if data.startswith(_JPEG_START) and not _jpeg_ends(data):
        raise DataError(
            where, "the JPEG is truncated (no end marker)", "fetch it again or leave it out"
        )
    if brands := _brands(data):
        return _decode_with_pillow(data, where, as_displayed, heic=not brands & _AVIF_BRANDS)
    coded = np.frombuffer(data, np.uint8)
    stored = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB if as_displayed else stored)
    except cv2.error as error:  # a header that asks for an image of 10^9 pixels
        raise DataError(
            where, f"cannot be decoded: {error.err}", "fetch it again or leave it out"
        ) from None
    if image is None:
        raise DataError(
            where, "not an image that can be decoded", "download it again or save it as a JPEG"
        )
    if data.startswith(_MAY_BE_TRANSPARENT):
        whole = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)
        if whole is not None and whole.ndim == 3 and whole.shape[2] == 4:
            if as_displayed and not np.array_equal(image, cv2.imdecode(coded, stored)):
                return _decode_with_pillow(data, where, as_displayed)
            alpha = whole[..., 3:].astype(np.float32) / np.iinfo(whole.dtype).max
            image = np.round(image * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return image


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of an AVIF or HEIC file; an empty set for another file.

    Source:
        ISO/IEC 14496-12, section 4.3 (`ftyp`); 23008-12, section 10.
    """
    if data[4:8] != b"ftyp":
        return set()
    listed = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    brands = {listed[:4], *(listed[i : i + 4] for i in range(8, len(listed), 4))}
    return brands if brands & (_AVIF_BRANDS | _HEIC_BRANDS) else set()


def _decode_with_pillow(
    data: bytes, where: object, as_displayed: bool, heic: bool = False
) -> np.ndarray:
    """Decode an image with Pillow; see `decode_image`."""
    from PIL import Image, ImageOps

    if heic:
        try:
            import pillow_heif
        except ImportError:
            raise DataError(
                where,
                "is a HEIC image, and the package pillow-heif is not installed",
                "pip install pillow-heif, or save it as a JPEG",
            ) from None
        pillow_heif.register_heif_opener()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            turned = ImageOps.exif_transpose(image) if as_displayed else image
            whole = turned.convert("RGBA")
    except Exception as error:  # whatever a decoder raises: OSError, SyntaxError, ValueError, …
        raise DataError(
            where, f"cannot be decoded: {error}", "fetch it again or save it as a JPEG"
        ) from None
    white = Image.new("RGBA", whole.size, "white")
    return np.array(Image.alpha_composite(white, whole).convert("RGB"))


def _jpeg_ends(data: bytes) -> bool:
    """Return whether an end marker follows the image data.

    That of a preview in the header does not count; a video behind the image does not matter.
    """
    position = 2
    while data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] != b"\xda":
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return data.rfind(_JPEG_END, position) >= 0  # from the end, where the marker is


def read_image(path: str | Path, as_displayed: bool = False) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB; `as_displayed` as in `decode_image`.

    Raises:
        DataError: when the file is missing, unreadable, no image, or truncated, or `path` is an
            address.
    """
    try:
        data = local_path(path).read_bytes()
    except OSError as error:
        raise DataError(
            path, f"cannot read the image: {error.strerror or error}", "check the path"
        ) from None
    return decode_image(data, path, as_displayed)


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """Encode an (H, W, 3) uint8 RGB image as JPEG.

    Args:
        image: (H, W, 3) uint8 RGB.
        quality: 1 ... 100.
    """
    import cv2

    ok, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not ok:
        raise ValueError(f"cannot encode an image of shape {image.shape}, {image.dtype}")
    return data.tobytes()


def simulate_cheap_camera(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Degrade an image as a cheap camera in a dim room does.

    There are four faults, each with probability 0.5:

    - dark: up to four times darker, shadows more than lights (a gamma);
    - blurred: by a motion of up to 6 % of the width, in any direction;
    - noisy: normal, with a standard deviation of up to 15 of 255, in half of the cases at half the
      resolution;
    - compressed: JPEG of quality 15 to 60.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        rng: source of the random choices.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    height, width = image.shape[:2]
    dim, blurred, noisy, compressed = rng.random(4) < 0.5
    if dim:
        gain = rng.uniform(0.25, 1)
        gamma = rng.uniform(0.8, 1.6)
        table = (255 * gain * (np.arange(256) / 255) ** gamma).round().astype(np.uint8)
        image = cv2.LUT(image, table)
    if blurred:
        length = rng.uniform(0.01, 0.06) * width
        angle = rng.uniform(0, np.pi)
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
        shape = (-(-height // coarse), -(-width // coarse), 3)
        noise = rng.normal(0, rng.uniform(2, 15), shape).astype(np.float32)
        noise = noise.repeat(coarse, axis=0).repeat(coarse, axis=1)[:height, :width]
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if compressed:
        image = decode_image(encode_jpeg(image, int(rng.integers(15, 61))), "an image in memory")
    return image


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Return an uninitialised uint8 array at an address that is a multiple of 64.

    TensorFlow uses such memory without copying it.
    """
    buffer = np.empty(np.prod(shape) + 63, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + np.prod(shape)].reshape(shape)
