"""Callbacks of a run: learning rate, averaged weights, validation, checkpoints (chapter 06)."""

import contextlib
import csv
import json
import math
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
from keras import ops

from posekit import metrics
from posekit.errors import DataError
from posekit.files import atomic_file
from posekit.training.parallel import replicated

__all__ = ["Checkpoint", "FinishFile", "ValidationLogger", "WarmupCosine", "WeightEMA"]

MIN_LEARNING_RATE = 1e-7
COLLAPSE_RATIO = 0.05
"""Below it the logger warns of a collapse to the mean pose."""


class WarmupCosine(keras.callbacks.Callback):
    """Linear warm-up, a plateau, then half a cosine to 0, over steps or the clock; ends the run.

    `keras.optimizers.schedules.CosineDecay` knows steps only; a run of minutes needs the clock.

    Args:
        peak: largest learning rate.
        warmup: fraction of the run before the peak, 0 ... 1.
        steps: length of the run in steps; or
        deadline: begin and end of the run, `time.monotonic()` seconds.
        decay: fraction of the run, at its end, in which the rate falls to 0, 0 ... 1. A value that
            leaves no room for a plateau, such as 1: everything after the warm-up. 0: never.

    Source:
        Loshchilov & Hutter, "SGDR", ICLR 2017 (one cycle, no restart). With a plateau:
        warmup-stable-decay, Hu et al., "MiniCPM", 2024, section 4; to train longer, only the decay
        has to be repeated.
    """

    def __init__(
        self,
        peak: float,
        *,
        warmup: float,
        steps: int | None = None,
        deadline: tuple[float, float] | None = None,
        decay: float = 1.0,
    ):
        super().__init__()
        self.peak = peak
        self.warmup = warmup
        self.decay_start = max(warmup, 1 - decay)
        self.steps = steps
        self.deadline = deadline
        self.step = 0

    def progress(self) -> float:
        """Fraction of the run that is over, 0 ... 1."""
        if self.deadline:
            start, end = self.deadline
            return min(1.0, (time.monotonic() - start) / (end - start))
        return min(1.0, self.step / self.steps)

    def rate(self, progress: float) -> float:
        """Learning rate at a fraction of the run, 0 ... 1."""
        if progress < self.warmup:
            return self.peak * progress / self.warmup
        if progress <= self.decay_start:
            return self.peak
        angle = math.pi * (progress - self.decay_start) / (1 - self.decay_start)
        return self.peak * 0.5 * (1 + math.cos(angle))

    def on_train_batch_begin(self, batch, logs=None):
        rate = max(self.rate(self.progress()), MIN_LEARNING_RATE)
        self.model.optimizer.learning_rate.assign(rate)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.progress() >= 1:
            self.model.stop_training = True


class FinishFile(keras.callbacks.Callback):
    """End a run after the current epoch when a file is there.

    Args:
        path: the file; its content does not matter.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        if self.path.exists():
            self.model.stop_training = True


class WeightEMA(keras.callbacks.Callback):
    """Exponential moving average (EMA) of a network's weights, which scores better early on.

    Keras' own `use_ema` and `SwapEMAWeights` average trainable variables only; here the batch
    norms' statistics are averaged, too, so that they fit the averaged weights. At first the memory
    is short (after n steps about n / 10 steps): the random start is soon forgotten.

    Args:
        network: its weights are averaged.
        momentum: fraction of the average that is kept per step, 0 ... 1; 0.998 spans about 500
            steps.
        every: steps between two updates, each as large as these steps together.

    Source:
        Polyak & Juditsky, SIAM J. Control Optim. 30, 1992; the short memory at first:
        `tf.train.ExponentialMovingAverage`.
    """

    def __init__(self, network: keras.Model, momentum: float, every: int = 4):
        super().__init__()
        self.network = network
        self.momentum = momentum
        self.every = every
        self.step = 0
        self.values = [ops.convert_to_tensor(weight) for weight in network.get_weights()]

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step % self.every == 0:
            # On JAX, asking for the model brings its variables up to date.
            assert self.model is not None
            kept = min(self.momentum, (1 + self.step) / (10 + self.step)) ** self.every
            self.values = [
                ops.stop_gradient(kept * value + (1 - kept) * ops.convert_to_tensor(weight))
                for value, weight in zip(self.values, self.network.weights, strict=True)
            ]

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network hold the averages within this context."""
        own = self.network.get_weights()
        self.network.set_weights([ops.convert_to_numpy(value) for value in self.values])
        try:
            yield
        finally:
            self.network.set_weights(own)


class ValidationLogger(keras.callbacks.Callback):
    """Score some validation people while training, write log.csv, and warn of a collapse.

    PCK and PCP are computed in crop pixels: the crop keeps proportions, so they equal those in
    image pixels except for joints outside the crop, which are not scored here.

    Args:
        batches: validation people, (images, targets) as of `on_device.iterate_center_crops`.
        log: the file to write.
        batch_size: of training, to count images.
        every_seconds: between two scores; 0: each epoch.
        ema: averaged weights, which are then scored instead of the network's own.
        mean_pose: (17, 2) normalised; if given, the printed line says how much better than the mean
            pose the network is.
        progress: function that returns the fraction of the run that is over, for the printed line.
        verbose: print a line per epoch.

    Attributes:
        rows: a dict per epoch of what is in log.csv.
        steps: number of training steps so far.
    """

    columns = (
        "epoch",
        "seconds",
        "images",
        "learning_rate",
        "loss",
        "keypoints_loss",
        "visibility_loss",
    )
    val_columns = ("val_pck@0.2", "val_pcp", "val_collapse_ratio")

    def __init__(
        self,
        batches: Iterable,
        log: Path,
        batch_size: int,
        *,
        every_seconds: float = 0,
        ema: WeightEMA | None = None,
        mean_pose: np.ndarray | None = None,
        progress: Callable[[], float] | None = None,
        verbose: bool = True,
    ):
        super().__init__()
        parts = [(np.asarray(x), np.asarray(y["keypoints"])) for x, y in batches]
        self.images, keypoints = (np.concatenate(column) for column in zip(*parts, strict=True))
        self.target = keypoints[..., :2]
        self.in_crop = keypoints[..., 2] > 0
        self.log = log
        self.batch_size = batch_size
        self.every_seconds = every_seconds
        self.ema = ema
        self.mean_pose = mean_pose
        self.progress = progress
        self.verbose = verbose
        self.start = time.monotonic()
        self.last = self.start
        self.steps = 0
        self.rows = []
        with log.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(self.columns + self.val_columns)

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def score(self) -> dict[str, float]:
        """Compute the validation columns, and `val_gain`, which is printed but not in log.csv."""
        with replicated(), self.ema.in_place() if self.ema else contextlib.nullcontext():
            parts = [self.images[i : i + 64] for i in range(0, len(self.images), 64)]
            out = [self.model.predict_on_batch(part)["keypoints"] for part in parts]
        pred = np.concatenate([np.asarray(o, np.float32) for o in out])
        pred = pred[:, : self.target.shape[1]]
        scores = {
            "val_pck@0.2": metrics.pck(pred, self.target, self.in_crop)["value"],
            "val_pcp": metrics.pcp(pred, self.target, self.in_crop)["mean"],
            "val_collapse_ratio": metrics.collapse_ratio(pred, self.target, self.in_crop),
        }
        if self.mean_pose is not None:
            own, of_mean_pose = (
                np.linalg.norm(x - self.target, axis=-1)[self.in_crop].mean()
                for x in (pred, self.mean_pose[None])
            )
            scores["val_gain"] = float(1 - own / of_mean_pose)
        return scores

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        due = now - self.last >= self.every_seconds or self.model.stop_training
        row = {
            "epoch": epoch + 1,
            "seconds": now - self.start,
            "images": self.steps * self.batch_size,
            "learning_rate": float(self.model.optimizer.learning_rate.numpy()),
            **{
                k: (logs or {}).get(k, float("nan"))
                for k in ("loss", "keypoints_loss", "visibility_loss")
            },
            **(self.score() if due else {}),
        }
        self.rows.append(row)
        if due:
            self.last = time.monotonic()
        cells = [f"{row[k]:.6g}" if k in row else "" for k in self.columns + self.val_columns]
        with self.log.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(cells)
        if self.verbose:
            self.print_row(row)

    def print_row(self, row: dict) -> None:
        """Print the line of an epoch, and a warning if the predictions hardly vary."""
        share = f"{self.progress():5.0%}" if self.progress else ""
        scores = "".join(
            f"  {k[4:]} {row[k]:.3f}" for k in (*self.val_columns, "val_gain") if k in row
        )
        print(
            f"epoch {row['epoch']:3d}{share}  {row['seconds']:6.0f} s  "
            f"loss {row['loss']:.4f}{scores}",
            flush=True,
        )
        if row["epoch"] >= 3 and row.get("val_collapse_ratio", 1) < COLLAPSE_RATIO:
            gain = ""
            if "val_gain" in row:
                gain = f", and it is {row['val_gain']:.0%} better than that"
            print(
                f"warning: the predictions vary {row['val_collapse_ratio']:.1%} of what people's "
                f"do: the model is close to the mean pose{gain} (chapter 07)",
                flush=True,
            )


class Checkpoint(keras.callbacks.Callback):
    """Write, at the end of epochs, everything that a killed run needs to resume.

    That is weights, optimizer, averages, counts and the log. `keras.callbacks.BackupAndRestore`
    does not restore random generators, averages and the log, so a resumed run would differ. The
    file is replaced in one step: after a power failure there is still a complete one.

    Args:
        path: the file.
        model: the model to fit, compiled, its optimizer built.
        logger, schedule, ema: the run's other callbacks, whose counts belong to the state; they
            must come before this one.
        run: recipe and data of the run; a checkpoint of another run is refused.
        begin: `time.monotonic()` at the start of the run.
        every_seconds: least time between two checkpoints.
    """

    def __init__(
        self,
        path: Path,
        model: keras.Model,
        logger: ValidationLogger,
        schedule: WarmupCosine,
        ema: WeightEMA | None,
        *,
        run: dict,
        begin: float,
        every_seconds: float = 60.0,
    ):
        super().__init__()
        self.path = path
        self.trainer = model  # `self.model` is set in `fit` only, after `restore`
        self.logger = logger
        self.schedule = schedule
        self.ema = ema
        self.run = json.dumps(run)
        self.begin = begin
        self.every_seconds = every_seconds
        self.last = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        if time.monotonic() - self.last >= self.every_seconds and self.model is not None:
            self.save(epoch + 1)
            self.last = time.monotonic()

    def variables(self) -> list:
        """Variables of model and optimizer, with random generators and counts, without images.

        Images (uint8) are in the records already.
        """
        everything = [*self.trainer.variables, *self.trainer.optimizer.variables]
        return [variable for variable in everything if variable.dtype != "uint8"]

    def save(self, epochs: int) -> None:
        """Write the checkpoint after so many epochs."""
        state = {
            "run": self.run,
            "epochs": epochs,
            "steps": self.logger.steps,
            "seconds": time.monotonic() - self.begin,
            "rows": self.logger.rows,
            "log": self.logger.log.read_text(encoding="utf-8"),
        }
        arrays = {f"variable{i}": ops.convert_to_numpy(v) for i, v in enumerate(self.variables())}
        if self.ema:
            arrays |= {f"ema{i}": ops.convert_to_numpy(v) for i, v in enumerate(self.ema.values)}
        with atomic_file(self.path, durable=True) as part:
            np.savez(part, state=np.array(json.dumps(state)), **arrays)

    def restore(self) -> int:
        """Restore the state of the checkpoint.

        Returns:
            The number of epochs that are done.

        Raises:
            DataError: if it cannot be read, or belongs to another run.
        """
        try:
            with np.load(self.path) as file:
                arrays = dict(file)
            state = json.loads(str(arrays.pop("state")))
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            problem = f"the checkpoint cannot be read: {error}"
            raise DataError(self.path, problem, "remove its folder and start again") from None
        if state["run"] != self.run:
            problem = "was begun with another recipe or other data"
            hint = "give the same arguments, or remove its folder and start again"
            raise DataError(self.path, problem, hint)
        for i, variable in enumerate(self.variables()):
            variable.assign(arrays[f"variable{i}"])
        if self.ema:
            count = len(self.ema.values)
            self.ema.values = [ops.convert_to_tensor(arrays[f"ema{i}"]) for i in range(count)]
            self.ema.step = state["steps"]
        self.schedule.step = state["steps"]
        self.logger.steps = state["steps"]
        self.logger.rows = state["rows"]
        self.logger.log.write_text(state["log"], encoding="utf-8")
        self.begin = time.monotonic() - state["seconds"]
        self.logger.start = self.begin
        if self.schedule.deadline:
            start, end = self.schedule.deadline
            self.schedule.deadline = (self.begin, self.begin + end - start)
        return state["epochs"]
