"""Stages two and three of DeepPose: look again, closer, where the stage before saw each joint (chapter 10).

    pose of stage s - 1 ─► a sub-image around each joint, side σ · diameter ─► refiner ─► displacement ─► pose of stage s

A refiner learns on displacements drawn from the errors that the stage before makes. Two ways to build one: the paper's, a network for
each joint (`kinds=17`), and a cheaper one, a network for all, which is told which joint it looks at (`kinds=9`, left and right joints
being each other's mirror image).

Source: Toshev & Szegedy, "DeepPose", CVPR 2014, section 3.2, equations 6 to 9.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from posekit import geometry, inputs, records
from posekit.errors import DataError
from posekit.images import decode_image
from posekit.inference import evaluation, predictor
from posekit.models import offset_voting_head, resnet
from posekit.skeleton import COCO17

K = len(COCO17)
RIGHT = np.array([name.startswith("right_") for name in COCO17.joints])
"""Joints whose sub-image is mirrored, so that a refiner only ever sees left ones."""
KINDS = np.minimum(np.arange(K), np.array(COCO17.flip_indices))
"""(17,) the joint that each joint looks like in the mirror: its left twin, or itself."""
CORNERS = [
    COCO17.index(name) for name in ("left_shoulder", "right_hip", "right_shoulder", "left_hip")
]
"""The torso's corners, opposite ones side by side."""
SIGMA = 1.0
"""Side of a sub-image in diameters; the paper's value for FLIC, whose people are large in the picture; 2 for LSP."""


# ---- the geometry of a second look -----------------------------------------------------------------------------------------


def diameter(pose: np.ndarray) -> np.ndarray:
    """How large a person is: the distance between opposing shoulder and hip, the mean of both diagonals.

    Args:
        pose: (..., 17, 2) pixels.

    Returns:
        (...) pixels.
    """
    a, b, c, d = (pose[..., i, :] for i in CORNERS)
    return (np.linalg.norm(a - b, axis=-1) + np.linalg.norm(c - d, axis=-1)) / 2


@dataclass(frozen=True)
class Displacements:
    """Where the truth lies, seen from a stage's prediction: a Gaussian for each joint, in diameters of the predicted pose.

    Args:
        mean: (17, 2).
        covariance: (17, 2, 2).
        zoom: mean and standard deviation of ln(predicted diameter / true one): the sub-image's side is a prediction, too.
    """

    mean: np.ndarray
    covariance: np.ndarray
    zoom: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def measured(
        cls, predicted: np.ndarray, true: np.ndarray, labelled: np.ndarray
    ) -> "Displacements":
        """From a stage's answers.

        Args:
            predicted, true: (N, 17, 2) pixels.
            labelled: (N, 17) bool; a joint that is labelled in fewer than three people gets the distribution of all joints.
        """
        labelled = np.asarray(labelled, bool)
        if labelled.sum() < 3:
            raise ValueError("fewer than three labelled joints: no distribution of errors")
        relative = (true - predicted) / diameter(predicted)[:, None, None]
        everything = relative[labelled]
        parts = [
            relative[labelled[:, k], k] if labelled[:, k].sum() >= 3 else everything
            for k in range(K)
        ]
        whole = labelled[:, CORNERS].all(axis=1)
        zoom = (
            np.log(diameter(predicted[whole]) / diameter(true[whole]))
            if whole.any()
            else np.zeros(1)
        )
        mean, covariance = (
            np.stack([p.mean(axis=0) for p in parts]),
            np.stack([np.cov(p.T) for p in parts]),
        )
        return cls(mean, covariance, (float(zoom.mean()), float(zoom.std())))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One displacement for each joint, (17, 2) diameters."""
        root = np.linalg.cholesky(self.covariance + 1e-9 * np.eye(2))
        return self.mean + np.einsum("kij,kj->ki", root, rng.normal(size=(K, 2)))


def sub_image_affines(
    centers: np.ndarray, side: float, size: int, mirror: bool = False
) -> np.ndarray:
    """Compute the affines from image pixels to sub-images, those of right joints mirrored.

    Args:
        centers: (17, 2) predictions of the previous stage, image pixels.
        side: of the sub-images, image pixels.
        size: of the sub-images in their own pixels.
        mirror: the whole person is mirrored, so that sub-images of left joints are mirrored instead.

    Returns:
        (17, 2, 3).
    """
    return np.stack(
        [
            geometry.crop_affine(center, side, size, flip=bool(right) != mirror)
            for center, right in zip(centers, RIGHT, strict=True)
        ]
    )


def look(
    image: np.ndarray, pose: np.ndarray, size: int, sigma: float = SIGMA
) -> tuple[np.ndarray, np.ndarray]:
    """The sub-images around a pose's joints.

    Args:
        image: (H, W, 3) uint8.
        pose: (17, 2) pixels of the image.
        size: side of a sub-image in its pixels.
        sigma: its side in diameters of the pose.

    Returns:
        (17, size, size, 3) uint8, and the maps (17, 2, 3) that cut them.
    """
    maps = sub_image_affines(pose, max(sigma * float(diameter(pose)), 4.0), size)
    return np.stack([geometry.warp(image, affine, (size, size)) for affine in maps]), maps


# ---- the refiner -----------------------------------------------------------------------------------------------------------

SHARED, SEPARATE = "shared", "separate"
_ASKED = np.unique(KINDS)


def _network(image: object, base_channels: int, units: tuple[int, ...], joints: int) -> object:
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)
    return offset_voting_head(resnet.resnet_v2(x, units, base_channels), joints)["keypoints"]


def _unmoved(net: keras.Model) -> keras.Model:
    """The last convolution at 0: every cell's vote weighs the same, and their mean is the middle."""
    last = net.get_layer("head_votes")
    last.set_weights([np.zeros_like(w) for w in last.get_weights()])
    return net


def refiner(
    way: str = SHARED,
    size: int = 64,
    *,
    base_channels: int = 16,
    units: tuple[int, ...] = (1, 1, 1),
) -> keras.Model:
    """Small pre-activation ResNets that say where in its sub-image a joint is.

    Args:
        way: `"separate"`: a network for each joint, nothing shared, as the paper's stages are trained for each joint; `"shared"`: one
            network for all joints, whose last convolution alone knows which one is asked for.
        size: side of a sub-image in pixels.
        width: channels of the first stage.
        units: residual units of each stage.

    Returns:
        A model from (B, 17, S, S, 3) sub-images in 0 ... 255, those of right joints mirrored, to (B, 17, 2): the joints' places in
        normalised coordinates of their (mirrored) sub-images. Before training it says (0, 0), the middle: no joint is moved.
    """
    people = keras.Input((K, size, size, 3), name="sub_images")
    image = keras.Input((size, size, 3), name="image")
    if way == SEPARATE:
        nets = [
            _unmoved(
                keras.Model(image, _network(image, base_channels, units, 1), name=f"refiner_{name}")
            )
            for name in COCO17.joints
        ]
        return keras.Model(
            people, ops.concatenate([net(people[:, k]) for k, net in enumerate(nets)], axis=1)
        )
    net = _unmoved(
        keras.Model(image, _network(image, base_channels, units, len(_ASKED)), name="refiner")
    )
    places = ops.reshape(net(ops.reshape(people, (-1, size, size, 3))), (-1, K, len(_ASKED), 2))
    asked = np.equal(KINDS[:, None], _ASKED)[None, :, :, None].astype(np.float32)  # (1, 17, 9, 1)
    return keras.Model(people, ops.sum(places * asked, axis=2))


def save(
    model: keras.Model,
    belief: np.ndarray,
    path: str | Path,
    *,
    size: int,
    base_channels: int,
    units: tuple[int, ...],
) -> None:
    """Keep a shared refiner's weights, rounded to float16, with what `refiner` needs to build it anew."""
    weights = {f"w{i:03}": w.astype(np.float16) for i, w in enumerate(model.get_weights())}
    np.savez_compressed(
        path, built=np.array([size, base_channels, *units]), belief=belief, **weights
    )


def load() -> "Cascade":
    """Stage one of the package, and the two shared refiners that the experiment `cascade` trained on top of it.

    Raises:
        DataError: where the package holds no such weights.
    """
    folder, refiners, belief = Path(str(resources.files("posekit"))) / "weights" / "cascade", [], []
    for path in sorted(folder.glob("stage*.npz")):
        with np.load(path) as stored:
            size, base_channels, *units = stored["built"].tolist()
            refiners.append(refiner(SHARED, size, base_channels=base_channels, units=tuple(units)))
            refiners[-1].set_weights(
                [stored[name] for name in sorted(stored.files) if name.startswith("w")]
            )
            belief.append(stored["belief"])
    if not refiners:
        raise DataError(
            folder,
            "holds no refiners",
            "run: python -m posekit experiment cascade --keep DIR, and copy them",
        )
    return Cascade(predictor.load("minidome"), tuple(refiners), tuple(belief))


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of a refiner for one person, 17 sub-images."""
    from posekit import models

    nets = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return (K if len(nets) == 1 else 1) * sum(
        sum(models.multiply_adds(net).values()) for net in nets
    )


# ---- training --------------------------------------------------------------------------------------------------------------


def simulated(
    person: records.PersonRecord,
    errors: Displacements,
    size: int,
    rng: np.random.Generator,
    sigma: float = SIGMA,
) -> tuple[np.ndarray, np.ndarray]:
    """One person as a stage is trained on: the stage before is not asked, its errors are drawn (equations 8 and 9).

    Args:
        person: a record.
        errors: of the stage before.
        size: side of a sub-image in its pixels.
        rng: where the displacements, and a mirror image every other time, come from.
        sigma: side of a sub-image in diameters.

    Returns:
        (17, S, S, 3) uint8 sub-images and (17, 3) float32 targets: normalised u, v and the weight. A joint weighs 0 where it is not
        labelled, or lies outside the stored picture or its sub-image, or where the person's diameter is not known.
    """
    points = np.asarray(person.keypoints, np.float64)
    labelled = person.labelled & geometry.inside(points, (person.width, person.width))
    if not labelled[CORNERS].all():
        return np.zeros((K, size, size, 3), np.uint8), np.zeros((K, 3), np.float32)
    image = decode_image(person.encoded, person.person_id)
    mean, spread = errors.zoom
    predicted_diameter = float(diameter(points) * np.exp(mean + spread * rng.normal()))
    centers = np.where(labelled[:, None], points, points[labelled].mean(axis=0))
    centers = centers - errors.draw(rng) * predicted_diameter
    mirror = rng.random() < 0.5
    if mirror:  # each joint takes the place of its twin
        twins = list(COCO17.flip_indices)
        points = points[twins]
        centers = centers[twins]
        labelled = labelled[twins]
    side = max(sigma * predicted_diameter, 4.0)
    affines = sub_image_affines(centers, side, size, mirror)
    crops = np.stack([geometry.warp(image, affine, (size, size)) for affine in affines])
    normalised, weight = inputs.locate_in_crop(
        affines, points[:, None], labelled[:, None], person.width, size
    )
    target = np.concatenate([normalised[:, 0], weight], axis=-1)
    return crops, target.astype(np.float32)


def make_batches(
    directories: Sequence[str | Path],
    errors: Displacements,
    size: int,
    people: int = 8,
    *,
    seed: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches without end of `simulated` people: (B, 17, S, S, 3) uint8 and (B, 17, 3) float32."""
    everybody = [person for directory in directories for person in records.read_records(directory)]
    left, epochs = [], itertools.count()
    for step in itertools.count():
        while len(left) < people:
            left += np.random.default_rng((seed, next(epochs))).permutation(len(everybody)).tolist()
        chosen, left = left[:people], left[people:]
        rng = np.random.default_rng((seed, 1, step))
        crops, target = zip(
            *(simulated(everybody[i], errors, size, rng) for i in chosen), strict=True
        )
        yield np.stack(crops), np.stack(target)


def stored_poses(
    results: evaluation.EvalResults, people: Sequence[records.PersonRecord]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted and the annotated joints in pixels of the stored images.

    Args:
        results: predictions for `people`, in pixels of the original images.
        people: the N records.

    Returns:
        (N, 17, 2) predicted and (N, 17, 2) annotated joints.
    """
    to_stored = np.stack([geometry.invert(person.crop_to_image) for person in people])
    predicted = geometry.apply_affine(to_stored, results.keypoints)
    return predicted, np.stack([person.keypoints for person in people])


# ---- a cascade at work -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cascade:
    """Stage one and its refiners.

    Args:
        first: stage one.
        refiners: of stages two, three, ...
        belief: (17,) of each refiner: the share of its correction that is made; () for all of it, as in the paper.
        sigma: side of the sub-images in diameters.
    """

    first: predictor.Predictor
    refiners: tuple[keras.Model, ...]
    belief: tuple[np.ndarray, ...] = ()
    sigma: float = SIGMA

    def refine(self, stage: int, images: Sequence[np.ndarray], poses: np.ndarray) -> np.ndarray:
        """Poses of the next stage (equation 7).

        Args:
            stage: 2, 3, ...
            images: (H, W, 3) uint8, one a person.
            poses: (N, 17, 2) of the stage before, pixels of the images.

        Returns:
            (N, 17, 2) pixels of the images.
        """
        model = self.refiners[stage - 2]
        size = model.input_shape[2]
        looks = [
            look(image, pose, size, self.sigma) for image, pose in zip(images, poses, strict=True)
        ]
        places = np.asarray(
            model.predict_on_batch(np.stack([crops for crops, _ in looks]).astype(np.float32))
        )
        points = geometry.decode_keypoints(places, (size, size))
        back = np.stack([[geometry.invert(affine) for affine in maps] for _, maps in looks])
        found = geometry.apply_affine(back, points[..., None, :])[..., 0, :]
        return poses + (found - poses) * self.belief[stage - 2][:, None] if self.belief else found

    def answers(
        self, directory: str | Path, *, flip: bool = True, batch_size: int = 32
    ) -> list[evaluation.EvalResults]:
        """What every stage says of the people of a record folder, for `evaluation.scores`; the first is stage one."""
        first = evaluation.predict_records(self.first, directory, flip=flip)
        people = list(records.read_records(directory))
        size, box_px = self.first.input_size, records.read_manifest(directory)["box_px"]
        to_crop = inputs.input_affine(
            people[0].keypoints,
            people[0].keypoints_visible,
            people[0].width,
            box_px,
            size,
            inputs.AugmentParams(),
        )
        stored = geometry.apply_affine(
            geometry.invert(to_crop), geometry.decode_keypoints(first.crop_keypoints, (size, size))
        )
        found = [first]
        for stage in range(2, len(self.refiners) + 2):
            refined = []
            for start in range(0, len(people), batch_size):
                part = people[start : start + batch_size]
                images = [decode_image(person.encoded, person.person_id) for person in part]
                refined.append(self.refine(stage, images, stored[start : start + batch_size]))
            stored = np.concatenate(refined)
            crop = geometry.encode_keypoints(geometry.apply_affine(to_crop, stored), (size, size))
            found.append(first.with_predictions(crop, first.visibility))
        return found


def fit_step_size(
    before: np.ndarray, after: np.ndarray, true: np.ndarray, labelled: np.ndarray
) -> np.ndarray:
    """How far to believe a refiner: two looks at a joint, and the mean of both that errs least on people held out for that.

    Args:
        before, after, true: (N, 17, 2) pixels: the stage before, the refiner's answer, the truth.
        labelled: (N, 17) bool.

    Returns:
        (17,) shares 0, 0.05 ... 1 of the correction with the least mean distance, twins together.
    """
    shares, sizes = np.linspace(0, 1, 21), np.maximum(diameter(true), 1e-6)[:, None]
    labelled = (
        labelled & labelled[:, CORNERS].all(axis=1)[:, None]
    )  # of whom no torso is known, nobody can say how far off they are
    tried = before + shares[:, None, None, None] * (after - before)
    off = np.where(labelled, np.linalg.norm(tried - true, axis=-1) / sizes, 0).sum(
        axis=1
    )  # (21, 17)
    together = np.stack([off[:, kind == KINDS].sum(axis=1) for kind in KINDS], axis=1)
    return shares[together.argmin(axis=0)]
