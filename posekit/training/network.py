"""A network with its loss, and the optimizer that trains it."""

from typing import Any

import keras

from posekit import losses

__all__ = ["OPTIMIZERS", "PoseTrainer", "adamw", "make_optimizer"]

OPTIMIZERS = ("adamw", "sgd")


class PoseTrainer(keras.Model):
    """A network together with its loss: the model to `fit`, on every backend of Keras.

    `compile(loss=...)` gives each output a loss of its own. That is enough for chapter 06, but the
    losses of chapter 12 need two outputs at once, and RLE has trainable weights; so the loss is a
    part of this model. After training only `network` is kept.

    Args:
        network: model from images to {"keypoints", "visibility"} and, for a loss with a predicted
            σ, "sigma".
        loss: a name in `posekit.losses.LOSSES`.
        visibility_weight: weight of the visibility loss, added to the keypoint loss.
        crops: an `on_device.CropLayer` that crops the images, if batches hold indices and affine
            transforms; batches of images bypass it.
    """

    def __init__(
        self,
        network: keras.Model,
        loss: str = "l1",
        visibility_weight: float = 1.0,
        crops: keras.layers.Layer | None = None,
    ):
        super().__init__(name="pose_trainer")
        self.crops = crops
        self.network = network
        self.keypoint_loss = losses.keypoint_loss(loss)
        self.with_sigma = loss in losses.LOSSES_WITH_SIGMA
        self.visibility_weight = visibility_weight
        self.keypoints_mean = keras.metrics.Mean(name="keypoints_loss")
        self.visibility_mean = keras.metrics.Mean(name="visibility_loss")
        # Otherwise `fit` takes a batch to see its shape, and the order of the others changes.
        self.built = True

    def call(self, images: Any, training: bool | None = None) -> dict:
        """Run the network on images, or on what `crops` crops."""
        images = self.crops(images) if isinstance(images, dict) else images
        return self.network(images, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Compute the loss of a step; Keras calls it.

        Args:
            y: targets, {"keypoints": (B, K, 3), "visibility": (B, K, 2)}.
            y_pred: outputs of the network.
            x, sample_weight, training: of Keras' interface, not used.

        Returns:
            A scalar.
        """
        sigma = [y_pred["sigma"]] if self.with_sigma else []
        keypoints = self.keypoint_loss(y["keypoints"], y_pred["keypoints"], *sigma)
        visibility = losses.masked_bce(y["visibility"], y_pred["visibility"])
        self.keypoints_mean.update_state(keypoints)
        self.visibility_mean.update_state(visibility)
        return keypoints + self.visibility_weight * visibility


def make_optimizer(
    model: keras.Model,
    name: str,
    learning_rate: float,
    weight_decay: float,
    clip_norm: float = 0.0,
) -> keras.optimizers.Optimizer:
    """Make AdamW, or SGD with Nesterov momentum 0.9, with weight decay on kernels only.

    Biases and the scales and offsets of batch norms are not decayed.

    Args:
        model: its trainable variables are optimized.
        name: "adamw" or "sgd".
        learning_rate: at the start.
        weight_decay: fraction of a kernel that is subtracted per step, times the learning rate.
        clip_norm: largest norm of the gradient of all variables together; a larger one is scaled
            down to it. 0: no clipping.

    Source:
        Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019; the exception: He
        et al., "Bag of tricks for image classification with convolutional neural networks", CVPR
        2019, section 3.1; clipping: Pascanu et al., ICML 2013.
    """
    options = {"weight_decay": weight_decay, "global_clipnorm": clip_norm or None}
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
    """Make AdamW; see `make_optimizer`."""
    return make_optimizer(model, "adamw", learning_rate, weight_decay)
