"""`train`: one training run from records to model.keras, record.json and log.csv."""

import contextlib
import itertools
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from posekit import hardware, inputs, losses, models, records
from posekit.errors import DataError
from posekit.files import full_disk, hidden_path, local_path, lock_output
from posekit.inference import evaluation, predictor
from posekit.inference.predictor import WEIGHTS_FILE
from posekit.inputs import on_device
from posekit.models import efficientnet
from posekit.skeleton import COCO17
from posekit.training import parallel, weights_file
from posekit.training.callbacks import (
    Checkpoint,
    FinishFile,
    ValidationLogger,
    WarmupCosine,
    WeightEMA,
)
from posekit.training.network import PoseTrainer, make_optimizer
from posekit.training.recipe import Recipe
from posekit.training.record import bfloat16_pays, command, mean_targets, provenance
from posekit.training.start import first_joints, load_weights
from posekit.training.tensorboard import TensorBoard

__all__ = [
    "FINISH_FILE",
    "build_network",
    "freeze",
    "train",
]

FINISH_FILE = "finish"
"""Name of the file that ends a run after the current epoch, see `train`."""
VALIDATION_BATCHES = 8
"""Batches of 64 people that are scored while a run trains; all are scored at its end."""
SCORES_PER_RUN = 12
"""Scores over a run of minutes; a run of epochs is scored after each."""


def train(
    train_records: Sequence[str | Path],
    val_records: str | Path,
    recipe: Recipe,
    out: str | Path,
    *,
    start_from: str | Path | None = None,
    batch_transform: Callable | None = None,
    verbose: bool = True,
    resume: bool = True,
    checkpoint_seconds: float = 60.0,
    tensorboard: str | Path | None = None,
) -> dict:
    """Train DeepPose stage one on records and write a run.

    During training everything is in a hidden folder next to `out`, `.NAME.partial`, with a
    checkpoint. On a CPU, a run of epochs that was interrupted and resumed has, bit for bit, the
    curve and the weights of an uninterrupted one. A file named `finish` in the hidden folder ends
    the run after the current epoch.

    Args:
        train_records: record folders to train on.
        val_records: record folder to score on.
        recipe: settings of the run.
        out: folder to write: model.keras (float32, also after mixed precision), record.json,
            log.csv; for 19 joints also weights.npz (`weights_file`), which holds neck and head top,
            for a run that starts from it.
        start_from: a run or a model's name whose weights to start from (its weights.npz, if it
            has one); or a `.npz` file of `weights_file`; or "imagenet" for the backbone of
            EfficientNet-Lite0; None: random weights.
        batch_transform: function of (images, targets) applied to each training batch; for
            experiments that show the effect of a mistake.
        verbose: print a line per epoch.
        resume: continue an interrupted run of this `out`, if there is one. False: refuse to, so
            that it is not lost.
        checkpoint_seconds: least time between two checkpoints, which are written at the end of
            epochs.
        tensorboard: folder for TensorBoard's event files.

    Returns:
        The content of record.json: command, recipe, data digests, provenance, time, the validation
        score, the mean pose.

    Raises:
        DataError: for damaged records, an `out` that exists or that another process is training, an
            interrupted run of another recipe, a `tensorboard` folder inside `out`, a full disk; the
            last checkpoint is then still there.
    """
    out = local_path(out)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock_output(out))
        except OSError as error:
            problem = f"cannot write there: {error.strerror or error}"
            raise DataError(out.parent, problem, "choose another --out") from None
        stack.enter_context(full_disk(out))
        return _train(
            [local_path(folder) for folder in train_records],
            local_path(val_records),
            recipe,
            out,
            start_from=start_from,
            batch_transform=batch_transform,
            verbose=verbose,
            resume=resume,
            checkpoint_seconds=checkpoint_seconds,
            tensorboard=local_path(tensorboard) if tensorboard else None,
        )


def _train(
    train_records: Sequence[Path],
    val_records: Path,
    recipe: Recipe,
    out: Path,
    *,
    start_from: str | Path | None,
    batch_transform: Callable | None,
    verbose: bool,
    resume: bool,
    checkpoint_seconds: float,
    tensorboard: Path | None,
) -> dict:
    """Train while the lock on `out` is held; see `train`."""
    begin = time.monotonic()
    partial = hidden_path(out, "partial")
    saved = partial / "checkpoint.npz"
    _check_folders(out, partial, saved, tensorboard, resume)
    manifests = {str(d): records.read_manifest(d) for d in [*train_records, val_records]}
    # This also verifies every record: a damaged one is named before hours are spent.
    mean_pose, mean_visibility = mean_targets(train_records)
    _open_partial(partial, saved)
    try:
        keras.utils.set_random_seed(recipe.seed)
        recipe = _resolve(recipe, train_records)
        with parallel.data_parallel(recipe.devices):
            fresh_start = None if saved.exists() else start_from
            model, people = _make_trainer(recipe, train_records, fresh_start)
            steps = _steps_per_epoch(manifests, train_records, recipe)
            schedule = _make_schedule(recipe, steps, begin)
            ema = WeightEMA(model.network, recipe.ema_momentum) if recipe.ema_momentum else None
            logger = _make_logger(
                recipe,
                val_records,
                partial / "log.csv",
                ema=ema,
                mean_pose=mean_pose,
                progress=schedule.progress,
                verbose=verbose,
            )
            facts = _facts(recipe, manifests, start_from)
            checkpoint = Checkpoint(
                saved,
                model,
                logger,
                schedule,
                ema,
                run=facts,
                begin=begin,
                every_seconds=checkpoint_seconds,
            )
            epochs_done = checkpoint.restore() if saved.exists() else 0
            if epochs_done and verbose:
                seconds = time.monotonic() - checkpoint.begin
                print(f"resuming after epoch {epochs_done}, {seconds:.0f} s", flush=True)
            batches = _training_batches(recipe, train_records, people, logger.steps)
            if batch_transform:
                batches = _transformed(batches, batch_transform)
            # The logger writes the row that TensorBoard and the checkpoint read; it scores the
            # last epoch, so what ends the run comes before it.
            callbacks = [
                schedule,
                FinishFile(partial / FINISH_FILE),
                ema,
                logger,
                TensorBoard(tensorboard, logger) if tensorboard else None,
                checkpoint,
            ]
            with _data_errors():
                model.fit(
                    batches,
                    initial_epoch=epochs_done,
                    epochs=recipe.epochs or 1_000_000,
                    steps_per_epoch=steps,
                    shuffle=False,
                    callbacks=[callback for callback in callbacks if callback],
                    verbose=0,
                )
            seconds = time.monotonic() - checkpoint.begin
        learned = _learned_weights(model.network, ema)
        final = build_network(recipe)
        final.set_weights(first_joints(learned, final.get_weights()))
        record = {
            "command": command(sys.argv),
            **facts,
            **provenance(),
            "parameters": final.count_params(),
            "seconds": round(seconds, 1),
            "images": logger.steps * recipe.batch_size,
            "mean_pose": mean_pose.round(5).tolist(),
            "mean_visibility": mean_visibility.round(5).tolist(),
        }
        scores = evaluation.evaluate(predictor.Predictor(final, record), val_records)
        record["val"] = evaluation.jsonable(scores)
        if recipe.num_joints > len(COCO17):
            path = partial / WEIGHTS_FILE
            weights_file.save(path, model.network, learned, recipe=asdict(recipe))
        _write_run(final, record, partial, out)
    except BaseException:
        # Nothing to resume and no trained model: leave no folder behind.
        if not saved.exists() and not (partial / "record.json").exists():
            shutil.rmtree(partial, ignore_errors=True)
        raise
    return record


# ---- folders -------------------------------------------------------------------------------------


def _check_folders(
    out: Path, partial: Path, saved: Path, tensorboard: str | Path | None, resume: bool
) -> None:
    """Refuse an `out` that exists, event files inside `out`, and an unwanted resume."""
    if out.exists():
        raise DataError(out, "exists already", "choose another --out, or remove it")
    if tensorboard and Path(tensorboard).resolve().is_relative_to(out.resolve()):
        problem = f"lies in {out}, which is written when the training is over"
        raise DataError(tensorboard, problem, "choose another folder")
    if saved.exists() and not resume:
        raise DataError(partial, "holds an interrupted run", "continue with --resume, or remove it")


def _open_partial(partial: Path, saved: Path) -> None:
    """Make the folder of the unfinished run; one without a checkpoint is emptied."""
    if not saved.exists():
        shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot write there: {error.strerror}"
        raise DataError(partial.parent, problem, "choose another --out") from None


def _write_run(model: keras.Model, record: dict, partial: Path, out: Path) -> None:
    """Write model and record, and give the folder its final name."""
    model.save(partial / "model.keras")
    (partial / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    try:
        partial.rename(out)
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
        raise DataError(out, problem, f"the run is complete: rename {partial}") from None
    for path in out.glob("*checkpoint.*"):  # and an unfinished one of a killed run
        path.unlink()
    (out / FINISH_FILE).unlink(missing_ok=True)


# ---- model ---------------------------------------------------------------------------------------


def _resolve(recipe: Recipe, train_records: Sequence[str | Path]) -> Recipe:
    """Replace what is automatic in a recipe: input pipeline, devices and dtype."""
    pipeline = on_device.resolve_input(recipe.input_pipeline, train_records, recipe.augment)
    devices = parallel.devices_for(recipe.devices, recipe.batch_size)
    dtype = recipe.dtype
    if dtype == "auto":
        # On a CPU the gradients of depthwise convolutions are about twice as slow in bfloat16.
        slower = recipe.backbone in models.DEPTHWISE and not hardware.accelerators()
        dtype = "mixed_bfloat16" if bfloat16_pays() and not slower else "float32"
    return replace(recipe, input_pipeline=pipeline, devices=devices, dtype=dtype)


def build_network(recipe: Recipe, num_joints: int = len(COCO17)) -> keras.Model:
    """Build the network of a recipe with random weights; a saved model has 17 joints."""
    return models.build(
        recipe.backbone,
        head=recipe.head,
        base_channels=recipe.base_channels,
        input_size=recipe.input_size,
        num_joints=num_joints,
        input_downsample=recipe.input_downsample,
        predict_sigma=recipe.loss in losses.LOSSES_WITH_SIGMA,
    )


def _build_with_dtype(recipe: Recipe) -> keras.Model:
    """Build the network to train, with all joints and the dtype of the recipe."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.dtype)
    try:
        return build_network(recipe, recipe.num_joints)
    finally:
        keras.config.set_dtype_policy(before)


def _make_trainer(
    recipe: Recipe,
    train_records: Sequence[str | Path],
    start_from: str | Path | None,
) -> tuple[PoseTrainer, on_device.PersonArrays | None]:
    """Build and compile the model to fit.

    Returns:
        The model, and the people of the records if the recipe's input pipeline is "device".
    """
    network = _build_with_dtype(recipe)
    if start_from is not None:
        load_weights(network, start_from)
    freeze(network, recipe.frozen_stages)
    people = None
    crops = None
    if recipe.input_pipeline == "device":
        people = on_device.read_people(train_records, recipe.num_joints)
        crops = on_device.CropLayer(people.images, recipe.input_size, recipe.seed)
        # The layer holds the images now.
        people = replace(people, images=np.empty((0, *people.images.shape[1:]), np.uint8))
    model = PoseTrainer(network, recipe.loss, recipe.visibility_weight, crops)
    optimizer = make_optimizer(
        model, recipe.optimizer, recipe.learning_rate, recipe.weight_decay, recipe.clip_norm
    )
    optimizer.build(model.trainable_variables)
    model.compile(optimizer)
    return model, people


def freeze(network: keras.Model, stages: int) -> None:
    """Freeze the stem and the first stages of an EfficientNet, batch norm statistics included.

    Args:
        network: built on `efficientnet.pyramid`; its layers are changed.
        stages: number of frozen stages; 0 freezes nothing.

    Raises:
        DataError: if the network has no such stage.
    """
    names = set(efficientnet.frozen_layers([layer.name for layer in network.layers], stages))
    if stages and f"stage{stages}_block1_project_conv" not in names:
        raise DataError(
            "frozen_stages",
            f"is {stages}",
            f"{network.name} has no such stage of an EfficientNet; use 0",
        )
    for layer in network.layers:
        if layer.name in names:
            layer.trainable = False


def _learned_weights(network: keras.Model, ema: WeightEMA | None) -> list[np.ndarray]:
    """Return the weights of a network, averaged if the run averages them."""
    with ema.in_place() if ema else contextlib.nullcontext():
        return network.get_weights()


# ---- callbacks and batches -----------------------------------------------------------------------


def _steps_per_epoch(
    manifests: dict[str, dict], train_records: Sequence[str | Path], recipe: Recipe
) -> int:
    people = recipe.epoch_people or sum(manifests[str(d)]["people"] for d in train_records)
    return max(1, people // recipe.batch_size)


def _make_schedule(recipe: Recipe, steps: int, begin: float) -> WarmupCosine:
    """Schedule the learning rate over the steps of all epochs, or over the minutes."""
    return WarmupCosine(
        recipe.learning_rate,
        warmup=recipe.warmup,
        steps=steps * recipe.epochs if recipe.epochs else None,
        deadline=(begin, begin + recipe.minutes * 60) if recipe.minutes else None,
        decay=recipe.decay,
    )


def _make_logger(
    recipe: Recipe, val_records: str | Path, log: Path, **options: object
) -> ValidationLogger:
    """Log validation scores of the first people of a record folder; see `ValidationLogger`."""
    batches = on_device.iterate_center_crops(val_records, 64, input_size=recipe.input_size)
    return ValidationLogger(
        itertools.islice(batches, VALIDATION_BATCHES),
        log,
        recipe.batch_size,
        every_seconds=recipe.minutes * 60 / SCORES_PER_RUN if recipe.minutes else 0,
        **options,
    )


def _facts(
    recipe: Recipe,
    manifests: dict[str, dict],
    start_from: str | Path | None,
) -> dict:
    """Recipe and data of a run: part of its record, and what identifies its checkpoint."""
    keys = ("dataset", "split", "people", "box", "digest")
    return {
        "recipe": {
            **asdict(recipe),
            "start_from": Path(start_from).name if start_from else None,
        },
        "data": {
            Path(d).name: {key: manifest[key] for key in keys} for d, manifest in manifests.items()
        },
    }


def _training_batches(
    recipe: Recipe,
    train_records: Sequence[str | Path],
    people: on_device.PersonArrays | None,
    start: int,
) -> Iterable:
    """Yield shuffled, augmented batches without end.

    Args:
        recipe: of the run.
        train_records: record folders.
        people: of `_make_trainer`; None for the tf.data pipeline.
        start: number of batches to skip, after a resume.
    """
    options = {
        "input_size": recipe.input_size,
        "augment": recipe.augment,
        "shuffle": True,
        "repeat": True,
        "batch_size": recipe.batch_size,
        "seed": recipe.seed,
        "start": start,
    }
    if people is not None:
        return on_device.prefetch(on_device.make_batches(people, **options))
    return inputs.make_batches(train_records, num_joints=recipe.num_joints, **options)


@contextlib.contextmanager
def _data_errors() -> Iterator[None]:
    """Raise the `DataError` of an image again that TensorFlow reports as an error of its own."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if match := re.search(r"DataError: (.+?): (.+)", str(error)):
            raise DataError(match[1], match[2]) from None
        raise


def _transformed(batches: Iterable, batch_transform: Callable) -> Iterator:
    """Yield each batch after `batch_transform`, as numpy arrays."""
    for batch in batches:
        arrays = keras.tree.map_structure(np.asarray, batch)
        yield keras.tree.map_structure(ops.convert_to_numpy, batch_transform(*arrays))
