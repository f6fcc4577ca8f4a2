"""Checks of the exercises of chapter 05, DenseNet.

Layers and blocks are judged by what they compute; counts are compared with what each typical
mistake would give.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from posekit import models
from posekit.models import densenet
from posekit.notebook.checks import (
    CheckFailed,
    call,
    exercise,
    expect,
    expect_array,
    expect_type,
    passed,
)


def _network(
    build: Callable, expression: str, shape: tuple[int, int, int], *given: int
) -> keras.Model:
    image = keras.Input(shape)
    out = call(build, expression, image, *given)
    expect_type(out, expression, "a tensor that was made from its input `x`", keras.KerasTensor)
    try:
        return keras.Model(image, out)
    except (TypeError, ValueError, AttributeError):
        raise CheckFailed(
            f"`{expression}` should be a tensor that was made from its input `x`."
        ) from None


def _of(kind: type, model: keras.Model) -> list:
    """Layers of a kind, also those inside of models that stand in for a layer."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += _of(kind, layer)
        elif isinstance(layer, kind):
            found.append(layer)
    return found


# ---- exercise 1: the dense layer -----------------------------------------------------------------


@exercise
def check_dense_layer(dense_layer: Callable) -> None:
    """The layer's output equals posekit's with the same weights, with a bottleneck and without."""
    for c, k, bottleneck in ((10, 3, 4), (7, 4, 4), (7, 4, None), (8, 3, 2)):
        _expect_dense_layer(dense_layer, c, k, bottleneck)
    passed("your dense layer agrees with posekit's, with a bottleneck and without")


def _expect_dense_layer(dense_layer: Callable, c: int, k: int, bottleneck: int | None) -> None:
    expression = "dense_layer(x, k, bottleneck)"
    mine = _network(dense_layer, expression, (6, 6, c), k, bottleneck)
    image = keras.Input((6, 6, c))
    theirs = keras.Model(image, densenet.dense_layer(image, k, bottleneck=bottleneck, name="layer"))
    got = mine.output.shape[-1]
    expect(
        got != k,
        f"{got} channels come out: the new ones alone. Concatenate them with the old ones.",
    )
    expect(
        got != c,
        f"{got} channels come out, as many as came in: you added where a dense layer concatenates.",
    )
    expect(
        got == c + k, f"With {c} channels in and k = {k}, {got} come out; there should be {c + k}."
    )
    expect(
        mine.output.shape == theirs.output.shape,
        f"The resolution changed to {tuple(mine.output.shape[1:3])}: no layer here has a stride.",
    )
    kernels = [
        sorted(tuple(layer.kernel.shape) for layer in _of(layers.Conv2D, m)) for m in (mine, theirs)
    ]
    case = f"With bottleneck={bottleneck} you have {len(kernels[0])} convolutions; "
    wanted = "there are two: 1 × 1 to squeeze, then 3 × 3." if bottleneck else "the 3 × 3 is alone."
    expect(len(kernels[0]) == len(kernels[1]), case + wanted)
    expect(
        kernels[0] == kernels[1],
        f"With k = {k} and bottleneck={bottleneck} your kernels are {kernels[0]}, they should be "
        f"{kernels[1]}: the 1 × 1 makes bottleneck * k channels, the 3 × 3 makes k.",
    )
    norms = len(_of(layers.BatchNormalization, mine))
    expect(
        norms == len(kernels[1]),
        f"With bottleneck={bottleneck} you have {norms} batch norms; there is one before each "
        "convolution.",
    )
    expect(
        all(layer.scale and layer.center for layer in _of(layers.BatchNormalization, mine)),
        "One of your batch norms has no scale or no shift (`scale=False` or `center=False`): the "
        "layer of the chapter has both.",
    )
    rng = np.random.default_rng(5)
    by_shape = {
        layer.kernel.shape: rng.normal(0, 0.3, layer.kernel.shape)
        for layer in _of(layers.Conv2D, theirs)
    }
    for model in (mine, theirs):
        for layer in _of(layers.Conv2D, model):
            layer.set_weights([by_shape[layer.kernel.shape], *layer.get_weights()[1:]])
        for layer in _of(layers.BatchNormalization, model):
            layer.epsilon = 1e-5  # Keras' own default is another one, and no mistake
            layer.beta.assign(layer.beta + 0.1)
            layer.moving_variance.assign(layer.moving_variance * 1.5)
    x = rng.normal(size=(2, 6, 6, c)).astype(np.float32)
    answer = np.asarray(mine(x))
    right = np.asarray(theirs(x))
    expect(
        not np.allclose(answer[..., k:], x, atol=1e-5),
        "The new channels come *before* the old ones. Append them, so that a slab keeps its "
        "position for all later layers.",
    )
    expect(
        np.allclose(answer[..., :c], x, atol=1e-5),
        "The old channels do not come through unchanged: concatenate the input `x` itself, as it "
        "was before batch norm and ReLU.",
    )
    expect(
        np.allclose(answer, right, atol=1e-4),
        "All layers are there, but the new channels differ from posekit's with the same "
        "weights. Batch norm and ReLU come *before* each convolution.",
    )


# ---- exercise 2: channels ------------------------------------------------------------------------


def _channels(
    blocks, k, compression, *, stem=2, last=True, when="after", rounding=int
) -> list[int]:
    channels = stem * k
    found = []
    for count in blocks:
        channels += count * k
        shrunk = rounding(channels * compression)
        found.append(channels if when == "after" else shrunk)
        channels = shrunk if last else channels
    return found


@exercise
def check_channels(channels_after_blocks: Callable) -> None:
    """The channels agree with those of built networks."""
    expression = "channels_after_blocks(blocks, k, compression)"
    for blocks, k, compression in (
        ((6, 12, 24, 16), 32, 0.5),
        ((2, 3), 5, 0.5),
        ((3, 2, 4), 7, 0.7),
    ):
        got = call(channels_after_blocks, expression, blocks, k, compression)
        got = expect_array(got, expression, (None,)).tolist()
        want = _channels(blocks, k, compression)
        case = (
            f"channels_after_blocks({blocks}, {k}, {compression}): your answer is "
            f"{[round(v, 2) for v in got]}, it should be {want}: "
        )
        expect(len(got) == len(blocks), f"{case}there should be one number per block.")
        hints = [
            (
                _channels(blocks, k, compression, stem=0),
                "the block's input is part of its output; the stem gives 2 k channels.",
            ),
            (_channels(blocks, k, compression, stem=1), "the stem gives 2 k channels, not k."),
            (
                _channels(blocks, k, compression, last=False),
                "between two blocks a transition keeps only a share of the channels.",
            ),
            (
                _channels(blocks, k, compression, when="before"),
                "that is after the transitions; the question is what each block *ends* with.",
            ),
            (
                _channels(blocks, k, compression, rounding=float),
                "a transition cannot keep half a channel: it rounds down.",
            ),
            (
                _channels(blocks, k, compression, rounding=lambda v: -int(-v // 1)),
                "a transition rounds down, not up.",
            ),
        ]
        for wrong, hint in hints:
            expect(got == want or not np.allclose(got, wrong), case + hint)
        expect(
            got == want, f"{case}begin with 2 k, add k per layer, and keep a share between blocks."
        )
    passed("your channels are those of three networks, DenseNet-121 among them")


# ---- exercise 3: the block that forgot -----------------------------------------------------------


def layer(x: object, k: int) -> object:
    """The k new channels that a layer computes from everything in x: a 1 x 1 convolution and a
    ReLU."""
    return layers.Conv2D(k, 1, use_bias=False, activation="relu")(x)


@exercise
def check_fixed_block(fixed_block: Callable) -> None:
    """Every layer reads all channels before it, and the block keeps them in order."""
    for c, count, k in ((5, 4, 3), (4, 3, 2)):
        _expect_block(fixed_block, c, count, k)
    passed("every layer reads all that came before it, and nothing is lost")


def _expect_block(fixed_block: Callable, c: int, count: int, k: int) -> None:
    model = _network(fixed_block, "fixed_block(x, count, k)", (4, 4, c), count, k)
    read = [layer.kernel.shape[2] for layer in _of(layers.Conv2D, model)]
    want = [c + i * k for i in range(count)]
    expect(len(read) == count, f"The block has {len(read)} layers, it should have {count}.")
    expect(
        read != [c, *[c + k] * (count - 1)],
        f"The layers read {read} channels: each but the first sees the block's input and the "
        "newest slab, but not those in between.",
    )
    expect(
        read != [c] * count,
        f"All layers read {c} channels, the block's input: none sees the output of another.",
    )
    expect(
        read != [c, *[k] * (count - 1)],
        f"The layers read {read} channels: each sees its predecessor only. That is a plain "
        "network.",
    )
    expect(
        read == want,
        f"The layers read {read} channels; they should read {want}: all that came before, each "
        "time.",
    )
    got = model.output.shape[-1]
    expect(
        got == c + count * k,
        f"{got} channels come out, {c + count * k} should: all slabs, and the input.",
    )
    x = np.random.default_rng(0).normal(size=(2, 4, 4, c)).astype(np.float32)
    out = np.asarray(model(x))
    expect(
        np.allclose(out[..., :c], x),
        "The first channels of the output are not the block's input: append the new slab *after* "
        "the old ones.",
    )
    first = np.asarray(keras.Model(model.input, _of(layers.Conv2D, model)[0].output)(x))
    expect(
        np.allclose(out[..., c : c + k], first),
        "The first layer's slab should follow the input, then the second's, and so on.",
    )


# ---- exercise 4: a budget ------------------------------------------------------------------------


def work(k: int) -> int:
    """Multiply-adds of posekit's DenseNet-43 backbone with growth rate k on an image of 128 x 128
    pixels."""
    image = keras.Input((128, 128, 3))
    model = keras.Model(image, densenet.densenet(image, densenet.LAYERS[43], int(k)))
    return sum(models.multiply_adds(model).values())


def _priced(asked: list[int], most: int) -> Callable:
    """A work function that records its arguments."""

    def cost(k: int) -> int:
        asked.append(k)
        expect(1 <= k <= most, f"You ask for the work of k = {k}; only 1 ... {most} are allowed.")
        return 3 * k * k + 2 * k

    return cost


@exercise
def check_largest_growth(largest_growth: Callable) -> None:
    """The largest growth rate within a budget, found with few evaluations."""
    expression = "largest_growth(work, budget, most)"
    most = 64
    for budget in (85, 1000, 1001, 40_000, 10**9, 2):
        asked: list[int] = []
        cost = _priced(asked, most)
        got = call(largest_growth, expression, cost, budget, most)
        got = float(expect_array(got, expression, ()))
        got = int(got) if got == int(got) else got
        want = max((k for k in range(1, most + 1) if 3 * k * k + 2 * k <= budget), default=0)
        case = f"With a budget of {budget}, where work(k) = 3 k² + 2 k, your answer is {got}, "
        expect(want != 0 or got == 0, f"{case}but not even k = 1 fits: return 0.")
        expect(
            got != want + 1 or want == most,
            f"{case}but work({want + 1}) is {3 * (want + 1) ** 2 + 2 * (want + 1)}, more than the "
            "budget.",
        )
        expect(
            got != want - 1,
            f"{case}but {want} fits, too: a budget may be used up to the last multiply-add.",
        )
        expect(got == want, f"{case}it is {want}.")
        expect(
            len(asked) <= 8,
            f"{case}which is right, but you built {len(asked)} networks. Try the middle of the "
            "remaining range, and halve it each time: seven are enough.",
        )
    passed("the largest growth rate for six budgets, with at most eight evaluations each")
