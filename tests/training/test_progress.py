"""The live progress picture: what it keeps, that it is drawn in place, and that a training is the
same with it and without."""

import keras
import numpy as np
import pytest

from posekit import losses, metrics, models, viz
from posekit.skeleton import COCO17
from posekit.training import progress


class Screen:
    """Stands in for the notebook: what was shown, and how often it was replaced."""

    def __init__(self):
        self.first = []
        self.updates = []

    def display(self, picture, display_id=False):
        assert display_id
        self.first.append(picture)
        return self

    def update(self, picture):
        self.updates.append(picture)


@pytest.fixture
def screen(monkeypatch):
    screen = Screen()
    monkeypatch.setattr("IPython.display.display", screen.display)
    return screen


def people(n=6, size=32):
    rng = np.random.default_rng(1)
    targets = np.concatenate(
        [rng.uniform(-0.4, 0.4, (n, 17, 2)), np.ones((n, 17, 1))], axis=-1
    ).astype("float32")
    targets[0, 9, 2] = 0
    return rng.integers(0, 255, (n, size, size, 3)).astype("uint8"), targets


def trained(callbacks, epochs=3):
    keras.utils.set_random_seed(3)
    model = models.build(base_channels=4, input_size=32, input_downsample=1)
    model.compile(
        keras.optimizers.SGD(0.01),
        loss={"keypoints": losses.masked_l1, "visibility": losses.masked_bce},
    )
    images, joints = people()
    truth = {"keypoints": joints, "visibility": np.ones((6, 17, 2), "float32")}
    data = {"validation_data": (images, truth), "shuffle": False, "verbose": 0}
    model.fit(images, truth, batch_size=3, epochs=epochs, callbacks=callbacks, **data)
    return model


def test_every_joint_belongs_to_one_group():
    found = [k for group in progress.GROUPS for k in progress.members(group)]
    assert sorted(found) == list(range(len(COCO17)))
    assert COCO17.joints[progress.members("wrists")[0]] == "left_wrist"


def test_rows_hold_the_scores_of_each_epoch(screen):
    images, joints = people()
    watch = progress.Progress(images, joints, person=2, every_seconds=0)
    model = trained([watch])
    said = np.asarray(model.predict_on_batch(images)["keypoints"])
    true = joints[..., :2]
    inside = joints[..., 2] > 0
    last = watch.rows[-1]
    assert watch.column("epoch").tolist() == [0, 1, 2, 3]
    assert last["pck@0.2"] == pytest.approx(metrics.pck(said, true, inside)["value"])
    hips = [COCO17.index("left_hip"), COCO17.index("right_hip")]
    assert last["hips"] == pytest.approx(
        np.mean(metrics.pck(said, true, inside)["per_joint"][hips])
    )
    np.testing.assert_allclose(last["pose"], said[2], atol=1e-6)
    halves = [
        float(losses.masked_l1(joints[i : i + 3], said[i : i + 3])) for i in (0, 3)
    ]  # Keras' mean over batches
    assert last["val_loss"] == pytest.approx(np.mean(halves), rel=1e-4)
    assert np.isnan(watch.column("loss")[0]) and np.all(np.isfinite(watch.column("loss")[1:]))
    assert watch.column("pose").shape == (4, 17, 2)


def test_the_picture_is_drawn_in_place_and_described(screen):
    images, joints = people()
    watch = progress.Progress(images, joints, mean_pose=np.zeros((17, 2)), every_seconds=0)
    trained([watch])
    assert len(screen.first) == 1 and len(screen.updates) == 4  # each epoch, and the end
    for picture in (*screen.first, *screen.updates):
        assert (
            isinstance(picture, viz.Figure)
            and len(picture.data) <= viz.MAX_PNG_BYTES
            and "dotted" in picture.alt
        )
    trained([watch], epochs=1)
    assert len(screen.first) == 2 and len(watch.rows) == 2  # another training, another picture


def test_few_pictures_where_epochs_are_short(screen):
    images, joints = people()
    trained([progress.Progress(images, joints, every_seconds=1000)])
    assert len(screen.first) == 1 and len(screen.updates) == 1  # the beginning and the end


def test_watching_changes_nothing(screen):
    images, joints = people()
    watched = trained([progress.Progress(images, joints, every_seconds=0)])
    alone = trained([])
    for a, b in zip(watched.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
