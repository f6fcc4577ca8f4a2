"""Random augmentation of training images, as the parameters of one crop (chapter 03).

Scale, rotation, shift, mirroring and the choice of a half body make one affine, so that each image
is resampled exactly once, from the stored context crop to the network's input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from posekit.skeleton import COCO17, NUM_KEYPOINTS

UPPER_BODY = np.arange(NUM_KEYPOINTS) < COCO17.index("left_hip")
"""(17,) bool, head and arms of COCO17."""
LOWER_BODY = ~UPPER_BODY
"""(17,) bool, hips and legs of COCO17."""
FAR_ZOOM = (0.4, 0.75)
"""Smallest and largest zoom of `Augmentation.far`; drawn log-uniform."""


class AugmentParams(NamedTuple):
    """Augmentation parameters of one image; the defaults give the plain centre crop.

    Args:
        flip: mirror the image, and swap left and right labels.
        rotation: degrees, positive counter-clockwise as seen.
        zoom: > 1 enlarges the person.
        shift: (2,) displacement as a fraction of the crop's side.
        half_body: "upper" or "lower": crop around that half of the body. Where too few of its
            joints are labelled the other half is taken, and where neither has enough the whole
            person.
        colour: (3, 4) float64 affine of RGB: new = colour[:, :3] @ rgb + colour[:, 3]; or None.
        erase_box: (x0, y0, x1, y1) as fractions of the crop, a rectangle to fill with noise; or
            None.
        degrade: apply `images.simulate_cheap_camera`.
        far: fill the crop outside the photo with a background record of the same batch, if there
            is one.
    """

    flip: bool = False
    rotation: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    half_body: str | None = None
    colour: np.ndarray | None = None
    erase_box: tuple[float, float, float, float] | None = None
    degrade: bool = False
    far: bool = False


@dataclass(frozen=True)
class Augmentation:
    """Strength of the augmentation of training images. All values 0 give the plain centre crop.

    Args:
        flip: probability of mirroring (left and right labels are swapped with it).
        rotation: degrees, the largest rotation to either side, uniform.
        scale: largest zoom as a share: 0.25 draws a factor from 1 / 1.25 ... 1.25, log-uniform.
        shift: largest displacement along each axis as a fraction of the crop's side, uniform.
        colour: strength of brightness, contrast and colour-cast changes, 0 ... 1.
        half_body: probability of a crop around the upper or the lower body only, where enough
            joints are labelled. Joints of the other half that leave the crop become exact examples
            of "not in the crop" (MMPose's RandomHalfBody).
        erase: probability of a rectangle of noise, 2 ... 20 % of the crop. A joint under it keeps
            its label: the network has to learn where a hidden joint is (Zhong et al., "Random
            Erasing Data Augmentation", AAAI 2020).
        camera: probability of the degradation by a cheap camera in a dim room
            (`images.simulate_cheap_camera`).
        far: probability of a small person, by a factor in `FAR_ZOOM`, anywhere in the crop, in
            front of a background record of the same batch. Photos of one upper body teach little
            about people who are small.
    """

    flip: float = 0.5
    rotation: float = 20.0
    scale: float = 0.2
    shift: float = 0.06
    colour: float = 0.2
    half_body: float = 0.0
    erase: float = 0.0
    camera: float = 0.0
    far: float = 0.0

    @classmethod
    def only(cls, **given: float) -> "Augmentation":
        """Return an augmentation of the given kinds only: `Augmentation.only(rotation=30)`."""
        return cls(**{**{field.name: 0.0 for field in fields(cls)}, **given})

    def draw(self, rng: np.random.Generator) -> AugmentParams:
        """Draw the parameters for one image.

        The same random numbers are drawn whatever is switched on (`camera` and `far` excepted), so
        that switching one kind off does not change the others.
        """
        flip, rotation, zoom, right, down, contrast, light, *cast = rng.uniform(-1, 1, 10).tolist()
        half, upper, erase, area, aspect, x, y = rng.random(7).tolist()
        half_body = None
        if half < self.half_body:
            half_body = "upper" if upper < 0.7 else "lower"
        erase_box = None
        if erase < self.erase:
            erase_box = rectangle(0.02 * 10**area, 3.3 ** (2 * aspect - 1), x, y)
        params = AugmentParams(
            flip=(flip + 1) / 2 < self.flip,
            rotation=rotation * self.rotation,
            zoom=(1 + self.scale) ** zoom,
            shift=(right * self.shift, down * self.shift),
            half_body=half_body,
            colour=color_matrix(self.colour, contrast, light, cast) if self.colour > 0 else None,
            erase_box=erase_box,
            degrade=bool(self.camera) and rng.random() < self.camera,
        )
        if self.far and rng.random() < self.far:
            return _far(params, zoom, right, down)
        return params


def _far(params: AugmentParams, zoom: float, right: float, down: float) -> AugmentParams:
    """Show the whole person smaller, anywhere in the crop.

    Args:
        params: of the other kinds of augmentation.
        zoom: -1 ... 1, from the smallest to the largest of `FAR_ZOOM`.
        right: -1 ... 1, from the left edge of the crop to the right.
        down: -1 ... 1, from the top edge of the crop to the bottom.
    """
    smallest, largest = FAR_ZOOM
    size = smallest * (largest / smallest) ** ((zoom + 1) / 2)
    free = (1 - size) / 2  # the shift at which the padded box touches the crop's edge
    return params._replace(zoom=size, shift=(right * free, down * free), half_body=None, far=True)


def color_matrix(
    strength: float, contrast: float, light: float, cast: Sequence[float]
) -> np.ndarray:
    """Chain contrast, brightness and colour cast into one affine of RGB.

    Args:
        strength: 0 (no change) ... 1.
        contrast: -1 ... 1.
        light: -1 ... 1, brightness.
        cast: (3,) -1 ... 1, for each channel.

    Returns:
        (3, 4) float64, see `AugmentParams.colour`.
    """
    gain = 1 + strength * contrast
    lift = 127.5 * (1 - gain) + 127.5 * strength * light
    red, green, blue = (1 + 0.4 * strength * c for c in cast)
    rows = [
        [gain * red, 0, 0, lift * red],
        [0, gain * green, 0, lift * green],
        [0, 0, gain * blue, lift * blue],
    ]
    return np.array(rows)


def rectangle(area: float, aspect: float, x: float, y: float) -> tuple[float, float, float, float]:
    """Place a rectangle of a given area and shape inside the unit square.

    Args:
        area: 0 ... 1, cut down where a side would be longer than 1.
        aspect: w / h.
        x: 0 (at the left edge) ... 1 (at the right edge).
        y: 0 (at the top) ... 1 (at the bottom).

    Returns:
        x0, y0, x1, y1.
    """
    w = min(1.0, (area * aspect) ** 0.5)
    h = min(1.0, (area / aspect) ** 0.5)
    left = x * (1 - w)
    top = y * (1 - h)
    return left, top, left + w, top + h


def half_body_square(
    keypoints: np.ndarray, usable: np.ndarray, half: str
) -> tuple[np.ndarray, float] | None:
    """Find the square around one half of a body (MMPose's RandomHalfBody).

    Args:
        keypoints: (17, 2) pixels.
        usable: (17,) bool, labelled and inside the image.
        half: "upper" (head, arms) or "lower" (hips, legs); the other half is taken where this one
            has fewer than 3 usable joints.

    Returns:
        centre (2,) and side, 1.5 times the joints' span; None where fewer than 9 joints are usable.
    """
    if np.count_nonzero(usable) < 9:
        return None
    upper = usable & UPPER_BODY
    lower = usable & LOWER_BODY
    for joints in (upper, lower) if half == "upper" else (lower, upper):
        if np.count_nonzero(joints) >= 3:
            low = keypoints[joints].min(axis=0)
            high = keypoints[joints].max(axis=0)
            return (low + high) / 2, 1.5 * float((high - low).max())
    return None
