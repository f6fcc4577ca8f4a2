"""Live progress of a training: a figure that is redrawn while `fit` runs (chapter 06)."""

import time

import keras
import numpy as np

from posekit import metrics, viz
from posekit.skeleton import COCO17

GROUPS = {
    "head": ("nose", "eye", "ear"),
    "shoulders": ("shoulder",),
    "hips": ("hip",),
    "knees": ("knee",),
    "elbows": ("elbow",),
    "ankles": ("ankle",),
    "wrists": ("wrist",),
}
"""Joints that are scored together, by the last word of their names."""


def members(group: str) -> list[int]:
    """Return the indices of the COCO joints of a group of `GROUPS`."""
    return [k for k, joint in enumerate(COCO17.joints) if joint.split("_")[-1] in GROUPS[group]]


class Progress(keras.callbacks.Callback):
    """Draw losses, PCK of groups of joints, and the predicted pose of a person, while training.

    In JupyterLab the figure is updated in place; in a notebook that runs without a browser the last
    one is kept. The model must be compiled as in chapter 06, with an output and a loss called
    `keypoints`.

    Args:
        images: (N, S, S, 3) validation people.
        targets: (N, 17, 3) normalised crop coordinates and weight, as in batches.
        person: index of the person to draw.
        mean_pose: (17, 2) normalised; its loss and its score are drawn as dashed lines.
        every_seconds: least time between two figures; longer if drawing is slow, so that it takes
            at most a tenth of the time. Scores are computed each epoch.

    Attributes:
        rows: a dict per epoch, from epoch 0 (before the first step): `epoch`, `pose` (17, 2),
            PCK@0.2 of each of `GROUPS`, `pck@0.2` of all, and, except at epoch 0, `loss` and
            `val_loss` of the keypoints.
    """

    alt = (
        "Three panels. Left: training and validation loss over the epochs, and a dashed line for "
        "the mean pose. Middle: PCK@0.2 of seven groups of joints over the epochs. Right: one "
        "validation person, the true pose dotted, the predicted one in colour, and thin lines for "
        "the way that each joint came."
    )

    def __init__(
        self,
        images: np.ndarray,
        targets: np.ndarray,
        *,
        person: int = 0,
        mean_pose: np.ndarray | None = None,
        every_seconds: float = 3.0,
    ):
        super().__init__()
        self.images = np.asarray(images)
        self.person = person
        self.every_seconds = every_seconds
        targets = np.asarray(targets)
        self.target = targets[..., :2]
        self.in_crop = targets[..., 2] > 0
        self.mean_pose_scores = None
        if mean_pose is not None:
            pred = np.broadcast_to(np.asarray(mean_pose), self.target.shape)
            loss = np.abs(pred - self.target).sum(axis=-1)[self.in_crop].mean()
            score = metrics.pck(pred, self.target, self.in_crop)["value"]
            self.mean_pose_scores = float(loss), score
        self.rows = []
        self.handle = None
        self.next = 0.0

    def score(self, epoch: int, logs: dict | None) -> None:
        """Score the network as it is, and append a row."""
        parts = [self.images[i : i + 64] for i in range(0, len(self.images), 64)]
        pred = np.concatenate(
            [np.asarray(self.model.predict_on_batch(part)["keypoints"]) for part in parts]
        )
        hits, scored = metrics.pck_hits(pred, self.target, self.in_crop)
        row = {"epoch": epoch, "pose": pred[self.person], "pck@0.2": hits[scored].mean()}
        for group in GROUPS:
            joints = members(group)
            row[group] = hits[:, joints][scored[:, joints]].mean()
        if logs:
            row |= {
                "loss": logs["keypoints_loss"],
                "val_loss": logs.get("val_keypoints_loss", np.nan),
            }
        self.rows.append(row)

    def column(self, name: str) -> np.ndarray:
        """Return one entry of all rows, (epochs + 1, ...); NaN where there is none."""
        return np.array([row.get(name, np.nan) for row in self.rows])

    def draw(self):
        """Draw all rows so far; returns a Matplotlib figure."""
        import matplotlib.pyplot as plt

        epoch = self.column("epoch")
        side = self.images.shape[1]
        fig, (left, middle, right) = plt.subplots(
            1, 3, figsize=(9.6, 3.3), width_ratios=(1, 1.15, 0.95)
        )
        for name, label, style in (("loss", "training", "o-"), ("val_loss", "validation", "s-")):
            left.plot(epoch, self.column(name), style, markersize=3, label=label)
        for group, colour in zip(GROUPS, viz.PALETTE, strict=True):
            middle.plot(epoch, self.column(group), color=colour, label=group)
        if self.mean_pose_scores:
            left.axhline(
                self.mean_pose_scores[0], color=viz.BLACK, linestyle="--", lw=1.2, label="mean pose"
            )
            middle.axhline(
                self.mean_pose_scores[1], color=viz.BLACK, linestyle="--", lw=1.2, label="mean pose"
            )
        left.set(title="loss", xlabel="epoch", ylim=(0, None))
        left.legend(fontsize=8)
        middle.set(title="PCK@0.2", xlabel="epoch", ylim=(0, 1))
        middle.legend(fontsize=8, ncols=2, loc="upper left", handlelength=1.4, columnspacing=1)
        viz.draw_image(
            right, self.images[self.person].astype(np.uint8), f"after epoch {epoch[-1]:.0f}"
        )
        right.images[0].set_alpha(0.75)
        poses = (self.column("pose") + 0.5) * side - 0.5
        for k, colour in enumerate(viz.joint_colours()):
            right.plot(*poses[:, k].T, color=colour, lw=0.9, alpha=0.8)
        viz.draw_pose(
            right,
            (self.target[self.person] + 0.5) * side - 0.5,
            self.in_crop[self.person],
            **_DOTTED,
        )
        viz.draw_pose(right, poses[-1], size=0.75)
        return fig

    def show(self) -> None:
        """Show the figure in place of the one before."""
        from IPython.display import display

        begin = time.monotonic()
        figure = viz.figure(self.draw(), self.alt)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        self.next = time.monotonic() + max(self.every_seconds, 9 * (time.monotonic() - begin))

    def on_train_begin(self, logs=None):
        self.rows.clear()
        self.handle = None
        self.score(0, None)
        self.show()

    def on_epoch_end(self, epoch, logs=None):
        self.score(epoch + 1, logs)
        if time.monotonic() >= self.next or not self.every_seconds:
            self.show()

    def on_train_end(self, logs=None):
        self.show()


_DOTTED = {"colour": viz.BLACK, "linestyle": ":", "size": 0.75}
