"""Muon for convolutional networks: a step that turns all directions of a kernel alike (chapter 06).

A kernel's gradient is a matrix of few large singular values and many small ones. Muon replaces them all by about 1 before it takes the
step, so that rare directions learn as fast as the common ones. Keras' Muon does so for matrices and leaves kernels of convolutions
to AdamW; this one sees a kernel (h, w, in, out) as the matrix (h · w · in, out) that it is.
"""

import math
import re

import keras
from keras import ops

OUTER = r"stem|head_(votes|maps|keypoints|scale)|visibility|flow"
"""Variables that AdamW moves: the first layer, the outputs, and a flow's small networks."""


class Muon(keras.optimizers.Muon):
    """Keras' Muon, with kernels as matrices. Biases, norms and `OUTER` layers are AdamW's, at the same rate.

    Args:
        As `keras.optimizers.Muon`; a step is scaled to the size of AdamW's, so that both want about the same learning rate.

    Source:
        Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024 (kernels flattened, outer layers left out); the
        scale: Liu et al., "Muon is scalable for LLM training", arXiv 2502.16982, 2025, section 2.2.
    """

    def _should_use_adamw(self, variable) -> bool:
        return len(variable.shape) < 2 or re.search(OUTER, variable.path) is not None

    def zeropower_via_newtonschulz5(self, x, steps: int):
        """The nearest matrix whose singular values are all about 1, for a kernel of any rank."""
        flat = ops.reshape(x, (-1, x.shape[-1]))
        return ops.reshape(super().zeropower_via_newtonschulz5(flat, steps), x.shape)

    def lr_adjust(self, x):
        """A step as long, root mean square, as AdamW's usual ones."""
        return x * (self.rms_rate * math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1])))
