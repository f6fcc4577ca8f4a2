"""Ablations: the same short training with one change per row, three seeds (chapter 07).

As in `loss_comparison`, the rows start from the backbone of the packaged model and a head of random
weights. The rows with the network of 2014 cannot: its convolutions were never trained. They start
from random weights, and so does a row of their own with the book's convolutions, `random`, without
which the others would differ from the rest in two things.
"""

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments import common, loss_comparison
from posekit import geometry, inputs, models, records, training
from posekit.images import decode_image, encode_jpeg
from posekit.inference import predictor
from posekit.records.schema import JPEG_QUALITY
from posekit.records.writer import write_shard

MISSING = 0.3
"""Fraction of the labels that are removed at random, to see what masking is worth."""
SEEDS = (0, 1, 2)
EPOCHS = 2
"""The budget of every row: passes over the training people."""
COMMON = {"epochs": EPOCHS, "learning_rate": 1e-3, "clip_norm": 1.0}
BARE_2014 = {"head": "deeppose2014_dropout", "backbone": "deeppose_cnn_lrn"}
RECIPES = {
    "base": {},
    "no_augmentation": {"augment": inputs.Augmentation.only()},
    "stretched": {},
    "masked": {},
    "unmasked": {},
    "deeppose_head": {"head": "regression"},
    "random": {"head": "regression"},
    "cnn_backbone": {"head": "regression", "backbone": "deeppose_cnn"},
    "cnn": {"head": "deeppose2014", "backbone": "deeppose_cnn"},
    "cnn_no_norm": BARE_2014,
}
"""Name of a row -> how its recipe differs from the defaults; `stretched`, `masked` and `unmasked`
differ in data, `random` in the weights that it starts from."""
REFERENCES = {
    "no_augmentation": "base",
    "stretched": "base",
    "masked": "base",
    "unmasked": "masked",
    "deeppose_head": "base",
    "random": "deeppose_head",
    "cnn_backbone": "random",
    "cnn": "cnn_backbone",
    "cnn_no_norm": "cnn",
}
"""Row -> the row that it differs from in one thing, and may be compared with.

From the book's network to that of 2014, one change per row: the head (`deeppose_head`), the trained
backbone (`random`), the convolutions (`cnn_backbone`), the width of the head (`cnn`), and what
AlexNet had in place of batch norm, local response norm and dropout (`cnn_no_norm`)."""
FROM_RANDOM = ("random", "cnn_backbone", "cnn", "cnn_no_norm")
"""Rows that start from random weights throughout."""


# ---- changed records ----------------------------------------------------------------------------


def rewritten(source: Path, out: Path, change: Callable[[dict, str], dict]) -> Path:
    """Write a changed copy of a record folder, unless it is there.

    Args:
        source: the record folder.
        out: the new one.
        change: a function (features, person's id) -> features to replace; features as
            `records.parse_example` returns them.

    Returns:
        `out`.
    """
    if (out / "manifest.json").is_file():
        return out
    out.mkdir(parents=True, exist_ok=True)
    manifest = records.read_manifest(source)
    shards = []
    for path in records.shard_paths(source):
        changed = []
        for payload in records.read_payloads(path):
            features = records.parse_example(payload)
            replaced = change(features, features["person/id"][0].decode())
            changed.append(records.encode_example({**features, **replaced}))
        shard = write_shard(out / path.name, changed)
        shard.pop("skipped", None)
        shards.append(shard)
    digest = hashlib.sha256("".join(shard["sha256"] for shard in shards).encode()).hexdigest()
    text = json.dumps({**manifest, "shards": shards, "digest": digest}, indent=1)
    (out / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return out


def stretch(features: dict, person: str) -> dict:
    """Stretch the box itself to the square input, as many first attempts do, and lose its
    proportions.

    Each side gets the same padding, as a fraction of that side, as the padded square has around its
    longer side.
    """
    size = int(features["image/width"][0])
    box = np.asarray(features["person/bbox"], np.float64)
    wide, high = box[2:] / box[2:].max()
    middle = (size - 1) / 2
    affine = np.array(
        [[1 / wide, 0, middle * (1 - 1 / wide)], [0, 1 / high, middle * (1 - 1 / high)]]
    )
    image = geometry.warp(decode_image(features["image/encoded"][0], person), affine, (size, size))
    encoded = encode_jpeg(image, JPEG_QUALITY)
    labelled = np.asarray(features["person/keypoints_visible"]).reshape(-1, 1) >= 1
    keypoints = geometry.apply_affine(
        affine, np.asarray(features["person/keypoints"]).reshape(-1, 2)
    )
    crop_to_image = np.asarray(features["person/crop_to_image"], np.float64).reshape(2, 3)
    return {
        "image/encoded": encoded,
        "image/key/sha256": hashlib.sha256(encoded).hexdigest(),
        "person/keypoints": np.where(labelled, keypoints, 0),
        "person/crop_to_image": geometry.compose(crop_to_image, geometry.invert(affine)),
    }


def take_labels(features: dict, person: str) -> dict:
    """Remove the share `MISSING` of the labels, the same ones every time."""
    seed = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8], "little")
    left = np.random.default_rng(seed).random(len(features["person/keypoints_visible"])) >= MISSING
    keypoints = np.asarray(features["person/keypoints"]).reshape(-1, 2)
    return {
        "person/keypoints": np.where(left[:, None], keypoints, 0),
        "person/keypoints_visible": np.where(left, features["person/keypoints_visible"], 0),
        "person/joint_known": np.where(left, features["person/joint_known"], 0),
    }


def without_mask(images: object, targets: dict) -> tuple[object, dict]:
    """Train a joint without a label as a joint at (0, 0), the corner of the crop, and its
    visibility too."""
    from keras import ops

    keypoints = targets["keypoints"]
    visibility = targets["visibility"]
    weighted = keypoints[..., 2:] > 0
    corner = ops.where(weighted, keypoints[..., :2], -0.5 * ops.ones_like(keypoints[..., :2]))
    return images, {
        "keypoints": ops.concatenate([corner, ops.ones_like(keypoints[..., 2:])], axis=-1),
        "visibility": ops.concatenate(
            [visibility[..., :1], ops.ones_like(visibility[..., 1:])], axis=-1
        ),
    }


# ---- the experiment -----------------------------------------------------------------------------


def row_data(folder: Path, row: str) -> tuple[Path, Path]:
    """Return the records that a row is trained on, and those that it is scored on."""
    people, val = loss_comparison.data(folder)
    if row == "stretched":
        people, val = (rewritten(f, folder / f"{f.name}-stretched", stretch) for f in (people, val))
    elif row in ("masked", "unmasked"):
        people = rewritten(people, folder / f"{people.name}-gaps", take_labels)
    return people, val


def train_row(folder: Path, row: str, seed: int) -> Path:
    """Train a row with a seed, unless an earlier call has trained it."""
    name = f"{row}-{seed}"
    people, val = row_data(folder, row)
    recipe = {**COMMON, **RECIPES[row], "seed": seed}
    start = None
    if row not in FROM_RANDOM:
        backbone = loss_comparison.BACKBONE
        start = common.backbone_weights(folder, name, backbone, training.Recipe(**recipe))
    transform = without_mask if row == "unmasked" else None
    return common.train(folder, name, [people], val, transform, start, **recipe)


def ablations(folder: Path) -> dict[str, Path]:
    """Train the recipe, and rows that change one thing each; score all on the same people.

    A run's record holds, next to its own scores, those of the mean pose, its collapse ratio, its
    multiply-adds and the row that it may be compared with.
    """
    runs = {}
    for seed, row in itertools.product(SEEDS, RECIPES):
        run = runs[f"{row}-{seed}"] = train_row(folder, row, seed)
        cost = sum(models.multiply_adds(predictor.load(run).model).values())
        common.note(run, name=row, against=REFERENCES.get(row), multiply_adds=cost)
    return runs
