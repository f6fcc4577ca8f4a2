"""The recipe behind `python -m posekit train`: schedule, callbacks, and a run that can be repeated (chapter 06).

Chapter 06 shows `compile` and `fit` themselves; this room adds what a long run needs around them.
"""

import csv
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from posekit import __version__, evaluation, geometry, losses, metrics, models, pipeline, predict, records
from posekit.errors import DataError


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a run goes, besides the data.

    Args:
        backbone: a name in `posekit.models.BACKBONES`.
        head: a name in `posekit.models.HEADS`; the default won the comparison at equal time.
        width: channels of the backbone's first stage.
        input_size: side of the input in pixels.
        pool: the picture is first averaged over pool x pool pixels (`posekit.models.build`).
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
    """

    backbone: str = "resnet18v2"
    head: str = "votes"
    width: int = models.DEFAULT_WIDTH
    input_size: int = 224
    pool: int = 2
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    visibility_weight: float = 0.02
    augment: pipeline.Augmentation = field(default_factory=pipeline.Augmentation)
    dtype: str = "auto"
    seed: int = 0

    def __post_init__(self):
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("give either epochs or minutes")


def bfloat16_pays() -> bool:
    """Does this machine multiply bfloat16 in hardware (a GPU, or a CPU with AVX512-BF16 or AMX)?"""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class Schedule(keras.callbacks.Callback):
    """Linear warm-up, then half a cosine to 0, over steps or over the clock; ends the run when it is done.

    Source: Loshchilov & Hutter, "SGDR", ICLR 2017 (one cycle, no restart).
    """

    def __init__(
        self, peak: float, *, warmup: float, steps: int | None = None, deadline: tuple[float, float] | None = None
    ):
        super().__init__()
        self.peak, self.warmup, self.steps, self.deadline, self.step = peak, warmup, steps, deadline, 0

    def progress(self) -> float:
        """Share of the run that is over, 0 ... 1."""
        if self.deadline:
            start, end = self.deadline
            return min(1.0, (time.monotonic() - start) / (end - start))
        return min(1.0, self.step / self.steps)

    def rate(self, progress: float) -> float:
        """The learning rate at a share of the run."""
        if progress < self.warmup:
            return self.peak * progress / self.warmup
        return self.peak * 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate.assign(max(self.rate(self.progress()), 1e-7))

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.progress() >= 1:
            self.model.stop_training = True


class Watch(keras.callbacks.Callback):
    """Scores a fixed part of the validation people as the run goes, writes log.csv, and warns of a collapse.

    PCK and PCP are taken in crop pixels: the crop keeps proportions, so they equal those in photo pixels but for joints
    outside the crop, which are not scored here.
    """

    columns = ("epoch", "seconds", "images", "learning_rate", "loss", "keypoints_loss", "visibility_loss")
    val_columns = ("val_pck@0.2", "val_pcp", "val_collapse_ratio")

    def __init__(self, batches, log: Path, batch_size: int, *, every_seconds: float = 0, verbose: bool = True):
        super().__init__()
        parts = list(batches.as_numpy_iterator())
        self.images = np.concatenate([x for x, _ in parts])
        target = np.concatenate([y["keypoints"] for _, y in parts])
        self.true, self.inside = target[..., :2], target[..., 2] > 0
        self.log, self.batch_size, self.every, self.verbose = log, batch_size, every_seconds, verbose
        self.start = self.last = time.monotonic()
        self.steps, self.rows = 0, []
        with log.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(self.columns + self.val_columns)

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def score(self) -> dict[str, float]:
        """The validation columns, now."""
        out = [
            self.model.predict_on_batch(self.images[i : i + 64])["keypoints"] for i in range(0, len(self.images), 64)
        ]
        pred = np.concatenate([np.asarray(o, np.float32) for o in out])
        return {
            "val_pck@0.2": metrics.pck(pred, self.true, self.inside)["value"],
            "val_pcp": metrics.pcp(pred, self.true, self.inside)["mean"],
            "val_collapse_ratio": metrics.collapse_ratio(pred, self.true, self.inside),
        }

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        due = now - self.last >= self.every or self.model.stop_training
        row = {
            "epoch": epoch + 1,
            "seconds": now - self.start,
            "images": self.steps * self.batch_size,
            "learning_rate": float(self.model.optimizer.learning_rate.numpy()),
            **{k: (logs or {}).get(k, float("nan")) for k in ("loss", "keypoints_loss", "visibility_loss")},
            **(self.score() if due else {}),
        }
        self.rows.append(row)
        if due:
            self.last = time.monotonic()
        cells = [f"{row[k]:.6g}" if k in row else "" for k in self.columns + self.val_columns]
        with self.log.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(cells)
        if self.verbose:
            scores = "".join(f"  {k[4:]} {row[k]:.3f}" for k in self.val_columns if k in row)
            print(f"epoch {epoch + 1:3d}  {row['seconds']:6.0f} s  loss {row['loss']:.4f}{scores}", flush=True)
            if due and epoch >= 2 and row["val_collapse_ratio"] < 0.05:
                print(
                    "warning: the predictions hardly vary: the model is close to the mean pose (chapter 06)", flush=True
                )


def _build(recipe: Recipe) -> keras.Model:
    return models.build(
        recipe.backbone, head=recipe.head, width=recipe.width, input_size=recipe.input_size, pool=recipe.pool
    )


def _copy_weights(start_from: str | Path, model: keras.Model) -> None:
    source = predict.load(start_from).model
    try:
        model.set_weights(source.get_weights())
    except ValueError:
        raise DataError(
            start_from, "its weights do not fit this network", "use the same --backbone, --head and --width"
        ) from None


def mean_targets(directories: Sequence[str | Path]) -> tuple[np.ndarray, np.ndarray]:
    """The mean pose and the mean visibility of training people: what a model that sees nothing would say.

    Returns:
        (17, 2) mean normalised crop coordinates over people in whom the joint is labelled and inside the crop (0, the
        centre, for a joint that never is); (17,) share of people with the joint inside, where that is known (0.5 if never).
    """
    points, inside, known = [], [], []
    for directory in directories:
        box_px = records.read_manifest(directory)["box_px"]
        for person in records.read_records(directory):
            affine = geometry.crop_affine(np.full(2, (person.width - 1) / 2), box_px, box_px)
            crop = geometry.apply_affine(affine, person.keypoints)
            points.append(geometry.encode_keypoints(crop, (box_px, box_px)))
            inside.append((person.keypoints_visible >= 1) & geometry.inside(crop, (box_px, box_px)))
            known.append(person.joint_known)
    points, inside, known = np.stack(points), np.stack(inside), np.stack(known)
    count = np.maximum(inside.sum(axis=0), 1)
    pose = np.where(inside[..., None], points, 0).sum(axis=0) / count[:, None]
    share = np.where(known.any(axis=0), (inside & known).sum(axis=0) / np.maximum(known.sum(axis=0), 1), 0.5)
    return pose, share


def adamw(model: keras.Model, learning_rate: float, weight_decay: float) -> keras.optimizers.AdamW:
    """AdamW that decays kernels only: biases and the norms' scales and offsets are not to be drawn to 0.

    Source: Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019; the exception: He et al., "Bag of tricks for
    image classification with convolutional neural networks", CVPR 2019, section 3.1.
    """
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_list=[v for v in model.trainable_variables if len(v.shape) < 2])
    return optimizer


def command(argv: Sequence[str]) -> str:
    """The command line for a record: of paths that begin at this machine's root, only the last part."""
    if "posekit" not in argv[0]:
        return "posekit.training.train"
    parts = [argument.rpartition("=") for argument in argv[1:]]
    parts = [(key, sign, Path(value).name if Path(value).is_absolute() else value) for key, sign, value in parts]
    return shlex.join(["python", "-m", "posekit", *map("".join, parts)])


def provenance() -> dict:
    """Where and with what a record was made: commit, versions, hardware. No host name, no path."""
    try:
        root = Path(__file__).resolve().parents[1]
        commit = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in (Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else [])
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "commit": commit,
        "posekit": __version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "hardware": f"{os.cpu_count()} x {cpu}",
        "system": platform.system(),
    }


def train(
    train_records: Sequence[str | Path],
    val_records: str | Path,
    recipe: Recipe,
    out: str | Path,
    *,
    start_from: str | Path | None = None,
    tamper: Callable | None = None,
    verbose: bool = True,
) -> dict:
    """Train DeepPose stage one on records and write a run.

    Args:
        train_records: record folders to train on.
        val_records: record folder to score on.
        recipe: how.
        out: folder to write: model.keras (float32, whatever it was trained in), record.json, log.csv.
        start_from: a run or a model's name whose weights to start from; random weights if None.
        tamper: changes each training batch (images, targets); for experiments that show what a mistake does.
        verbose: print a line an epoch.

    Returns:
        What record.json holds: command, recipe, data digests, provenance, time, the validation score, the mean pose.

    Raises:
        DataError: for damaged records, or an `out` that exists.
    """
    begin, out = time.monotonic(), Path(out)
    if out.exists():
        raise DataError(out, "exists already", "choose another --out, or remove it")
    manifests = {str(d): records.read_manifest(d) for d in [*train_records, val_records]}
    pose, visibility = mean_targets(
        train_records
    )  # also verifies every record: a damaged one is named before hours are spent
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise DataError(partial.parent, f"cannot write there: {error.strerror}", "choose another --out") from None
    try:
        keras.utils.set_random_seed(recipe.seed)
        dtype = recipe.dtype if recipe.dtype != "auto" else "mixed_bfloat16" if bfloat16_pays() else "float32"
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(dtype)
        try:
            model = _build(recipe)
        finally:
            keras.config.set_dtype_policy(before)
        if start_from is not None:
            _copy_weights(start_from, model)

        people = sum(manifests[str(d)]["people"] for d in train_records)
        steps = max(1, people // recipe.batch_size)
        batches = pipeline.make_batches(
            train_records,
            recipe.batch_size,
            input_size=recipe.input_size,
            augment=recipe.augment,
            shuffle=True,
            repeat=True,
            seed=recipe.seed,
        )
        batches = batches.map(tamper) if tamper else batches
        val = pipeline.make_batches(val_records, 64, input_size=recipe.input_size).take(8)
        seconds = recipe.minutes * 60 if recipe.minutes else 0
        watch = Watch(val, partial / "log.csv", recipe.batch_size, every_seconds=seconds / 12, verbose=verbose)
        schedule = Schedule(
            recipe.learning_rate,
            warmup=recipe.warmup,
            steps=steps * recipe.epochs if recipe.epochs else None,
            deadline=(begin, begin + seconds) if recipe.minutes else None,
        )
        model.compile(
            optimizer=adamw(model, recipe.learning_rate, recipe.weight_decay),
            loss={"keypoints": losses.masked_l1, "visibility": losses.masked_bce},
            loss_weights={"keypoints": 1.0, "visibility": recipe.visibility_weight},
        )
        epochs = recipe.epochs or 1_000_000
        model.fit(batches, epochs=epochs, steps_per_epoch=steps, shuffle=False, callbacks=[schedule, watch], verbose=0)
        trained = time.monotonic() - begin

        final = _build(recipe)
        final.set_weights(model.get_weights())
        record = {
            "command": command(sys.argv),
            "recipe": {**asdict(recipe), "dtype": dtype, "start_from": Path(start_from).name if start_from else None},
            "data": {
                Path(d).name: {k: m[k] for k in ("dataset", "split", "people", "box", "digest")}
                for d, m in manifests.items()
            },
            **provenance(),
            "parameters": final.count_params(),
            "seconds": round(trained, 1),
            "images": watch.steps * recipe.batch_size,
            "mean_pose": pose.round(5).tolist(),
            "mean_visibility": visibility.round(5).tolist(),
        }
        record["val"] = evaluation.jsonable(evaluation.evaluate(predict.Predictor(final, record), val_records))
        final.save(partial / "model.keras")
        (partial / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return record


def pack(run: str | Path) -> None:
    """Make a run's model.keras about half as large, in place: weights rounded to what float16 can hold, then deflated.

    The model stays an ordinary float32 Keras file. Rounding changes a weight by at most one part in 2,048.
    """
    path = Path(run) / "model.keras"
    model = keras.saving.load_model(path, compile=False)
    model.set_weights([w.astype(np.float16).astype(w.dtype) for w in model.get_weights()])
    loose = path.with_name("loose.keras")
    model.save(loose)
    with zipfile.ZipFile(loose) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    loose.unlink()
