"""Ablations: the same short training with one change per row, three seeds (chapter 07)."""

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments import common
from posekit import geometry, inputs, models, records
from posekit.images import decode_image, encode_jpeg
from posekit.inference import predictor
from posekit.records.schema import JPEG_QUALITY
from posekit.records.writer import write_shard

MISSING = 0.3
"""Fraction of the labels that are removed at random, to see what masking is worth."""
SEEDS = (0, 1, 2)
EPOCHS = 8
"""The budget of every row: passes over the training people."""
COMMON = {"base_channels": 16, "input_size": 128, "input_downsample": 1, "epochs": EPOCHS}
BARE_2014 = {"head": "deeppose2014_dropout", "backbone": "deeppose_cnn_lrn"}
RECIPES = {
    "base": {},
    "no_variation": {"augment": inputs.Augmentation.only()},
    "stretched": {},
    "masked": {},
    "unmasked": {},
    "deeppose_head": {"head": "regression"},
    "wide_head": {"head": "deeppose2014"},
    "cnn_backbone": {"head": "regression", "backbone": "deeppose_cnn"},
    "cnn": {"head": "deeppose2014", "backbone": "deeppose_cnn"},
    "cnn_no_norm": BARE_2014,
    "cnn_no_norm_slow": {**BARE_2014, "learning_rate": 3e-4},
}
"""Name of a row -> how its recipe differs from the defaults; `stretched`, `masked` and `unmasked`
differ in data."""
REFERENCES = {
    "no_variation": "base",
    "stretched": "base",
    "masked": "base",
    "unmasked": "masked",
    "deeppose_head": "base",
    "wide_head": "deeppose_head",
    "cnn_backbone": "deeppose_head",
    "cnn": "wide_head",
    "cnn_no_norm": "cnn",
    "cnn_no_norm_slow": "cnn_no_norm",
}
"""Row -> the row that it differs from in one thing, and may be compared with.

From the book's network to that of 2014, one change per row: the head (`deeppose_head`), its width
(`wide_head`), the convolutions (`cnn_backbone`, `cnn`), and batch norm against what AlexNet had
instead, local response norm and dropout (`cnn_no_norm`). `cnn_backbone` and `wide_head` both differ
from `deeppose_head`, and `cnn` from either, so that each change is seen twice."""


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


def ablations(folder: Path) -> dict[str, Path]:
    """Train the recipe, and rows that change one thing each; score all on the same people.

    A run's record holds, next to its own scores, those of the mean pose, its collapse ratio, its
    multiply-adds and the row that it may be compared with.
    """
    people = common.minidome_records(folder, 750, 1)
    val = common.minidome_records(folder, 150, 2)
    stretched = [rewritten(f, folder / f"{f.name}-stretched", stretch) for f in (people, val)]
    gaps = rewritten(people, folder / f"{people.name}-gaps", take_labels)
    data = {"stretched": stretched, "masked": (gaps, val), "unmasked": (gaps, val)}
    runs = {}
    for seed, (variant, recipe) in itertools.product(SEEDS, RECIPES.items()):
        name = f"{variant}-{seed}"
        train, held_out = data.get(variant, (people, val))
        batch_transform = without_mask if variant == "unmasked" else None
        recipe = {**COMMON, **recipe, "seed": seed}
        runs[name] = common.train(folder, name, [train], held_out, batch_transform, **recipe)
        cost = sum(models.multiply_adds(predictor.load(runs[name]).model).values())
        against = REFERENCES.get(variant)
        common.note(runs[name], name=variant, against=against, multiply_adds=cost)
    return runs
