"""The live progress picture: a figure that is drawn again in place while `fit` runs (chapter 06)."""

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
"""Joints that are scored together, left and right, by the last word of their names."""


def members(group: str) -> list[int]:
    """Which joints of COCO's 17 belong to a group of `GROUPS`."""
    return [k for k, joint in enumerate(COCO17.joints) if joint.split("_")[-1] in GROUPS[group]]


class Progress(keras.callbacks.Callback):
    """Shows how a training goes: its losses, which joints are found by now, and one person's pose walking towards the truth.

    In JupyterLab the picture changes in place as the epochs pass; in a notebook that is run without a window the last one stays.
    It wants a model compiled as in chapter 06, with an output and a loss called `keypoints`.

    Args:
        images: (N, S, S, 3) validation people.
        targets: (N, 17, 3) normalised crop coordinates and weight, as batches hold them.
        person: which of them is drawn.
        mean_pose: (17, 2) normalised; its loss and its score are drawn as dashed lines.
        every_seconds: least time between two pictures, which is stretched where drawing is slow: it takes at most a tenth of the time.
            Scores are taken each epoch.

    Attributes:
        rows: one dict an epoch, from epoch 0 (before the first step) on: `epoch`, `pose` (17, 2), PCK@0.2 of each of `GROUPS`,
            `pck@0.2` of all, and, but at epoch 0, `loss` and `val_loss` of the keypoints.
    """

    alt = (
        "Three panels. Left: training and validation loss over the epochs, and a dashed line for the mean pose. Middle: PCK@0.2 of seven "
        "groups of joints over the epochs. Right: one validation person, the true pose dotted, the predicted one in colour, and thin "
        "lines for the way that each joint came."
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
        self.images, self.person, self.every = np.asarray(images), person, every_seconds
        targets = np.asarray(targets)
        self.true, self.inside = targets[..., :2], targets[..., 2] > 0
        self.blind = None
        if mean_pose is not None:
            same = np.broadcast_to(np.asarray(mean_pose), self.true.shape)
            loss = np.abs(same - self.true).sum(axis=-1)[self.inside].mean()
            self.blind = float(loss), metrics.pck(same, self.true, self.inside)["value"]
        self.rows, self.handle, self.next = [], None, 0.0

    def look(self, epoch: int, logs: dict | None) -> None:
        """Score the network as it is, and keep what it said."""
        parts = [self.images[i : i + 64] for i in range(0, len(self.images), 64)]
        pred = np.concatenate(
            [np.asarray(self.model.predict_on_batch(part)["keypoints"]) for part in parts]
        )
        found, counted = metrics.pck_hits(pred, self.true, self.inside)
        row = {"epoch": epoch, "pose": pred[self.person], "pck@0.2": found[counted].mean()}
        row |= {
            group: found[:, at][counted[:, at]].mean()
            for group in GROUPS
            for at in [members(group)]
        }
        if logs:
            row |= {
                "loss": logs["keypoints_loss"],
                "val_loss": logs.get("val_keypoints_loss", np.nan),
            }
        self.rows.append(row)

    def column(self, name: str) -> np.ndarray:
        """One entry of all rows, (epochs + 1, ...); NaN where there is none."""
        return np.array([row.get(name, np.nan) for row in self.rows])

    def draw(self):
        """The picture of all rows so far, a Matplotlib figure."""
        import matplotlib.pyplot as plt

        epoch, side = self.column("epoch"), self.images.shape[1]
        fig, (left, middle, right) = plt.subplots(
            1, 3, figsize=(9.6, 3.3), width_ratios=(1, 1.15, 0.95)
        )
        for name, label, style in (("loss", "training", "o-"), ("val_loss", "validation", "s-")):
            left.plot(epoch, self.column(name), style, markersize=3, label=label)
        for group, colour in zip(GROUPS, viz.PALETTE, strict=True):
            middle.plot(epoch, self.column(group), color=colour, label=group)
        if self.blind:
            left.axhline(self.blind[0], color=viz.BLACK, linestyle="--", lw=1.2, label="mean pose")
            middle.axhline(
                self.blind[1], color=viz.BLACK, linestyle="--", lw=1.2, label="mean pose"
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
            right, (self.true[self.person] + 0.5) * side - 0.5, self.inside[self.person], **_DOTTED
        )
        viz.draw_pose(right, poses[-1], size=0.75)
        return fig

    def show(self) -> None:
        """Put the picture where the one before was."""
        from IPython.display import display

        begin = time.monotonic()
        picture = viz.figure(self.draw(), self.alt)
        if self.handle is None:
            self.handle = display(picture, display_id=True)
        else:
            self.handle.update(picture)
        self.next = time.monotonic() + max(self.every, 9 * (time.monotonic() - begin))

    def on_train_begin(self, logs=None):
        self.rows.clear()
        self.handle = None
        self.look(0, None)
        self.show()

    def on_epoch_end(self, epoch, logs=None):
        self.look(epoch + 1, logs)
        if time.monotonic() >= self.next or not self.every:
            self.show()

    def on_train_end(self, logs=None):
        self.show()


_DOTTED = {"colour": viz.BLACK, "linestyle": ":", "size": 0.75}
