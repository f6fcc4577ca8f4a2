"""The losses: a joint that nobody labelled must change neither loss nor gradient (chapter 06); the ladder from L2 to RLE (chapter 09).

The mask travels inside `y_true` as its last channel, so that `model.compile(loss=...)` needs nothing special. Keras' own
`sample_weight` would divide by the number of *all* entries, masked ones too: the loss would shrink where labels are rare.

    L2 ──► L1, smooth L1 ──► Gaussian, Laplace with a learned σ ──► RLE: the shape of the errors is learned too
"""

import math
from collections.abc import Callable

import keras
from keras import layers, ops

from posekit.errors import DataError


def masked_mean(values, weight):
    """Weighted mean over every entry that counts: sum(weight * values) / max(sum(weight), 1).

    Args:
        values: any shape; entries with weight 0 may hold anything finite.
        weight: same shape, >= 0.

    Returns:
        A scalar; 0, with gradient 0, when nothing counts.
    """
    weight = ops.cast(weight, values.dtype)
    return ops.sum(weight * values) / ops.maximum(ops.sum(weight), 1.0)


def _split_keypoints(y_true, y_pred):
    """(B, K, 3) and (B, K, 2) -> error (B, K, 2) in float32, weight (B, K).

    A masked target is replaced, not multiplied away: NaN * 0 is NaN.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    weight = y_true[..., 2]
    target = ops.where(weight[..., None] > 0, y_true[..., :2], y_pred)
    return y_pred - target, weight


# ---- how far off ---------------------------------------------------------------------------------------------------------


def masked_l1(y_true, y_pred):
    """Mean absolute error |dx| + |dy| over labelled joints.

    Args:
        y_true: (B, K, 3): u, v in normalised crop coordinates and the weight.
        y_pred: (B, K, 2).

    Returns:
        A scalar, float32, in shares of the crop's side.
    """
    error, weight = _split_keypoints(y_true, y_pred)
    return masked_mean(ops.sum(ops.abs(error), axis=-1), weight)


def masked_l2(y_true, y_pred):
    """Mean squared distance dx^2 + dy^2 over labelled joints: the loss of DeepPose (section 3.1). Shapes as in `masked_l1`."""
    error, weight = _split_keypoints(y_true, y_pred)
    return masked_mean(ops.sum(ops.square(error), axis=-1), weight)


def masked_smooth_l1(y_true, y_pred, beta=1.0):
    """Smooth L1 over labelled joints: a parabola up to `beta`, a straight line beyond. Shapes as in `masked_l1`.

    Args:
        beta: where the line begins, in shares of the crop's side. At 1, the habitual value, no joint ever gets there: what is
            left is half of `masked_l2`.

    Source: Girshick, "Fast R-CNN", ICCV 2015, equation 3 (beta = 1).
    """
    error, weight = _split_keypoints(y_true, y_pred)
    size = ops.abs(error)
    cost = ops.where(size < beta, 0.5 * ops.square(size) / beta, size - 0.5 * beta)
    return masked_mean(ops.sum(cost, axis=-1), weight)


# ---- how sure ------------------------------------------------------------------------------------------------------------


def gaussian_nll(error, sigma):
    """-log of the normal density with standard deviation `sigma`, at `error`; same shapes, per coordinate."""
    return 0.5 * ops.square(error / sigma) + ops.log(sigma) + 0.5 * math.log(2 * math.pi)


def laplace_nll(error, sigma):
    """-log of the Laplace density with mean absolute deviation `sigma`, at `error`; same shapes, per coordinate."""
    return ops.abs(error) / sigma + ops.log(sigma) + math.log(2)


def masked_gaussian(y_true, y_pred, sigma):
    """Negative log-likelihood of labelled joints when the errors are normal, with a σ that the network predicts for each.

    Args:
        y_true: (B, K, 3), y_pred: (B, K, 2): as in `masked_l1`.
        sigma: (B, K, 2) σ > 0 along x and y, in shares of the crop's side.

    Returns:
        A scalar, float32, in nats a joint; may be below 0, since a density may be above 1.

    Source:
        Kendall & Gal, "What uncertainties do we need in Bayesian deep learning for computer vision?", NeurIPS 2017, equation 5.
    """
    error, weight = _split_keypoints(y_true, y_pred)
    return masked_mean(ops.sum(gaussian_nll(error, ops.cast(sigma, "float32")), axis=-1), weight)


def masked_laplace(y_true, y_pred, sigma):
    """The same with Laplace's density, whose tails forgive an outlier. Arguments as in `masked_gaussian`."""
    error, weight = _split_keypoints(y_true, y_pred)
    return masked_mean(ops.sum(laplace_nll(error, ops.cast(sigma, "float32")), axis=-1), weight)


# ---- the shape of the errors -----------------------------------------------------------------------------------------------


class RealNVP(layers.Layer):
    """A normalizing flow in the plane: bends a normal distribution, invertibly, into the one that its data have.

    In each coupling one coordinate stays; it alone decides how the other is stretched and shifted. So the inverse is as easy as
    the way forth, and the log-determinant is the sum of the log-stretches. The coordinates take turns. A new flow is the identity.

    Args:
        couplings: how many.
        hidden: units of the two hidden layers of each coupling.

    Source:
        Dinh et al., "Density estimation using Real NVP", ICLR 2017, equations 7 and 8; sizes as in Li et al. 2021.
    """

    def __init__(self, couplings: int = 6, hidden: int = 64, **options):
        super().__init__(dtype="float32", **options)
        self.stays = [i % 2 for i in range(couplings)]
        self.nets = [self._net(hidden) for _ in self.stays]
        self.built = True  # nothing depends on what comes in

    @staticmethod
    def _net(hidden: int) -> keras.Sequential:
        """From the coordinate that stays to the stretch and shift of the other; 0 and 0 at first."""
        inner = [layers.Dense(hidden, activation="leaky_relu", dtype="float32") for _ in range(2)]
        return keras.Sequential(
            [
                keras.Input((1,)),
                *inner,
                layers.Dense(2, kernel_initializer="zeros", dtype="float32"),
            ]
        )

    def _coupling(self, i: int, x):
        """The coordinate that stays, the other, and the other's log-stretch (within ±1) and shift: (N, 1) each."""
        stays, other = (x[:, :1], x[:, 1:]) if self.stays[i] == 0 else (x[:, 1:], x[:, :1])
        out = self.nets[i](stays)
        return stays, other, ops.tanh(out[:, :1]), out[:, 1:]

    def _join(self, i: int, stays, other):
        return ops.concatenate([stays, other] if self.stays[i] == 0 else [other, stays], axis=-1)

    def to_data(self, z):
        """(N, 2) normal -> (N, 2) data, and the log-determinant (N,) of the way."""
        log_det = 0.0
        for i in range(len(self.nets)):
            stays, other, stretch, shift = self._coupling(i, z)
            z, log_det = (
                self._join(i, stays, other * ops.exp(stretch) + shift),
                log_det + stretch[:, 0],
            )
        return z, log_det

    def to_normal(self, x):
        """(N, 2) data -> (N, 2) normal, and the log-determinant (N,) of the way."""
        log_det = 0.0
        for i in reversed(range(len(self.nets))):
            stays, other, stretch, shift = self._coupling(i, x)
            x, log_det = (
                self._join(i, stays, (other - shift) * ops.exp(-stretch)),
                log_det - stretch[:, 0],
            )
        return x, log_det

    def call(self, x):
        """log-density (N,) of data (N, 2): that of the normal point it comes from, times how much the way stretches."""
        z, log_det = self.to_normal(x)
        return log_det - ops.sum(gaussian_nll(z, ops.ones_like(z)), axis=-1)


class RLE(layers.Layer):
    """Residual log-likelihood: a flow learns what shape the errors have, while the network learns joints and their σ.

    Standardised, ē = error / σ, the errors of all joints share one density, the flow's. It is learned with the network, and thrown
    away after: prediction is as cheap as with L1. In the beginning a flow knows nothing; a simple density beside it, Laplace's, leads,
    and the flow learns what is left over, the residual.

        loss = -log flow(ē) + log σx + log σy   +   Laplace's negative log-likelihood of the error

    Each part is a whole likelihood with its own log σ, as in the authors' code (the paper's equation 9 writes one): with one for
    both, σ could grow without limit and the flow shrink to match, since only their product is seen.

    Args:
        residual: with the simple density beside the flow; without, it is the paper's "direct likelihood estimation".

    Source:
        Li et al., "Human pose regression with residual log-likelihood estimation", ICCV 2021, equations 5 to 9.
    """

    def __init__(self, residual: bool = True, **options):
        super().__init__(dtype="float32", **options)
        self.residual, self.flow = residual, RealNVP(name="flow")
        self.built = True

    def call(self, y_true, y_pred, sigma):
        """Arguments and result as in `masked_gaussian`."""
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
"""Name -> function that makes the loss."""
LOSSES_WITH_SIGMA = ("gaussian", "laplace", "rle")
"""Those whose network must also give `sigma`: `loss(y_true, y_pred, sigma)`."""


def keypoint_loss(name: str) -> Callable:
    """A new loss of the ladder: a function, or for "rle" a Keras layer with weights to be trained.

    Raises:
        DataError: for an unknown name.
    """
    if name not in LOSSES:
        raise DataError(f"loss {name!r}", "unknown", f"choose one of {', '.join(LOSSES)}")
    return LOSSES[name]()


# ---- is it there? ------------------------------------------------------------------------------------------------------------


def masked_bce(y_true, y_pred):
    """Binary cross-entropy of the visibility output over joints whose truth is known.

    Args:
        y_true: (B, K, 2): target (1 = inside the crop) and weight.
        y_pred: (B, K) probabilities.

    Returns:
        A scalar, float32, in nats.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    weight = y_true[..., 1]
    target = ops.where(weight > 0, y_true[..., 0], 0.0)
    p = ops.clip(y_pred, 1e-6, 1 - 1e-6)
    return masked_mean(-(target * ops.log(p) + (1 - target) * ops.log(1 - p)), weight)
