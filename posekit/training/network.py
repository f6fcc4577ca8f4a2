"""A network with its loss, and the optimizer that trains it."""

import keras
from keras import ops

from posekit import losses

DISTILLATION_WEIGHT = 0.5
"""Of the loss, the share that comes from the teacher's answers instead of the labels."""


class PoseTrainer(keras.Model):
    """A network together with its loss: what `fit` trains, on every backend of Keras.

    `compile(loss=...)` gives each output a loss of its own. That is enough for chapter 06, but the losses of chapter 09 look at two
    outputs at once, and RLE brings weights to be trained; so the loss lives in here, beside the network. After training only
    `network` is kept.

    Args:
        network: from pictures to {"keypoints", "visibility"} and, for a loss with a learned σ, "sigma".
        loss: a name in `posekit.losses.LOSSES`.
        visibility_weight: weight of the visibility loss beside the keypoint loss.
        crops: a `on_device.CropLayer` that cuts the pictures, where batches say only who and how; a picture passes it by.
        teacher: a trained network of 17 joints; the half of the loss then asks for its answers to the same pictures (`taught`).
    """

    def __init__(
        self,
        network: keras.Model,
        loss: str = "l1",
        visibility_weight: float = 1.0,
        crops: keras.layers.Layer | None = None,
        teacher: keras.Model | None = None,
    ):
        super().__init__(name="trainee")
        if teacher is not None:
            teacher.trainable = False
        self.teacher = teacher
        self.crops = crops
        self.network, self.keypoint_loss = network, losses.keypoint_loss(loss)
        self.with_sigma, self.visibility_weight = (
            loss in losses.LOSSES_WITH_SIGMA,
            visibility_weight,
        )
        self.keypoints_mean = keras.metrics.Mean(name="keypoints_loss")
        self.visibility_mean = keras.metrics.Mean(name="visibility_loss")
        self.built = True  # else `fit` would take a batch to see its shape, and the order of the others would change

    def call(self, images, training=None):
        """What the network answers."""
        images = self.crops(images) if isinstance(images, dict) else images
        return self.network(images, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Keras asks for this in every step: targets `y` and outputs `y_pred`, dicts, to one number."""
        sigma = [y_pred["sigma"]] if self.with_sigma else []
        keypoints = self.keypoint_loss(y["keypoints"], y_pred["keypoints"], *sigma)
        visibility = losses.masked_bce(y["visibility"], y_pred["visibility"])
        self.keypoints_mean.update_state(keypoints)
        self.visibility_mean.update_state(visibility)
        loss = keypoints + self.visibility_weight * visibility
        return (
            loss
            if self.teacher is None
            else (1 - DISTILLATION_WEIGHT) * loss
            + DISTILLATION_WEIGHT * self.distillation_loss(x, y_pred)
        )

    def distillation_loss(self, x, y_pred):
        """The same loss with the teacher's answers for labels: where there is no label, too, as often as the teacher sees a joint.

        σ is left to the labels: a student comes closer to its teacher than to the truth, and would think too much of itself.

        Source:
            Hinton et al., "Distilling the knowledge in a neural network", 2015.
        """
        answer = self.teacher(self.crops(x) if isinstance(x, dict) else x, training=False)
        seen = answer["visibility"][..., None]
        known = (
            ops.concatenate([answer["keypoints"], seen], axis=-1),
            ops.concatenate([seen, ops.ones_like(seen)], axis=-1),
        )
        joints = answer["visibility"].shape[-1]
        sigma = [ops.stop_gradient(y_pred["sigma"][:, :joints])] if self.with_sigma else []
        keypoints = self.keypoint_loss(known[0], y_pred["keypoints"][:, :joints], *sigma)
        return keypoints + self.visibility_weight * losses.masked_bce(
            known[1], y_pred["visibility"][:, :joints]
        )


OPTIMIZERS = ("adamw", "sgd")


def make_optimizer(
    model: keras.Model, name: str, learning_rate: float, weight_decay: float, clip: float = 0.0
) -> keras.optimizers.Optimizer:
    """AdamW, or SGD with Nesterov's momentum of 0.9, that decays kernels only: biases and the norms' scales and offsets are not
    to be drawn to 0.

    Args:
        model: whose trainable variables it will move.
        name: "adamw" or "sgd".
        learning_rate: at the start.
        weight_decay: share of a kernel that is taken away in a step, times the learning rate.
        clip: longest gradient of all variables together; a longer one is shortened to this. 0: as long as it is.

    Source:
        Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019; the exception: He et al., "Bag of tricks for image
        classification with convolutional neural networks", CVPR 2019, section 3.1; clipping: Pascanu et al., ICML 2013.
    """
    options = {"weight_decay": weight_decay, "global_clipnorm": clip or None}
    if name == "sgd":
        optimizer = keras.optimizers.SGD(learning_rate, momentum=0.9, nesterov=True, **options)
    else:
        optimizer = keras.optimizers.AdamW(learning_rate, **options)
    optimizer.exclude_from_weight_decay(
        var_list=[v for v in model.trainable_variables if len(v.shape) < 2]
    )
    return optimizer


def adamw(
    model: keras.Model, learning_rate: float, weight_decay: float
) -> keras.optimizers.Optimizer:
    """`make_optimizer` for AdamW."""
    return make_optimizer(model, "adamw", learning_rate, weight_decay)
