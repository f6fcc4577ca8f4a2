"""Pictures: RGB in memory, and clear errors for what is no picture."""

import io
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, features

from posekit.errors import DataError
from posekit.images import decode_image, encode_jpeg, read_image, simulate_cheap_camera


def test_colours_stay_in_order(tmp_path):
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 200
    before = red.copy()
    decoded = decode_image(encode_jpeg(red), "red")
    assert decoded.shape == (20, 30, 3) and np.abs(decoded.astype(int) - red).max() <= 3
    assert np.array_equal(red, before)
    cv2.imwrite(str(tmp_path / "red.png"), red[..., ::-1])
    assert np.array_equal(read_image(tmp_path / "red.png"), red)


def test_grey_becomes_three_channels(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.jpg"), np.full((8, 9), 77, np.uint8))
    assert read_image(tmp_path / "grey.jpg").shape == (8, 9, 3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "empty"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: data[:-2], "truncated"),
        (lambda data: b"not an image at all", "not an image"),
    ],
)
def test_damaged_pictures_are_named(tmp_path, damage, message):
    path = tmp_path / "photo.jpg"
    path.write_bytes(
        damage(encode_jpeg(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    )
    with pytest.raises(DataError, match=message) as error:
        read_image(path)
    assert "photo.jpg" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg: cannot read the image: No such file"):
        read_image(tmp_path / "gone.jpg")


def test_a_poor_camera_darkens_blurs_and_adds_noise_but_moves_nothing():
    """A bright dot on grey stays where it is; all four faults occur; the picture that came in is as
    it was."""
    image = np.full((120, 160, 3), 90, np.uint8)
    cv2.circle(image, (60, 50), 6, (250, 250, 250), -1)
    before = image.copy()
    darker = 0
    noisier = 0
    places = []
    for seed in range(60):
        taken = simulate_cheap_camera(image, np.random.default_rng(seed))
        assert taken.shape == image.shape and taken.dtype == np.uint8
        assert np.array_equal(taken, simulate_cheap_camera(image, np.random.default_rng(seed)))
        grey = cv2.GaussianBlur(taken.mean(axis=2), (0, 0), 2)
        weight = np.clip(grey - np.median(grey) - 0.3 * np.ptp(grey), 0, None)
        rows, columns = np.mgrid[:120, :160]
        places.append(
            [(columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()]
        )
        darker += np.median(taken) < 60
        noisier += taken[80:].std() > 3
    assert np.array_equal(image, before)
    assert 10 < darker < 50 and 10 < noisier < 50
    assert np.abs(np.median(places, axis=0) - (60, 50)).max() < 0.5
    assert np.quantile(np.abs(np.array(places) - (60, 50)).max(axis=1), 0.9) < 1.5


def test_a_film_behind_a_photo_does_not_matter_and_a_preview_in_its_head_is_no_end(tmp_path):
    """As phones write them: a Motion Photo has megabytes behind the picture; EXIF holds a whole
    small JPEG."""
    photo = encode_jpeg(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    np.testing.assert_array_equal(
        decode_image(photo + b"ftypmp42" * 1000, "x"), decode_image(photo, "x")
    )
    preview = b"Exif\0\0" + encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    headed = photo[:2] + b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview + photo[2:]
    np.testing.assert_array_equal(decode_image(headed, "x"), decode_image(photo, "x"))
    with pytest.raises(DataError, match="truncated"):
        decode_image(headed[: len(headed) - 300], "x")


def marked(orientation: int, mode: str = "RGB") -> tuple[Image.Image, bytes, np.ndarray]:
    """A photo with a red top: the image, its EXIF, and how viewers show it."""
    pixels = np.zeros((40, 60, len(mode)), np.uint8)
    pixels[:20, :, 0] = 200
    pixels[..., 3:] = 255
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.getexif()[0x0112] = orientation
    return image, exif.tobytes(), np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_rotated_as_viewers_show_it(tmp_path, orientation):
    """OpenCV decodes AVIF, but ignores its boxes `irot` and `imir`."""
    image, exif, displayed = marked(orientation)
    path = tmp_path / "photo.avif"
    image.save(path, exif=exif, quality=95)
    found = read_image(path, as_displayed=True)
    assert found.shape == displayed.shape
    assert np.abs(found.astype(int) - displayed).mean() < 6  # lossy
    assert read_image(path).shape == (40, 60, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_transparent_image_is_rotated_too(tmp_path, orientation, suffix):
    image, exif, displayed = marked(orientation, "RGBA")
    image.putpixel((0, 0), (10, 20, 30, 0))
    path = tmp_path / f"photo{suffix}"
    image.save(path, exif=exif, lossless=True)
    found = read_image(path, as_displayed=True)
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0)}
    corner |= {5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    wanted = displayed.copy()
    wanted[corner[orientation]] = 255  # transparent is white
    assert np.array_equal(found, wanted)


def heic_head() -> bytes:
    return (24).to_bytes(4, "big") + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(500)


def test_a_heic_is_named_with_the_package_that_reads_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match="is a HEIC image") as error:
        decode_image(heic_head(), "IMG_1.HEIC", as_displayed=True)
    assert "pip install pillow-heif" in str(error.value)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_heic_is_rotated_as_viewers_show_it(tmp_path, orientation):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    pillow_heif.register_heif_opener()
    image, exif, displayed = marked(orientation)
    path = tmp_path / "IMG_1.HEIC"
    image.save(path, exif=exif, quality=95)
    found = read_image(path, as_displayed=True)
    assert found.shape == displayed.shape
    assert np.abs(found.astype(int) - displayed).mean() < 6


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_a_damaged_avif_is_named():
    file = io.BytesIO()
    marked(6)[0].save(file, "AVIF")
    for data in (
        file.getvalue()[:200],
        file.getvalue()[:-100],
        heic_head().replace(b"heic", b"avif"),
    ):
        with pytest.raises(DataError, match=r"^photo\.avif: cannot be decoded") as error:
            decode_image(data, "photo.avif")
        assert "\n" not in str(error.value)


def test_an_address_is_no_image():
    with pytest.raises(DataError, match=r"^https://host/a\.jpg: is an address"):
        read_image("https://host/a.jpg")
