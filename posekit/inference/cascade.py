"""Stages two and three of DeepPose: refine each joint on a sub-image around it (chapter 13).

    pose of stage s - 1 -> sub-image around each joint, side σ · diameter -> refiner
    -> displacement -> pose of stage s

A refiner is trained on displacements drawn from the error distribution of the stage before. There
are two designs: a network per joint (`SEPARATE`), which is how we read the paper's ψ_i(·; θ_s), and
a cheaper one (`SHARED`), one network with an output per kind of joint (left and right joints are
mirror images of each other).

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

from posekit import geometry, inputs, models, records
from posekit.body_size import TORSO_DIAGONALS, torso_diameter
from posekit.errors import DataError
from posekit.images import decode_image
from posekit.inference import evaluation, predictor
from posekit.models import offset_voting_head, resnet
from posekit.skeleton import COCO17

K = len(COCO17)
RIGHT = np.array([name.startswith("right_") for name in COCO17.joints])
"""(17,) bool: joints whose sub-image is mirrored, so that a refiner only sees left ones."""
KINDS = np.minimum(np.arange(K), np.array(COCO17.flip_indices))
"""(17,) index of the joint's kind: its left counterpart, or itself."""
CORNERS = [joint for diagonal in TORSO_DIAGONALS for joint in diagonal]
"""The torso's corners: each shoulder followed by the opposite hip."""
SIGMA = 1.0
"""Side of a sub-image in torso diameters: the paper's value for FLIC; for LSP it is 2."""
MIN_SIDE_PX = 4.0
"""Least side of a sub-image, in pixels of the image."""


# ---- sub-images ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Displacements:
    """Gaussian distribution of target minus prediction, per joint, in predicted torso diameters.

    Args:
        mean: (17, 2).
        covariance: (17, 2, 2).
        log_scale: mean and standard deviation of ln(predicted diameter / annotated diameter): the
            side of the sub-image depends on the prediction, too.
    """

    mean: np.ndarray
    covariance: np.ndarray
    log_scale: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def fit(
        cls, predicted: np.ndarray, target: np.ndarray, labelled: np.ndarray
    ) -> "Displacements":
        """Fit the distribution to a stage's predictions.

        Args:
            predicted, target: (N, 17, 2) pixels.
            labelled: (N, 17) bool; a joint that is labelled in fewer than three people gets the
                distribution of all joints.

        Raises:
            ValueError: for fewer than three labelled joints.
        """
        labelled = np.asarray(labelled, bool)
        if labelled.sum() < 3:
            raise ValueError("fewer than three labelled joints: no distribution of errors")
        relative = (target - predicted) / torso_diameter(predicted)[:, None, None]
        pooled = relative[labelled]
        parts = [
            relative[labelled[:, k], k] if labelled[:, k].sum() >= 3 else pooled for k in range(K)
        ]
        has_torso = labelled[:, CORNERS].all(axis=1)
        log_scale = np.zeros(1)
        if has_torso.any():
            log_scale = np.log(
                torso_diameter(predicted[has_torso]) / torso_diameter(target[has_torso])
            )
        mean = np.stack([part.mean(axis=0) for part in parts])
        covariance = np.stack([np.cov(part.T) for part in parts])
        return cls(mean, covariance, (float(log_scale.mean()), float(log_scale.std())))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw one displacement per joint, (17, 2) torso diameters."""
        root = np.linalg.cholesky(self.covariance + 1e-9 * np.eye(2))
        return self.mean + np.einsum("kij,kj->ki", root, rng.normal(size=(K, 2)))


def sub_image_affines(
    centers: np.ndarray, side: float, size: int, mirror: bool = False
) -> np.ndarray:
    """Compute the affines from image pixels to sub-images; those of right joints mirror.

    Args:
        centers: (17, 2) predictions of the previous stage, image pixels.
        side: of the sub-images, image pixels.
        size: of the sub-images in their own pixels.
        mirror: the whole person is mirrored, so that sub-images of left joints are mirrored
            instead.

    Returns:
        (17, 2, 3).
    """
    return geometry.crop_affine(centers, side, size, flip=mirror != RIGHT)


def crop_sub_images(
    image: np.ndarray, pose: np.ndarray, size: int, sigma: float = SIGMA
) -> tuple[np.ndarray, np.ndarray]:
    """Crop the sub-images around a pose's joints.

    Args:
        image: (H, W, 3) uint8.
        pose: (17, 2) pixels of the image.
        size: side of a sub-image in its pixels.
        sigma: its side in torso diameters of the pose.

    Returns:
        (17, size, size, 3) uint8, and the affine transforms (17, 2, 3) that crop them.
    """
    side = max(sigma * float(torso_diameter(pose)), MIN_SIDE_PX)
    affines = sub_image_affines(pose, side, size)
    crops = np.stack([geometry.warp(image, affine, (size, size)) for affine in affines])
    return crops, affines


# ---- refiners ------------------------------------------------------------------------------------

SHARED = "shared"
SEPARATE = "separate"
_KINDS = np.unique(KINDS)


def _network(image: object, base_channels: int, units: tuple[int, ...], num_joints: int) -> object:
    """Small pre-activation ResNet with a voting head: keypoints (B, num_joints, 2)."""
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)
    features = resnet.resnet_v2(x, units, base_channels)
    return offset_voting_head(features, num_joints)["keypoints"]


def _start_at_identity(network: keras.Model) -> keras.Model:
    """Set the last convolution to 0: all cells weigh the same, and their mean is the centre."""
    last = network.get_layer("head_votes")
    last.set_weights([np.zeros_like(w) for w in last.get_weights()])
    return network


def refiner(
    sharing: str = SHARED,
    size: int = 64,
    *,
    base_channels: int = 16,
    units: tuple[int, ...] = (1, 1, 1),
) -> keras.Model:
    """Build a refiner: small pre-activation ResNets that locate each joint in its sub-image.

    Args:
        sharing: `"separate"`: a network per joint, nothing shared; `"shared"`: one
            network for all joints, with an output per kind in its last convolution.
        size: side of a sub-image in pixels.
        base_channels: channels of the first stage.
        units: residual units of each stage.

    Returns:
        A model from (B, 17, S, S, 3) sub-images in 0 ... 255, those of right joints mirrored, to
        (B, 17, 2): the joints in normalised coordinates of their (mirrored) sub-images. An
        untrained one returns (0, 0), the centre: it moves no joint.
    """
    sub_images = keras.Input((K, size, size, 3), name="sub_images")
    image = keras.Input((size, size, 3), name="image")
    if sharing == SEPARATE:
        networks = [
            _start_at_identity(
                keras.Model(image, _network(image, base_channels, units, 1), name=f"refiner_{name}")
            )
            for name in COCO17.joints
        ]
        keypoints = [network(sub_images[:, k]) for k, network in enumerate(networks)]
        return keras.Model(sub_images, ops.concatenate(keypoints, axis=1))
    output = _network(image, base_channels, units, len(_KINDS))
    network = _start_at_identity(keras.Model(image, output, name="refiner"))
    by_kind = network(ops.reshape(sub_images, (-1, size, size, 3)))
    by_kind = ops.reshape(by_kind, (-1, K, len(_KINDS), 2))
    selected = np.equal(KINDS[:, None], _KINDS)[None, :, :, None]  # (1, 17, 9, 1)
    return keras.Model(sub_images, ops.sum(by_kind * selected.astype(np.float32), axis=2))


def save(
    model: keras.Model,
    step_size: np.ndarray,
    path: str | Path,
    *,
    size: int,
    base_channels: int,
    units: tuple[int, ...],
) -> None:
    """Write a shared refiner's weights, rounded to float16, with the arguments of `refiner`.

    Args:
        model: of `refiner`.
        step_size: (17,), see `Cascade`.
        path: the .npz file.
        size, base_channels, units: see `refiner`.
    """
    weights = {f"w{i:03}": w.astype(np.float16) for i, w in enumerate(model.get_weights())}
    built = np.array([size, base_channels, *units])
    np.savez_compressed(path, built=built, step_size=step_size, **weights)


def load() -> "Cascade":
    """Load stage one of the package and the two shared refiners that come with it.

    The experiment `cascade` trained the refiners.

    Raises:
        DataError: if the package holds no such weights.
    """
    folder = Path(str(resources.files("posekit"))) / "weights" / "cascade"
    refiners = []
    step_sizes = []
    for path in sorted(folder.glob("stage*.npz")):
        with np.load(path) as stored:
            size, base_channels, *units = stored["built"].tolist()
            model = refiner(SHARED, size, base_channels=base_channels, units=tuple(units))
            names = sorted(name for name in stored.files if name.startswith("w"))
            model.set_weights([stored[name] for name in names])
            refiners.append(model)
            step_sizes.append(stored["step_size"])
    if not refiners:
        raise DataError(
            folder,
            "holds no refiners",
            "run: python -m posekit experiment cascade --keep DIR, and copy them",
        )
    return Cascade(predictor.load("minidome"), tuple(refiners), tuple(step_sizes))


def multiply_adds(model: keras.Model) -> int:
    """Count the multiply-adds of a refiner for one person, 17 sub-images."""
    networks = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    runs_per_network = K if len(networks) == 1 else 1
    return runs_per_network * sum(
        sum(models.multiply_adds(network).values()) for network in networks
    )


# ---- training data -------------------------------------------------------------------------------


def simulate_person(
    person: records.PersonRecord,
    errors: Displacements,
    size: int,
    rng: np.random.Generator,
    sigma: float = SIGMA,
) -> tuple[np.ndarray, np.ndarray]:
    """Make one person's training example: the prediction of the stage before is simulated.

    Args:
        person: a record.
        errors: of the stage before.
        size: side of a sub-image in its pixels.
        rng: draws the displacements, and mirrors the image with probability 1/2.
        sigma: side of a sub-image in torso diameters.

    Returns:
        (17, S, S, 3) uint8 sub-images and (17, 3) float32 targets: normalised u, v and the weight.
        The weight is 0 for a joint that is not labelled, or outside the stored image or its
        sub-image, and for all joints if the person's torso diameter is not known.

    Source:
        DeepPose, equations 8 and 9.
    """
    points = np.asarray(person.keypoints, np.float64)
    labelled = person.labelled & geometry.inside(points, (person.width, person.width))
    if not labelled[CORNERS].all():
        return np.zeros((K, size, size, 3), np.uint8), np.zeros((K, 3), np.float32)
    image = decode_image(person.encoded, person.person_id)
    mean, spread = errors.log_scale
    diameter = float(torso_diameter(points) * np.exp(mean + spread * rng.normal()))
    centers = np.where(labelled[:, None], points, points[labelled].mean(axis=0))
    centers = centers - errors.draw(rng) * diameter
    mirror = rng.random() < 0.5
    if mirror:  # left and right joints change places
        order = list(COCO17.flip_indices)
        points = points[order]
        centers = centers[order]
        labelled = labelled[order]
    affines = sub_image_affines(centers, max(sigma * diameter, MIN_SIDE_PX), size, mirror)
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
    """Yield batches of `simulate_person` without end.

    Args:
        directories: record folders.
        errors: of the stage before.
        size: side of a sub-image in its pixels.
        people: B, people per batch.
        seed: of order and displacements.

    Yields:
        (B, 17, S, S, 3) uint8 and (B, 17, 3) float32.
    """
    all_people = [person for directory in directories for person in records.read_records(directory)]
    left = []
    epochs = itertools.count()
    for step in itertools.count():
        while len(left) < people:
            rng = np.random.default_rng((seed, next(epochs)))
            left += rng.permutation(len(all_people)).tolist()
        chosen = left[:people]
        left = left[people:]
        rng = np.random.default_rng((seed, 1, step))
        examples = [simulate_person(all_people[i], errors, size, rng) for i in chosen]
        crops, targets = zip(*examples, strict=True)
        yield np.stack(crops), np.stack(targets)


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


# ---- prediction ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cascade:
    """Stage one and its refiners.

    Args:
        first: stage one.
        refiners: of stages two, three, ...
        step_sizes: (17,) per refiner: the fraction of its correction that is applied, 0 ... 1; ()
            for all of it, as in the paper.
        sigma: side of the sub-images in torso diameters.
    """

    first: predictor.Predictor
    refiners: tuple[keras.Model, ...]
    step_sizes: tuple[np.ndarray, ...] = ()
    sigma: float = SIGMA

    def refine(self, stage: int, images: Sequence[np.ndarray], poses: np.ndarray) -> np.ndarray:
        """Compute the poses of the next stage (equation 7).

        Args:
            stage: 2, 3, ...
            images: (H, W, 3) uint8, one per person.
            poses: (N, 17, 2) of the stage before, pixels of the images.

        Returns:
            (N, 17, 2) pixels of the images.
        """
        model = self.refiners[stage - 2]
        size = model.input_shape[2]
        crops, affines = zip(
            *(
                crop_sub_images(image, pose, size, self.sigma)
                for image, pose in zip(images, poses, strict=True)
            ),
            strict=True,
        )
        out = np.asarray(model.predict_on_batch(np.stack(crops).astype(np.float32)))
        points = geometry.decode_keypoints(out, (size, size))
        to_image = np.stack([[geometry.invert(affine) for affine in person] for person in affines])
        refined = geometry.apply_affine(to_image, points[..., None, :])[..., 0, :]
        if not self.step_sizes:
            return refined
        return poses + (refined - poses) * self.step_sizes[stage - 2][:, None]

    def predict_records(
        self, directory: str | Path, *, flip: bool = True, batch_size: int = 32
    ) -> list[evaluation.EvalResults]:
        """Predict every person of a record folder with every stage.

        Args:
            directory: a record folder.
            flip: flip test of stage one.
            batch_size: people at a time.

        Returns:
            Results for `evaluation.scores`, one per stage; the first is stage one.
        """
        first = evaluation.predict_records(self.first, directory, flip=flip)
        people = list(records.read_records(directory))
        size = self.first.input_size
        stored_to_crop = inputs.input_affine(
            people[0].keypoints,
            people[0].keypoints_visible,
            people[0].width,
            records.read_manifest(directory)["box_px"],
            size,
            inputs.AugmentParams(),
        )
        crop_poses = geometry.decode_keypoints(first.crop_keypoints, (size, size))
        poses = geometry.apply_affine(geometry.invert(stored_to_crop), crop_poses)
        results = [first]
        for stage in range(2, len(self.refiners) + 2):
            refined = []
            for start in range(0, len(people), batch_size):
                part = people[start : start + batch_size]
                images = [decode_image(person.encoded, person.person_id) for person in part]
                refined.append(self.refine(stage, images, poses[start : start + batch_size]))
            poses = np.concatenate(refined)
            crop_poses = geometry.apply_affine(stored_to_crop, poses)
            crop_keypoints = geometry.encode_keypoints(crop_poses, (size, size))
            results.append(first.with_predictions(crop_keypoints, first.visibility))
        return results


def fit_step_size(
    before: np.ndarray, after: np.ndarray, target: np.ndarray, labelled: np.ndarray
) -> np.ndarray:
    """Fit, per joint, how much of a refiner's correction to apply, on held-out people.

    Args:
        before: (N, 17, 2) pixels, of the stage before.
        after: (N, 17, 2) pixels, the refiner's.
        target: (N, 17, 2) pixels.
        labelled: (N, 17) bool; people without a labelled torso are left out, as their errors have
            no unit.

    Returns:
        (17,) fractions 0, 0.05 ... 1 with the least mean distance, the same for left and right.
    """
    shares = np.linspace(0, 1, 21)
    diameters = np.maximum(torso_diameter(target), 1e-6)[:, None]
    scored = labelled & labelled[:, CORNERS].all(axis=1)[:, None]
    candidates = before + shares[:, None, None, None] * (after - before)
    error = np.linalg.norm(candidates - target, axis=-1) / diameters
    error = np.where(scored, error, 0).sum(axis=1)  # (21, 17)
    by_kind = np.stack([error[:, kind == KINDS].sum(axis=1) for kind in KINDS], axis=1)
    return shares[by_kind.argmin(axis=0)]
