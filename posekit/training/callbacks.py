"""What happens around the steps of a run: the rate, the averaged weights, the scores, the checkpoints (chapter 06)."""

import contextlib
import csv
import json
import math
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
from keras import ops

from posekit import metrics
from posekit.errors import DataError
from posekit.files import atomic_file
from posekit.training.parallel import replicated


class WarmupCosine(keras.callbacks.Callback):
    """Linear warm-up, then half a cosine to 0, over steps or over the clock; ends the run when it is done.

    Source: Loshchilov & Hutter, "SGDR", ICLR 2017 (one cycle, no restart).
    """

    def __init__(
        self,
        peak: float,
        *,
        warmup: float,
        steps: int | None = None,
        deadline: tuple[float, float] | None = None,
    ):
        super().__init__()
        self.peak, self.warmup, self.steps, self.deadline, self.step = (
            peak,
            warmup,
            steps,
            deadline,
            0,
        )

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
        return (
            self.peak * 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))
        )

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate.assign(max(self.rate(self.progress()), 1e-7))

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.progress() >= 1:
            self.model.stop_training = True


class WeightEMA(keras.callbacks.Callback):
    """A running average of a network's weights, which scores better than the weights themselves while they still jump about.

    The norms' statistics are averaged with the rest, so that they fit the averaged weights. In the beginning the memory is short
    (n steps remember about n / 10): the random start is soon forgotten.

    Args:
        network: whose weights.
        momentum: share of the average that stays in a step, 0 ... 1; at 0.998 it spans about 500 steps.
        every: steps between two updates, each as large as these steps together.

    Source:
        Polyak & Juditsky, SIAM J. Control Optim. 30, 1992; the short memory at first: `tf.train.ExponentialMovingAverage`.
    """

    def __init__(self, network: keras.Model, momentum: float, every: int = 4):
        super().__init__()
        self.network, self.momentum, self.every, self.step = network, momentum, every, 0
        self.values = [ops.convert_to_tensor(weight) for weight in network.get_weights()]

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step % self.every == 0:
            assert (
                self.model is not None
            )  # on JAX, asking for the model brings its variables up to date
            stays = min(self.momentum, (1 + self.step) / (10 + self.step)) ** self.every
            self.values = [
                ops.stop_gradient(stays * value + (1 - stays) * ops.convert_to_tensor(weight))
                for value, weight in zip(self.values, self.network.weights, strict=True)
            ]

    @contextlib.contextmanager
    def in_place(self):
        """Within this context the network holds the averages, after it again its own weights."""
        own = self.network.get_weights()
        self.network.set_weights([ops.convert_to_numpy(value) for value in self.values])
        try:
            yield
        finally:
            self.network.set_weights(own)


class ValidationLogger(keras.callbacks.Callback):
    """Scores a fixed part of the validation people as the run goes, writes log.csv, and warns of a collapse.

    PCK and PCP are taken in crop pixels: the crop keeps proportions, so they equal those in photo pixels but for joints
    outside the crop, which are not scored here.

    Args:
        batches: validation people, (pictures, targets) as of `device.iterate_center_crops`.
        log: the file to write.
        batch_size: of training, to count pictures.
        every_seconds: between two scores; 0: each epoch.
        average: the averaged weights, which are then the ones that are scored.
        mean_pose: (17, 2); with it the line says how much better than the mean pose the network is.
        progress: function that gives the share of the run that is over, for the line.
        verbose: print a line an epoch.
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
        batches,
        log: Path,
        batch_size: int,
        *,
        every_seconds: float = 0,
        average: WeightEMA | None = None,
        mean_pose: np.ndarray | None = None,
        progress=None,
        verbose: bool = True,
    ):
        super().__init__()
        parts = [(np.asarray(x), np.asarray(y["keypoints"])) for x, y in batches]
        self.images, target = (np.concatenate(column) for column in zip(*parts, strict=True))
        self.true, self.inside = target[..., :2], target[..., 2] > 0
        self.log, self.batch_size, self.every, self.verbose = (
            log,
            batch_size,
            every_seconds,
            verbose,
        )
        self.average, self.mean_pose, self.progress = average, mean_pose, progress
        self.start = self.last = time.monotonic()
        self.steps, self.rows = 0, []
        with log.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(self.columns + self.val_columns)

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def score(self) -> dict[str, float]:
        """The validation columns, now; and `val_gain`, which stands in the printed line but not in log.csv."""
        with replicated(), self.average.in_place() if self.average else contextlib.nullcontext():
            parts = [self.images[i : i + 64] for i in range(0, len(self.images), 64)]
            out = [self.model.predict_on_batch(part)["keypoints"] for part in parts]
        pred = np.concatenate([np.asarray(o, np.float32) for o in out])[:, : self.true.shape[1]]
        scores = {
            "val_pck@0.2": metrics.pck(pred, self.true, self.inside)["value"],
            "val_pcp": metrics.pcp(pred, self.true, self.inside)["mean"],
            "val_collapse_ratio": metrics.collapse_ratio(pred, self.true, self.inside),
        }
        if self.mean_pose is not None:
            ours, blind = (
                np.linalg.norm(x - self.true, axis=-1)[self.inside].mean()
                for x in (pred, self.mean_pose[None])
            )
            scores["val_gain"] = float(1 - ours / blind)
        return scores

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        due = now - self.last >= self.every or self.model.stop_training
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
            self.tell(row)

    def tell(self, row: dict) -> None:
        """Print the line of an epoch, and a warning below it when the network says nearly the same of everybody."""
        share = f"{self.progress():5.0%}" if self.progress else ""
        scores = "".join(
            f"  {k[4:]} {row[k]:.3f}" for k in (*self.val_columns, "val_gain") if k in row
        )
        print(
            f"epoch {row['epoch']:3d}{share}  {row['seconds']:6.0f} s  loss {row['loss']:.4f}{scores}",
            flush=True,
        )
        if row["epoch"] >= 3 and row.get("val_collapse_ratio", 1) < 0.05:
            gain = (
                f", and it is {row['val_gain']:.0%} better than that" if "val_gain" in row else ""
            )
            ratio = f"{row['val_collapse_ratio']:.1%} of what people's do"
            print(
                f"warning: the predictions vary {ratio}: the model is close to the mean pose{gain} (chapter 06)",
                flush=True,
            )


class Checkpoint(keras.callbacks.Callback):
    """Keeps at the end of epochs all that a run needs to go on after it was killed: weights, optimizer, averages, counts, log.

    The file is written beside and then put in place in one step, so that whenever the power fails, a whole one is there.

    Args:
        path: the file.
        model: what `fit` trains, compiled, its optimizer built.
        watch, schedule, average: the run's other callbacks, whose counts belong to the state; they must stand before this one.
        run: what the run is (recipe and data); a checkpoint of another run is refused.
        begin: `time.monotonic()` at the begin of the run.
        every_seconds: least time between two checkpoints.
    """

    def __init__(
        self,
        path: Path,
        model: keras.Model,
        watch: ValidationLogger,
        schedule: WarmupCosine,
        average: WeightEMA | None,
        *,
        run: dict,
        begin: float,
        every_seconds: float = 60.0,
    ):
        super().__init__()
        self.path, self.trainee, self.watch, self.schedule, self.average = (
            path,
            model,
            watch,
            schedule,
            average,
        )
        self.run, self.begin, self.every, self.last = (
            json.dumps(run),
            begin,
            every_seconds,
            time.monotonic(),
        )

    def on_epoch_end(self, epoch, logs=None):
        if time.monotonic() - self.last >= self.every and self.model is not None:
            self.save(epoch + 1)
            self.last = time.monotonic()

    def variables(self) -> list:
        """All of the model's and the optimizer's, random generators' and counts too; but no pictures, which the records hold."""
        everything = [*self.trainee.variables, *self.trainee.optimizer.variables]
        return [variable for variable in everything if variable.dtype != "uint8"]

    def save(self, epochs: int) -> None:
        """Write it, after so many epochs."""
        state = {
            "run": self.run,
            "epochs": epochs,
            "steps": self.watch.steps,
            "seconds": time.monotonic() - self.begin,
            "rows": self.watch.rows,
            "log": self.watch.log.read_text(encoding="utf-8"),
        }
        arrays = {f"variable{i}": ops.convert_to_numpy(v) for i, v in enumerate(self.variables())}
        if self.average:
            arrays |= {
                f"average{i}": ops.convert_to_numpy(v) for i, v in enumerate(self.average.values)
            }
        with atomic_file(self.path, durable=True) as part:
            np.savez(part, state=np.array(json.dumps(state)), **arrays)

    def restore(self) -> int:
        """Take a run up where its checkpoint left it; returns how many epochs are done.

        Raises:
            DataError: when it cannot be read, or belongs to another run.
        """
        try:
            with np.load(self.path) as file:
                arrays = dict(file)
            state = json.loads(str(arrays.pop("state")))
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            problem = f"the checkpoint cannot be read: {error}"
            raise DataError(self.path, problem, "remove its folder and begin anew") from None
        if state["run"] != self.run:
            problem = "was begun with another recipe or other data"
            raise DataError(
                self.path, problem, "give the same arguments, or remove its folder and begin anew"
            )
        for i, variable in enumerate(self.variables()):
            variable.assign(arrays[f"variable{i}"])
        if self.average:
            self.average.values = [
                ops.convert_to_tensor(arrays[f"average{i}"])
                for i in range(len(self.average.values))
            ]
            self.average.step = state["steps"]
        self.schedule.step = self.watch.steps = state["steps"]
        self.watch.rows = state["rows"]
        self.watch.log.write_text(state["log"], encoding="utf-8")
        self.begin = self.watch.start = time.monotonic() - state["seconds"]
        if self.schedule.deadline:
            self.schedule.deadline = (
                self.begin,
                self.begin + self.schedule.deadline[1] - self.schedule.deadline[0],
            )
        return state["epochs"]
