"""Masked losses: an unlabelled joint changes neither loss nor gradient (chapters 06 and 12).

The mask is the last channel of `y_true`, so that `model.compile(loss=...)` needs nothing special.
With Keras' own `sample_weight` the default reduction divides by the number of *all* entries, masked
ones too: the loss
would shrink where labels are rare.

    L2 ──► L1, smooth L1 ──► Gaussian, Laplace with a predicted σ ──► RLE with a learned density
"""

import math
from collections.abc import Callable

import keras
from keras import layers, ops

from posekit.errors import DataError

__all__ = [
    "LOSSES",
    "LOSSES_WITH_SIGMA",
    "RLE",
    "RealNVP",
    "gaussian_nll",
    "keypoint_loss",
    "laplace_nll",
    "masked_bce",
    "masked_gaussian",
    "masked_l1",
    "masked_l2",
    "masked_laplace",
    "masked_mean",
    "masked_smooth_l1",
]


def masked_mean(values, weight):
    """Weighted mean: sum(weight * values) / max(sum(weight), 1).

    Args:
        values: any shape; entries with weight 0 may hold anything finite.
        weight: same shape, >= 0.

    Returns:
        A scalar; 0, with gradient 0, when every weight is 0.
    """
    weight = ops.cast(weight, values.dtype)
    return ops.sum(weight * values) / ops.maximum(ops.sum(weight), 1.0)


def _split_keypoints(y_true, y_pred):
    """Split (B, K, 3) targets and (B, K, 2) predictions into error (B, K, 2) and weight (B, K).

    A masked target is replaced, not multiplied by 0: NaN * 0 is NaN.
    """
    y_true = ops.cast(y_true, "float32")
    y_pred = ops.cast(y_pred, "float32")
    weight = y_true[..., 2]
    target = ops.where(weight[..., None] > 0, y_true[..., :2], y_pred)
    return y_pred - target, weight


# ---- losses of the keypoints ---------------------------------------------------------------------


def masked_l1(y_true, y_pred):
    """Mean absolute error |dx| + |dy| over labelled joints.

    Args:
        y_true: (B, K, 3): u, v in normalised crop coordinates and the weight.
        y_pred: (B, K, 2).

    Returns:
        A scalar, float32, in fractions of the crop's side.
    """
    error, weight = _split_keypoints(y_true, y_pred)
    return masked_mean(ops.sum(ops.abs(error), axis=-1), weight)


def masked_l2(y_true, y_pred):
    """Mean squared distance dx^2 + dy^2 over labelled joints: the loss of DeepPose.

    Shapes as in `masked_l1`.

    Source:
        Toshev & Szegedy, "DeepPose", CVPR 2014, section 3.1.
    """
    error, weight = _split_keypoints(y_true, y_pred)
    return masked_mean(ops.sum(ops.square(error), axis=-1), weight)


def masked_smooth_l1(y_true, y_pred, beta=1.0):
    """Smooth L1 over labelled joints: quadratic up to `beta`, linear beyond.

    Args:
        y_true, y_pred: see `masked_l1`.
        beta: the error where the linear part begins, in fractions of the crop's side, > 0. At 1,
            the usual value, no joint ever gets there: what is left is half of `masked_l2`.

    Returns:
        A scalar, float32.

    Source:
        Girshick, "Fast R-CNN", ICCV 2015, equation 3 (beta = 1).
    """
    error, weight = _split_keypoints(y_true, y_pred)
    size = ops.abs(error)
    cost = ops.where(size < beta, 0.5 * ops.square(size) / beta, size - 0.5 * beta)
    return masked_mean(ops.sum(cost, axis=-1), weight)


# ---- losses with a predicted standard deviation --------------------------------------------------


def gaussian_nll(error, sigma):
    """Negative log-likelihood of a normal error, per coordinate.

    Args:
        error: any shape.
        sigma: standard deviation > 0, the same shape.

    Returns:
        The same shape, in nats.
    """
    return 0.5 * ops.square(error / sigma) + ops.log(sigma) + 0.5 * math.log(2 * math.pi)


def laplace_nll(error, sigma):
    """Negative log-likelihood of a Laplace error, per coordinate.

    Args:
        error: any shape.
        sigma: mean absolute deviation > 0, the same shape.

    Returns:
        The same shape, in nats.
    """
    return ops.abs(error) / sigma + ops.log(sigma) + math.log(2)


def masked_gaussian(y_true, y_pred, sigma):
    """Negative log-likelihood of labelled joints under normal errors with a predicted σ.

    Args:
        y_true: (B, K, 3), y_pred: (B, K, 2): as in `masked_l1`.
        sigma: (B, K, 2) σ > 0 along x and y, in fractions of the crop's side.

    Returns:
        A scalar, float32, in nats per joint; may be below 0, since a density may be above 1.

    Source:
        Kendall & Gal, "What uncertainties do we need in Bayesian deep learning for computer
        vision?", NeurIPS 2017, equation 5.
    """
    error, weight = _split_keypoints(y_true, y_pred)
    return masked_mean(ops.sum(gaussian_nll(error, ops.cast(sigma, "float32")), axis=-1), weight)


def masked_laplace(y_true, y_pred, sigma):
    """Negative log-likelihood of labelled joints under Laplace errors with a predicted σ.

    Its longer tails weigh outliers less. Arguments and result as in `masked_gaussian`.
    """
    error, weight = _split_keypoints(y_true, y_pred)
    return masked_mean(ops.sum(laplace_nll(error, ops.cast(sigma, "float32")), axis=-1), weight)


# ---- RLE: a normalizing flow learns the distribution of the errors -------------------------------


class RealNVP(layers.Layer):
    """A normalizing flow in the plane: maps a normal distribution, invertibly, to that of its data.

    Each affine coupling keeps one coordinate and computes from it the scale and shift of the other.
    So the inverse costs as much as the forward map, and the log-determinant is the sum of the log
    scales. The couplings alternate between the coordinates. A new flow is the identity.

    Args:
        couplings: number of affine couplings.
        hidden: units of the two hidden layers of each coupling.

    Source:
        Dinh et al., "Density estimation using Real NVP", ICLR 2017, equations 7 and 8; sizes as in
        Li et al. 2021.
    """

    def __init__(self, couplings: int = 6, hidden: int = 64, **options):
        super().__init__(dtype="float32", **options)
        self.kept = [i % 2 for i in range(couplings)]
        self.nets = [self._net(hidden) for _ in self.kept]
        self.built = True  # no weight depends on the input's shape

    @staticmethod
    def _net(hidden: int) -> keras.Sequential:
        """Network from the kept coordinate to log scale and shift of the other; both 0 at first."""
        inner = [layers.Dense(hidden, activation="leaky_relu", dtype="float32") for _ in range(2)]
        return keras.Sequential(
            [
                keras.Input((1,)),
                *inner,
                layers.Dense(2, kernel_initializer="zeros", dtype="float32"),
            ]
        )

    def _coupling(self, i: int, x):
        """Return kept and other coordinate, log scale (within ±1) and shift, (N, 1) each."""
        kept, other = (x[:, :1], x[:, 1:]) if self.kept[i] == 0 else (x[:, 1:], x[:, :1])
        out = self.nets[i](kept)
        return kept, other, ops.tanh(out[:, :1]), out[:, 1:]

    def _join(self, i: int, kept, other):
        return ops.concatenate([kept, other] if self.kept[i] == 0 else [other, kept], axis=-1)

    def to_data(self, z):
        """Map (N, 2) normal points to data; return them and the log-determinant (N,)."""
        log_det = 0.0
        for i in range(len(self.nets)):
            kept, other, log_scale, shift = self._coupling(i, z)
            z = self._join(i, kept, other * ops.exp(log_scale) + shift)
            log_det = log_det + log_scale[:, 0]
        return z, log_det

    def to_normal(self, x):
        """Map (N, 2) data to normal points; return them and the log-determinant (N,)."""
        log_det = 0.0
        for i in reversed(range(len(self.nets))):
            kept, other, log_scale, shift = self._coupling(i, x)
            x = self._join(i, kept, (other - shift) * ops.exp(-log_scale))
            log_det = log_det - log_scale[:, 0]
        return x, log_det

    def call(self, x):
        """Log-density (N,) of data (N, 2): that of its normal point, plus the log-determinant."""
        z, log_det = self.to_normal(x)
        return log_det - ops.sum(gaussian_nll(z, ops.ones_like(z)), axis=-1)


class RLE(layers.Layer):
    """Residual log-likelihood estimation: a flow learns the distribution of the errors.

    Standardised, ē = error / σ, the errors of all joints share one density, the flow's. It is
    trained with the network and dropped after: prediction costs as much as with L1. At first the
    flow is the identity; a simple density, Laplace's, is added, and the flow learns the residual.

        loss = -log flow(ē) + log σx + log σy + Laplace's negative log-likelihood of the error

    Each part is a full likelihood with its own log σ, as in the authors' code (the paper's
    equation 9 has one): with one for both, σ could grow without limit and the flow shrink to match,
    since only their product matters.

    The product of the two densities is not normalised, and its normaliser depends on the flow. The
    paper's equation has it (-log s); like the authors' code this loss leaves it out, so its value
    is no negative log-likelihood. The authors' code also counts the flow's log-density twice per
    joint, once per coordinate, has |e| / √2 σ in the simple part, and takes the mean over images.

    Args:
        residual: add the simple density; False is the paper's "direct likelihood estimation".

    Source:
        Li et al., "Human pose regression with residual log-likelihood estimation", ICCV 2021,
        equations 5 to 9.
    """

    def __init__(self, residual: bool = True, **options):
        super().__init__(dtype="float32", **options)
        self.residual = residual
        self.flow = RealNVP(name="flow")
        self.built = True

    def call(self, y_true, y_pred, sigma):
        """Compute the loss; arguments and result as in `masked_gaussian`."""
        error, weight = _split_keypoints(y_true, y_pred)
        sigma = ops.cast(sigma, "float32")
        log_flow = ops.reshape(self.flow(ops.reshape(error / sigma, (-1, 2))), ops.shape(weight))
        cost = ops.sum(ops.log(sigma), axis=-1) - log_flow
        if self.residual:
            cost = cost + ops.sum(laplace_nll(error, sigma), axis=-1)
        return masked_mean(cost, weight)


LOSSES = {
    "l2": lambda: masked_l2,
    "l1": lambda: masked_l1,
    "smooth_l1": lambda: masked_smooth_l1,
    "gaussian": lambda: masked_gaussian,
    "laplace": lambda: masked_laplace,
    "rle": RLE,
}
"""Name -> function that returns the loss."""
LOSSES_WITH_SIGMA = ("gaussian", "laplace", "rle")
"""Losses that need the network's `sigma`, too: `loss(y_true, y_pred, sigma)`."""


def keypoint_loss(name: str) -> Callable:
    """Return a new keypoint loss: a function, or for "rle" a Keras layer with trainable weights.

    Args:
        name: a name in `LOSSES`.

    Raises:
        DataError: for an unknown name.
    """
    if name not in LOSSES:
        raise DataError(f"loss {name!r}", "unknown", f"choose one of {', '.join(LOSSES)}")
    return LOSSES[name]()


# ---- loss of the visibility ----------------------------------------------------------------------


def masked_bce(y_true, y_pred):
    """Binary cross-entropy of the visibility output over joints with a known target.

    Args:
        y_true: (B, K, 2): target (1 = inside the crop) and weight.
        y_pred: (B, K) probabilities.

    Returns:
        A scalar, float32, in nats.
    """
    y_true = ops.cast(y_true, "float32")
    y_pred = ops.cast(y_pred, "float32")
    weight = y_true[..., 1]
    target = ops.where(weight > 0, y_true[..., 0], 0.0)
    p = ops.clip(y_pred, 1e-6, 1 - 1e-6)
    return masked_mean(-(target * ops.log(p) + (1 - target) * ops.log(1 - p)), weight)
