"""Checks of the exercises of chapter 04, ResNet.

A mistake is recognised by comparing the answer with what each typical wrong unit or formula
gives.
"""

from collections.abc import Callable

import numpy as np

from posekit.notebook.checks import (
    CheckFailed,
    call,
    exercise,
    expect,
    expect_array,
    expect_flag,
    expect_written,
    judge,
    near,
    passed,
)

# ---- exercise 1: the pre-activation bottleneck ---------------------------------------------------


def _conv(x, filters: int, kernel: int, stride: int = 1):
    """A convolution whose kernel depends on its shape alone, so that equal units give equal
    numbers."""
    from keras import ops

    expect_written(x, "the tensor that you hand to `conv`")
    channels = int(x.shape[-1])
    rng = np.random.default_rng([channels, int(filters), int(kernel)])
    weights = rng.normal(size=(kernel, kernel, channels, filters)) / np.sqrt(
        kernel * kernel * channels
    )
    pad = kernel // 2
    x = ops.pad(ops.convert_to_tensor(x, "float32"), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return ops.conv(x, weights.astype(np.float32), strides=stride, padding="valid")


def _norm_relu(x):
    from keras import ops

    expect_written(x, "the tensor that you hand to `norm_relu`")
    x = ops.convert_to_tensor(x, "float32")
    mean, variance = ops.moments(x, axes=(0, 1, 2), keepdims=True)
    return ops.relu((x - mean) / ops.sqrt(variance + 1e-5))


def _bottleneck(
    x,
    filters,
    stride,
    *,
    raw=False,
    ready_way=False,
    after=False,
    first=False,
    last=False,
    wide=4,
    order="",
    project=None,
    wide_kernel=1,
    norm_last=False,
):
    """The unit, with one option per mistake."""
    from keras import ops

    ready = _norm_relu(x)
    strides = [stride if first else 1, 1 if first or last else stride, stride if last else 1]
    if project is None:
        project = stride > 1 or x.shape[-1] != wide * filters
    way = ready if ready_way else x
    if project:
        way = _conv(x if raw or norm_last else ready, wide * filters, wide_kernel, stride)
        way = _norm_relu(way) if norm_last else way
    if order == "post":
        out = _norm_relu(_conv(x, filters, 1, strides[0]))
        out = _norm_relu(_conv(out, filters, 3, strides[1]))
        out = _norm_relu(_conv(out, wide * filters, 1, strides[2]))
    else:
        out = _conv(x if order == "no first" else ready, filters, 1, strides[0])
        out = _conv(out if order == "no middle" else _norm_relu(out), filters, 3, strides[1])
        out = _conv(out if order == "no last" else _norm_relu(out), wide * filters, 1, strides[2])
    total = out if order == "no shortcut" else way + out
    return np.asarray(ops.relu(total) if after else total)


_UNIT_HINTS = {
    "Something follows your addition: you rectify the sum. That was v1. In v2 the sum goes on "
    "as it is, or the identity path is blocked wherever it is negative.": {"after": True},
    "Your projection takes the raw input. Where shapes change, v2 projects the *pre-activated* "
    "one: batch norm and ReLU come first, and both paths share them.": {"raw": True},
    "Your identity shortcut carries the pre-activated tensor: batch norm and ReLU now stand on "
    "the identity path. Where shapes fit, the shortcut is the input `x` itself.": {
        "ready_way": True
    },
    "You stride in the first 1×1 convolution: it discards three pixels in four before "
    "anything has read them. Stride in the 3×3.": {"first": True},
    "You stride in the last convolution, so that the 3×3 still works at full resolution. Stride "
    "in the 3×3.": {"last": True},
    "Your order is convolution, batch norm, ReLU. *Pre*-activation reverses it: batch norm and "
    "ReLU come before each convolution.": {"order": "post"},
    "The first convolution takes the raw input: its batch norm and ReLU are missing.": {
        "order": "no first"
    },
    "Batch norm and ReLU are missing in front of the 3×3 convolution.": {"order": "no middle"},
    "Batch norm and ReLU are missing in front of the last 1×1 convolution.": {"order": "no last"},
    "The kernel of your projection is 3×3. Its task is to fit the shapes: 1×1.": {"wide_kernel": 3},
    "Your projection is followed by batch norm and ReLU. In v2 they come *before* it, and both "
    "paths share them.": {"norm_last": True},
    "There is no shortcut in your unit: where is the plus sign?": {"order": "no shortcut"},
    "You always project. Where the stride is 1 and the channels fit, the shortcut is the identity: "
    "a convolution there is a factor on the identity path.": {"project": True},
}


@exercise
def check_preact_bottleneck(preact_bottleneck: Callable) -> None:
    """`preact_bottleneck(x, filters, stride, conv, norm_relu)`: a v2 bottleneck unit."""
    import keras  # noqa: F401 - before the call, whose time limit is too short for an import

    expression = "preact_bottleneck(x, filters, stride, conv, norm_relu)"
    rng = np.random.default_rng(401)
    for channels, filters, stride in ((32, 8, 1), (32, 16, 2), (16, 8, 1), (32, 8, 2)):
        x = rng.normal(0.3, 1, (2, 8, 8, channels)).astype(np.float32)
        case = f"{channels} channels in, filters={filters}, stride={stride}"
        answer = call(
            preact_bottleneck,
            expression,
            x,
            filters,
            stride,
            _conv,
            _norm_relu,
            hint=f"That was with {case}. If two shapes do not fit at the addition: the shortcut "
            "needs a projection where the stride is not 1 *or* the channels change.",
        )
        answer = expect_array(answer, "the output of the unit")
        shape = answer.shape
        wanted = (2, 8 // stride, 8 // stride, 4 * filters)
        expect(
            shape[-1:] != (filters,),
            f"With {case}, {filters} channels come out. The last 1×1 widens again: to four times "
            "`filters`.",
        )
        expect(
            shape[1:3] == wanted[1:3],
            f"With {case}, a grid of {shape[1:3]} comes out and not {wanted[1:3]}: which layer "
            "strides?",
        )
        answer = expect_array(answer, "the output of the unit", wanted)
        judge(
            answer,
            _bottleneck(x, filters, stride),
            (
                (hint, _bottleneck(x, filters, stride, **mistake))
                for hint, mistake in _UNIT_HINTS.items()
            ),
            f"With {case} the numbers differ. Go through the unit in order: BN-ReLU, 1×1 to "
            "`filters`; BN-ReLU, 3×3 with the stride; BN-ReLU, 1×1 to four times `filters`; add "
            "the shortcut.",
            tolerance=1e-4,
        )
    passed("a pre-activation bottleneck: three convolutions, and nothing on the identity path")


# ---- exercise 2: its parameters, by formula ------------------------------------------------------


def _count(
    c: int, f: int, s: int, *, norms=2, kernel=9, bias=0, wide=4, project=None, proj_norm=True
) -> int:
    """Parameters of a v1 bottleneck unit, with one option per mistake."""
    project = (s > 1 or c != wide * f) if project is None else project
    out = wide * f
    main = c * f + kernel * f * f + f * out + norms * (f + f + out) + bias * (f + f + out)
    return main + project * (c * out + (norms if proj_norm else 0) * out + bias * out)


_COUNT_HINTS = {
    "You count no batch norms. Each learns a scale and a shift for every channel.": {"norms": 0},
    "You count four numbers per channel of a batch norm. Mean and variance are kept, not "
    "learned: only scale and shift are parameters that training changes.": {"norms": 4},
    "You count one number per channel of a batch norm: it has a scale and a shift.": {"norms": 1},
    "You count biases. The convolutions have none: the batch norm after each would subtract it.": {
        "bias": 1
    },
    "Your 3×3 convolution has 3 weights for each pair of channels; it has 3 · 3.": {"kernel": 3},
    "Your 3×3 convolution has one weight for each pair of channels; it has 3 · 3.": {"kernel": 1},
    "The projection is missing: where stride or channels change, the shortcut has weights, too.": {
        "project": False
    },
    "You always count a projection. Where the shapes fit, the shortcut is the identity and "
    "costs nothing.": {"project": True},
    "You counted the projection's kernel, but not its batch norm.": {"proj_norm": False},
}


@exercise
def check_unit_parameters(unit_parameters: Callable) -> None:
    """`unit_parameters(channels_in, filters, stride)`: trainable parameters of a v1 bottleneck
    unit."""
    expression = "unit_parameters(channels_in, filters, stride)"
    cases = ((256, 64, 1), (64, 64, 1), (256, 128, 2), (512, 128, 2), (40, 10, 1), (40, 10, 2))
    values = []
    for case in cases:
        answer = call(unit_parameters, expression, *case)
        values.append(float(expect_array(answer, "the count", ())))
    truths = [_count(*case) for case in cases]
    if values != truths:
        for hint, mistake in _COUNT_HINTS.items():
            expect(values != [_count(*case, **mistake) for case in cases], hint)
        expect(
            values != [_count(c, f, s, project=s > 1) for c, f, s in cases],
            "You project only where the stride is 2. In ResNet-50's first stage the stride is 1 "
            "and the channels change all the same.",
        )
        expect(
            values != [_count(c, f, s, project=c != 4 * f) for c, f, s in cases],
            "You project only where the channels change. Where the stride is 2 the shapes do not "
            "fit either.",
        )
        (c, f, s), value, truth = next(
            row for row in zip(cases, values, truths, strict=True) if row[1] != row[2]
        )
        raise CheckFailed(
            f"With {c} channels in, filters={f} and stride={s} the unit has {truth:,} parameters; "
            f"your count is {value:,.0f}. Count in turn: three kernels, three batch norms, and the "
            "projection where one is needed."
        )
    passed("every unit of ResNet-50, counted")


# ---- exercise 3: a test for free shortcuts -------------------------------------------------------

SPECIMENS = (
    "free",
    "relu in front",
    "norm on it",
    "halved",
    "relu behind",
    "convolution",
    "nearly free",
    "no shortcut",
)
"""Kinds of units that `specimen` makes; only the first one's shortcut is free."""


def specimen(kind: str, channels: int = 8, seed: int = 0):
    """A residual unit as a Keras model, on a grid of 6 x 6, whose shortcut is free or damaged.

    Args:
        kind: one of `SPECIMENS`.
        channels: C, in and out.
        seed: of its kernels.

    Returns:
        A model (B, 6, 6, C) -> (B, 6, 6, C).

    Raises:
        ValueError: for an unknown kind.
    """
    import keras
    from keras import layers

    if kind not in SPECIMENS:
        raise ValueError(f"{kind!r}: choose one of {', '.join(SPECIMENS)}")

    def conv(x, kernel: int = 3):
        start = keras.initializers.HeNormal(seed=seed + kernel)
        return layers.Conv2D(
            channels, kernel, padding="same", use_bias=False, kernel_initializer=start
        )(x)

    def norm(x):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)

    x = keras.Input((6, 6, channels))
    out = conv(layers.ReLU()(norm(x)))
    out = conv(layers.ReLU()(norm(out)))
    ways = {
        "relu in front": lambda: layers.ReLU()(x),
        "norm on it": lambda: norm(x),
        "halved": lambda: layers.Rescaling(0.5)(x),
        "nearly free": lambda: layers.Rescaling(0.97)(x),
        "convolution": lambda: conv(x, 1),
    }
    total = out if kind == "no shortcut" else layers.Add()([ways.get(kind, lambda: x)(), out])
    return keras.Model(x, layers.ReLU()(total) if kind == "relu behind" else total)


_SPECIMEN_HINTS = {
    "free": "You reject a unit whose shortcut is the identity. With all kernels at zero F adds "
    "nothing, so the output is the input: did you silence *all* convolutions?",
    "relu in front": "You let a ReLU on the shortcut pass. It leaves positive numbers as they "
    "are: feed negative ones, too.",
    "norm on it": "You let a batch norm on the shortcut pass. Before training its running "
    "mean is 0 and its variance 1, so at inference it does nothing. In training mode it uses the "
    "statistics of the batch.",
    "halved": "You let a shortcut pass that halves its input. The output has to *equal* the input.",
    "relu behind": "You let a ReLU behind the addition pass. It leaves positive sums as they are: "
    "feed negative numbers, too.",
    "convolution": "You let a 1×1 convolution on the shortcut pass. It has a kernel as well; "
    "with all kernels at zero it carries nothing.",
    "nearly free": "You let a shortcut pass that multiplies its input by 97 %. That is 22 % after "
    "fifty units: allow for rounding, not for more.",
    "no shortcut": "You let a plain block without any shortcut pass.",
}


@exercise
def check_shortcut_is_free(shortcut_is_free: Callable) -> None:
    """`shortcut_is_free(unit)`: whether the unit, with F silenced, returns exactly its
    input."""
    for seed, kind in enumerate((*SPECIMENS, "free")):
        unit = specimen(kind, channels=8 if seed else 4, seed=seed)
        before = unit.get_weights()
        answer = call(shortcut_is_free, "shortcut_is_free(unit)", unit)
        answer = expect_flag(answer, "shortcut_is_free(unit)")
        expect(answer == (kind == "free"), _SPECIMEN_HINTS[kind])
        kernels = [(a, b) for a, b in zip(before, unit.get_weights(), strict=True) if a.ndim == 4]
        expect(
            all(np.array_equal(a, b) for a, b in kernels),
            "The verdict is right, but your test left the unit changed: its kernels are not what "
            "they were. Keep a copy of the weights and put them back, or test a clone.",
        )
        expect(
            all(np.array_equal(a, b) for a, b in zip(before, unit.get_weights(), strict=True)),
            "The kernels are back, but the running statistics of the batch norms have changed: in "
            "training mode they are updated at each call. Put *all* weights back.",
        )
    passed("one free shortcut and seven damaged ones recognised, and no unit was changed")


# ---- exercise 4: the gradient, path by path ------------------------------------------------------


def _paths(shortcut: float, slopes: np.ndarray) -> np.ndarray:
    parts = np.ones(1)
    for slope in slopes:
        parts = np.convolve(parts, [shortcut, slope])
    return parts


@exercise
def check_paths(paths: Callable) -> None:
    """`paths(shortcut, slopes)`: the contribution to the gradient of the paths through k of the
    residual branches, k = 0 ... L."""
    rng = np.random.default_rng(404)
    for shortcut, n in ((1.0, 2), (0.5, 3), (1.0, 7), (0.9, 12), (1.1, 5)):
        slopes = rng.uniform(0.1, 0.9, n)
        answer = call(paths, "paths(shortcut, slopes)", shortcut, slopes)
        answer = expect_array(answer, "paths(shortcut, slopes)")
        truth = _paths(shortcut, slopes)
        expect(
            not near(answer, truth.sum(), 1e-4),
            "That is the whole gradient, the sum over all paths. Return its parts: one number for "
            "each k, from 0 to L.",
        )
        expect(
            np.shape(answer) != (n,),
            f"{n} units give {n + 1} kinds of paths: through 0, 1, ... {n} of the residual "
            "branches. One is missing.",
        )
        answer = expect_array(answer, "the answer of `paths`", (n + 1,))
        mean = _paths(shortcut, np.full(n, slopes.mean()))
        counts = _paths(1.0, np.ones(n))
        in_order = np.array([slopes[:k].prod() * shortcut ** (n - k) for k in range(n + 1)])
        wrong = {
            "You counted the paths. A path also has a size: the product of all slopes and "
            "shortcuts on it.": counts,
            "Your list is in reverse order: k = 0 comes first, the path that takes every "
            "shortcut.": truth[::-1],
            "You left out the factors of the shortcuts: a path that goes through k branches "
            "passes L − k shortcuts.": _paths(1.0, slopes),
            "You took the mean slope for all units. The slopes differ: each choice of k "
            "branches has its own product.": mean,
            "You took one path for each k, through the *first* k branches. Any k of the L "
            "form a path, and all these paths count.": in_order,
            "You gave shares of the whole. Return the parts themselves: they add up to the "
            "gradient.": truth / truth.sum(),
        }
        judge(
            answer,
            truth,
            wrong,
            f"With shortcut {shortcut} and {n} units the paths through no branch add "
            f"{truth[0]:.4f} and those through one {truth[1]:.4f}; yours: {answer[0]:.4f} and "
            f"{answer[1]:.4f}. Multiply the units out one after the other: each path so far goes "
            "on in two ways.",
            tolerance=1e-4,
        )
    passed("the gradient unfolded into its paths")
