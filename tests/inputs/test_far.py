"""Augmentation `far`: small people, anywhere in the crop, in front of a background record of the
same batch."""

import numpy as np
import pytest

from posekit import geometry, inputs
from posekit.errors import DataError
from posekit.inputs import FAR_ZOOM, Augmentation, AugmentParams, on_device

SIZE = 160
BOX = 192
STORED = 288


def test_far_people_are_in_the_range_of_zooms_and_stay_inside_the_crop():
    rng = np.random.default_rng(0)
    always = Augmentation(far=1.0, half_body=1.0)
    box = np.array([[0, 0], [BOX - 1, BOX - 1]]) + (STORED - BOX) / 2
    zooms = []
    for _ in range(300):
        params = always.draw(rng)._replace(rotation=0.0)
        affine = inputs.input_affine(np.zeros((17, 2)), np.zeros(17), STORED, BOX, SIZE, params)
        corners = geometry.apply_affine(affine, box)
        assert np.all((corners > -1) & (corners < SIZE))
        assert params.half_body is None
        zooms.append(params.zoom)
    assert FAR_ZOOM[0] <= min(zooms) < 0.42
    assert 0.72 < max(zooms) <= FAR_ZOOM[1]


def test_far_does_not_change_the_other_kinds():
    rest = Augmentation(half_body=0.5, erase=0.5)
    for seed in range(20):
        plain = rest.draw(np.random.default_rng(seed))
        maybe = Augmentation(half_body=0.5, erase=0.5, far=0.5).draw(np.random.default_rng(seed))
        if not maybe.far:
            assert plain.zoom == maybe.zoom
            assert plain.shift == maybe.shift
        assert plain.flip == maybe.flip
        assert plain.rotation == maybe.rotation
        assert plain.erase_box == maybe.erase_box


def stored_photo(value: int) -> np.ndarray:
    """A stored image: black, with a grey photo of 160 x 120 in its middle."""
    image = np.zeros((STORED, STORED, 3), np.uint8)
    image[84:204, 64:224] = value
    return image


def test_the_mask_is_the_photo():
    mask = inputs.photo_mask(stored_photo(100))
    assert np.all(mask[84:204, 64:224] == 255)
    assert mask.sum() == 255 * 160 * 120
    assert not inputs.photo_mask(np.zeros((8, 8, 3), np.uint8)).any()


def test_the_background_fills_the_crop_outside_the_photo_and_only_there():
    params = AugmentParams(zoom=0.5, far=True)
    affine = inputs.input_affine(np.zeros((17, 2)), np.zeros(17), STORED, BOX, SIZE, params)
    out = np.empty((SIZE, SIZE, 3), np.uint8)
    plain = np.empty((SIZE, SIZE, 3), np.uint8)
    inputs.render_crop(stored_photo(100), affine, params, None, out, stored_photo(200))
    inputs.render_crop(stored_photo(100), affine, params, None, plain)
    assert set(np.unique(plain[SIZE // 2])) == {0, 100} or plain.max() == 100
    assert np.all(out[plain == 100] == 100)
    assert np.all(out[:40] == 200)
    assert np.mean(out == 200) > 0.7


def test_it_is_refused_on_the_device():
    with pytest.raises(DataError, match="far"):
        on_device.resolve_input("device", [], Augmentation(far=0.1))
