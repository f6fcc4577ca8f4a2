"""The recipe behind `python -m posekit train`: a run that can be repeated, and go on after it was killed (chapter 06).

Chapter 06 shows `compile` and `fit` themselves; this room adds what a long run needs around them: `train` is the way through,
`callbacks` what happens around its steps, `network` what is trained, `record` what is written down.
"""

import contextlib
import itertools
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from posekit import inputs, losses, models, records
from posekit.errors import DataError
from posekit.inference import evaluation, predictor
from posekit.inputs import on_device
from posekit.skeleton import COCO17, COCO19
from posekit.training import parallel
from posekit.training.callbacks import Checkpoint, ValidationLogger, WarmupCosine, WeightEMA
from posekit.training.network import OPTIMIZERS, PoseTrainer, adamw, make_optimizer
from posekit.training.progress import Progress
from posekit.training.record import bfloat16_pays, command, mean_targets, pack, provenance
from posekit.training.tensorboard import TensorBoard

INPUT_PIPELINES = ("auto", "tfdata", "device")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a run goes, besides the data.

    Args:
        backbone: a name in `posekit.models.BACKBONES`.
        head: a name in `posekit.models.HEADS`; the default won the comparison at equal time.
        base_channels: channels of the backbone's first stage; the default learns most in a few minutes on two cores.
        input_size: side of the input in pixels.
        input_downsample: the image is first averaged over n x n pixels (`posekit.models.build`).
        epochs: passes over the data; the run is then repeatable for its seed. Or
        minutes: wall-clock time from the call on; drives the schedule by the clock and promises no repeatability.
        batch_size: people a step.
        learning_rate: the peak, after warm-up.
        weight_decay: AdamW's.
        warmup: share of the run over which the rate climbs to its peak; a cosine takes it down to 0 after.
        visibility_weight: weight of the visibility loss beside the keypoint loss.
        augment: variation of the pictures.
        dtype: "float32", "mixed_bfloat16", or "auto": bfloat16 where the processor has it.
        seed: of weights, order and variation.
        loss: of the keypoints, a name in `posekit.losses.LOSSES`.
        optimizer: "adamw", or "sgd" (Nesterov's momentum 0.9; wants a peak about 30 times as high).
        ema_momentum: momentum of the averaged weights, which are then scored and saved; 0: the weights as they are.
        clip_norm: longest gradient, see `make_optimizer`; 0: as long as it is.
        input_pipeline: how pictures get there: "tfdata" (`pipeline`), "device" (`device`: no TensorFlow, an accelerator never waits), or "auto",
            see `on_device.resolve_input`. Each is repeatable; they shuffle differently.
        num_joints: 17, or 19: the network also learns neck and head top, where records hold them, and loses them at the end.
        devices: how many share each batch; 0: all accelerators on JAX, else one (`parallel.devices_for`).

    Raises:
        DataError: for an unknown loss or optimizer, and for numbers out of range.
    """

    backbone: str = "resnet18v2"
    head: str = "votes"
    base_channels: int = 16
    input_size: int = 224
    input_downsample: int = 2
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    visibility_weight: float = 0.02
    augment: inputs.Augmentation = field(default_factory=inputs.Augmentation)
    dtype: str = "auto"
    seed: int = 0
    loss: str = "l1"
    optimizer: str = "adamw"
    ema_momentum: float = 0.0
    clip_norm: float = 0.0
    input_pipeline: str = "auto"
    devices: int = 0
    num_joints: int = 17

    def __post_init__(self):
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("give either epochs or minutes")
        for name in ("epochs", "minutes", "batch_size"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise DataError(name, f"is {value}", "expected more than 0")
        for name, known in (
            ("loss", losses.LOSSES),
            ("optimizer", OPTIMIZERS),
            ("input_pipeline", INPUT_PIPELINES),
        ):
            if getattr(self, name) not in known:
                raise DataError(
                    f"{name} {getattr(self, name)!r}",
                    "unknown",
                    f"choose one of {', '.join(known)}",
                )
        if self.num_joints not in (len(COCO17), len(COCO19)):
            raise DataError(
                "num_joints", f"is {self.num_joints}", f"expected {len(COCO17)} or {len(COCO19)}"
            )
        if not 0 <= self.ema_momentum < 1:
            raise DataError(
                "ema_momentum", f"is {self.ema_momentum}", "expected a momentum from 0 to below 1"
            )


def _build(recipe: Recipe, joints: int = len(COCO17)) -> keras.Model:
    return models.build(
        recipe.backbone,
        head=recipe.head,
        base_channels=recipe.base_channels,
        input_size=recipe.input_size,
        num_joints=joints,
        input_downsample=recipe.input_downsample,
        predict_sigma=recipe.loss in losses.LOSSES_WITH_SIGMA,
    )


def _build_in(recipe: Recipe, dtype: str) -> keras.Model:
    """The network to be trained, computing in `dtype`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        return _build(recipe, recipe.num_joints)
    finally:
        keras.config.set_dtype_policy(before)


def first_joints(larger: list[np.ndarray], smaller: list[np.ndarray]) -> list[np.ndarray]:
    """The weights of a network with more joints, cut down to those of the same one with fewer: in every layer that knows joints they
    are the last axis, the first joint first.

    Args:
        larger: weights of the one, as of `get_weights`.
        smaller: of the other, for their shapes.
    """
    return [whole[..., : part.shape[-1]] for whole, part in zip(larger, smaller, strict=True)]


def _copy_weights(start_from: str | Path, model: keras.Model, recipe: Recipe) -> None:
    source, weights = (
        predictor.load(start_from).model.get_weights(),
        [np.array(w) for w in model.get_weights()],
    )
    try:
        _build(recipe).set_weights(source)  # does it fit?
        for part, weight in zip(first_joints(weights, source), source, strict=True):
            part[...] = weight  # a view into `weights`
        model.set_weights(weights)
    except ValueError:
        raise DataError(
            start_from,
            "its weights do not fit this network",
            "use the same --backbone, --head and --width",
        ) from None


def _teacher(name: str | Path, recipe: Recipe, dtype: str) -> keras.Model:
    """A trained network, for pictures of this recipe's size, computing in `dtype`."""
    source = predictor.load(name)
    theirs = {
        key: source.record["recipe"][key]
        for key in ("backbone", "head", "base_channels", "input_downsample", "loss")
    }
    network = _build_in(replace(recipe, **theirs, num_joints=len(COCO17)), dtype)
    network.set_weights(source.model.get_weights())
    return network


def _transformed(batches: Iterable, batch_transform: Callable) -> Iterator:
    """Each batch as `batch_transform` leaves it, in numpy arrays."""
    for batch in batches:
        yield keras.tree.map_structure(
            ops.convert_to_numpy, batch_transform(*keras.tree.map_structure(np.asarray, batch))
        )


def train(
    train_records: Sequence[str | Path],
    val_records: str | Path,
    recipe: Recipe,
    out: str | Path,
    *,
    start_from: str | Path | None = None,
    teacher: str | Path | None = None,
    batch_transform: Callable | None = None,
    verbose: bool = True,
    resume: bool = True,
    checkpoint_seconds: float = 60.0,
    tensorboard: str | Path | None = None,
) -> dict:
    """Train DeepPose stage one on records and write a run.

    While it trains, all lies in a hidden folder beside `out`, `.NAME.partial`, with a checkpoint. A run of epochs that goes on from one
    has, on a CPU, the curve and the weights, bit for bit, of one that was never interrupted.

    Args:
        train_records: record folders to train on.
        val_records: record folder to score on.
        recipe: how.
        out: folder to write: model.keras (float32, whatever it was trained in), record.json, log.csv.
        start_from: a run or a model's name whose weights to start from; random weights if None.
        teacher: a run or a model's name whose answers are learned beside the labels (`PoseTrainer.taught`); nobody's if None.
        batch_transform: changes each training batch (images, targets); for experiments that show what a mistake does.
        verbose: print a line an epoch.
        resume: go on where an interrupted run of this `out` left off, if there is one; or refuse to, so that it is not lost.
        checkpoint_seconds: least time between two checkpoints, which are written at the end of epochs.
        tensorboard: folder for TensorBoard's event files.

    Returns:
        What record.json holds: command, recipe, data digests, provenance, time, the validation score, the mean pose.

    Raises:
        DataError: for damaged records, an `out` that exists, an interrupted run of another recipe, curves inside `out`.
    """
    begin, out = time.monotonic(), Path(out)
    if out.exists():
        raise DataError(out, "exists already", "choose another --out, or remove it")
    if tensorboard and Path(tensorboard).resolve().is_relative_to(out.resolve()):
        raise DataError(
            tensorboard,
            f"lies in {out}, which is made when the training is over",
            "choose another folder",
        )
    partial = out.with_name(f".{out.name}.partial")
    saved = partial / "checkpoint.npz"
    if saved.exists() and not resume:
        raise DataError(partial, "holds an interrupted run", "go on with --resume, or remove it")
    manifests = {str(d): records.read_manifest(d) for d in [*train_records, val_records]}
    pose, visibility = mean_targets(
        train_records
    )  # also verifies every record: a damaged one is named before hours are spent
    if not saved.exists():
        shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            partial.parent, f"cannot write there: {error.strerror}", "choose another --out"
        ) from None
    try:
        keras.utils.set_random_seed(recipe.seed)
        way = on_device.resolve_input(recipe.input_pipeline, train_records, recipe.augment)
        devices = parallel.devices_for(recipe.devices, recipe.batch_size)
        dtype = (
            recipe.dtype
            if recipe.dtype != "auto"
            else "mixed_bfloat16"
            if bfloat16_pays()
            else "float32"
        )
        with parallel.data_parallel(devices):
            # -- what is trained
            network = _build_in(recipe, dtype)
            if start_from is not None and not saved.exists():
                _copy_weights(start_from, network, recipe)
            people = (
                on_device.read_people(train_records, recipe.num_joints) if way == "device" else None
            )
            crops = (
                on_device.CropLayer(people.images, recipe.input_size, recipe.seed)
                if people
                else None
            )
            known = _teacher(teacher, recipe, dtype) if teacher is not None else None
            model = PoseTrainer(network, recipe.loss, recipe.visibility_weight, crops, known)
            optimizer = make_optimizer(
                model, recipe.optimizer, recipe.learning_rate, recipe.weight_decay, recipe.clip_norm
            )
            optimizer.build(model.trainable_variables)
            model.compile(optimizer)

            # -- what happens around its steps
            steps = max(
                1, sum(manifests[str(d)]["people"] for d in train_records) // recipe.batch_size
            )
            seconds = recipe.minutes * 60 if recipe.minutes else 0
            schedule = WarmupCosine(
                recipe.learning_rate,
                warmup=recipe.warmup,
                steps=steps * recipe.epochs if recipe.epochs else None,
                deadline=(begin, begin + seconds) if recipe.minutes else None,
            )
            average = WeightEMA(network, recipe.ema_momentum) if recipe.ema_momentum else None
            watch = ValidationLogger(
                itertools.islice(
                    on_device.iterate_center_crops(val_records, 64, input_size=recipe.input_size), 8
                ),
                partial / "log.csv",
                recipe.batch_size,
                every_seconds=seconds / 12,
                average=average,
                mean_pose=pose,
                progress=schedule.progress,
                verbose=verbose,
            )
            facts = {
                "recipe": {
                    **asdict(recipe),
                    "dtype": dtype,
                    "input_pipeline": way,
                    "devices": devices,
                    "start_from": Path(start_from).name if start_from else None,
                    "teacher": Path(teacher).name if teacher else None,
                },
                "data": {
                    Path(d).name: {k: m[k] for k in ("dataset", "split", "people", "box", "digest")}
                    for d, m in manifests.items()
                },
            }
            checkpoint = Checkpoint(
                saved,
                model,
                watch,
                schedule,
                average,
                run=facts,
                begin=begin,
                every_seconds=checkpoint_seconds,
            )
            done = checkpoint.restore() if saved.exists() else 0
            if done and verbose:
                print(
                    f"going on after epoch {done}, {time.monotonic() - checkpoint.begin:.0f} s",
                    flush=True,
                )

            # -- train
            options = {
                "input_size": recipe.input_size,
                "augment": recipe.augment,
                "shuffle": True,
                "repeat": True,
            }
            options |= {"batch_size": recipe.batch_size, "seed": recipe.seed, "start": watch.steps}
            if people:
                people = replace(
                    people, images=np.empty((0, *people.images.shape[1:]), np.uint8)
                )  # they are in the layer now
                batches = on_device.prefetch(on_device.make_batches(people, **options))
            else:
                batches = inputs.make_batches(train_records, num_joints=recipe.num_joints, **options)
            batches = _transformed(batches, batch_transform) if batch_transform else batches
            callbacks = [
                schedule,
                average,
                watch,
                TensorBoard(tensorboard, watch) if tensorboard else None,
                checkpoint,
            ]
            model.fit(
                batches,
                initial_epoch=done,
                epochs=recipe.epochs or 1_000_000,
                steps_per_epoch=steps,
                shuffle=False,
                callbacks=[callback for callback in callbacks if callback],
                verbose=0,
            )
            trained = time.monotonic() - checkpoint.begin

        # -- what is kept
        final = _build(recipe)
        with average.in_place() if average else contextlib.nullcontext():
            final.set_weights(first_joints(network.get_weights(), final.get_weights()))
        record = {
            "command": command(sys.argv),
            **facts,
            **provenance(),
            "parameters": final.count_params(),
            "seconds": round(trained, 1),
            "images": watch.steps * recipe.batch_size,
            "mean_pose": pose.round(5).tolist(),
            "mean_visibility": visibility.round(5).tolist(),
        }
        record["val"] = evaluation.jsonable(
            evaluation.evaluate(predictor.Predictor(final, record), val_records)
        )
        final.save(partial / "model.keras")
        (partial / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        try:
            partial.rename(out)
        except OSError as error:
            raise DataError(
                out, f"cannot be written: {error.strerror}", f"the run is whole: rename {partial}"
            ) from None
        for path in out.glob("*checkpoint.*"):  # and an unfinished one of a killed run
            path.unlink()
    except BaseException:
        if not saved.exists() and not (partial / "record.json").exists():
            shutil.rmtree(partial, ignore_errors=True)
        raise
    return record


__all__ = [
    "Checkpoint",
    "PoseTrainer",
    "Progress",
    "Recipe",
    "TensorBoard",
    "ValidationLogger",
    "WarmupCosine",
    "WeightEMA",
    "adamw",
    "bfloat16_pays",
    "command",
    "make_optimizer",
    "mean_targets",
    "pack",
    "provenance",
    "train",
]
