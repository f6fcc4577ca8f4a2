"""Wrong answers to the exercises of chapter 05, and the piece of the hint that each must get."""

from keras import layers

from posekit.models import resnet
from posekit.notebook.checks import ch05


def _layer(join="behind", squeeze=None, order="pre", norms=2, normed=False, always=False):
    def dense_layer(x, k, bottleneck=4):
        start = new = resnet.norm_relu(x, name="preact1")
        if bottleneck or always:
            width = (squeeze or bottleneck or 4) * k
            new = resnet.conv(start if order == "pre" else x, width, 1, name="conv1")
            if norms == 2:
                new = resnet.norm_relu(new, name="preact2")
        new = resnet.conv(new, k, 3, name="conv2")
        if join == "add":
            return layers.Add()([x, resnet.conv(new, x.shape[-1], 1, name="up")])
        if join == "alone":
            return new
        return layers.Concatenate()([new, x] if join == "before" else [start if normed else x, new])

    return dense_layer


def _post(x, k, bottleneck=4):
    """Convolution first, then norm and ReLU."""
    new = resnet.norm_relu(resnet.conv(x, bottleneck * k, 1, name="conv1"), name="one")
    new = resnet.norm_relu(resnet.conv(new, k, 3, name="conv2"), name="two")
    return layers.Concatenate()([x, new])


def _one_convolution(x, k, bottleneck=4):
    return layers.Concatenate()(
        [x, resnet.conv(resnet.norm_relu(x, name="preact"), k, 3, name="conv")]
    )


def _channels(**options):
    return lambda blocks, k, compression=0.5: ch05._channels(blocks, k, compression, **options)


def _forgetful(x, count, k):
    start = x
    for _ in range(count):
        new = ch05.layer(x, k)
        x = layers.Concatenate()([start, new])
    return x


def _plain(x, count, k):
    for _ in range(count):
        x = ch05.layer(x, k)
    return x


def _side_by_side(x, count, k):
    return layers.Concatenate()([x, *(ch05.layer(x, k) for _ in range(count))])


def _in_front(x, count, k):
    for _ in range(count):
        x = layers.Concatenate()([ch05.layer(x, k), x])
    return x


def _only_new(x, count, k):
    start = x.shape[-1]
    for _ in range(count):
        x = layers.Concatenate()([x, ch05.layer(x, k)])
    return x[..., start:]


def _one_too_many(work, budget, most=64):
    return _search(work, budget, most) + 1


def _search(work, budget, most):
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if work(middle) <= budget else (low, middle - 1)
    return low


def _strictly(work, budget, most=64):
    return _search(work, budget - 1, most)


def _one_by_one(work, budget, most=64):
    k = 0
    while k < most and work(k + 1) <= budget:
        k += 1
    return k


def _at_least_one(work, budget, most=64):
    return max(1, _search(work, budget, most))


# ---- found by changing the solutions piece by piece ----------------------------------------------


def _without_scale(x, k, bottleneck=4):
    new = x
    for filters, kernel in ((bottleneck * k, 1), (k, 3)) if bottleneck else ((k, 3),):
        new = layers.ReLU()(layers.BatchNormalization(scale=False)(new))
        new = layers.Conv2D(filters, kernel, padding="same", use_bias=False)(new)
    return layers.Concatenate()([x, new])


WRONG = [
    (ch05.check_dense_layer, _layer(join="alone"), "new ones alone"),
    (ch05.check_dense_layer, _layer(join="add"), "where a dense layer concatenates"),
    (ch05.check_dense_layer, _layer(join="before"), "*before* the old ones"),
    (ch05.check_dense_layer, _layer(normed=True), "before batch norm and ReLU"),
    (ch05.check_dense_layer, _layer(squeeze=1), "bottleneck * k channels"),
    (ch05.check_dense_layer, _layer(squeeze=4), "bottleneck=2 your kernels"),
    (ch05.check_dense_layer, _layer(always=True), "the 3 × 3 is alone"),
    (ch05.check_dense_layer, _one_convolution, "1 × 1 to squeeze"),
    (ch05.check_dense_layer, _layer(norms=1), "batch norms"),
    (ch05.check_dense_layer, _post, "*before* each convolution"),
    (ch05.check_channels, _channels(stem=0), "input is part"),
    (ch05.check_channels, _channels(stem=1), "not k"),
    (ch05.check_channels, _channels(last=False), "keeps only a share"),
    (ch05.check_channels, _channels(when="before"), "*ends* with"),
    (ch05.check_channels, _channels(rounding=float), "half a channel"),
    (ch05.check_channels, _channels(rounding=lambda v: -int(-v // 1)), "not up"),
    (ch05.check_channels, lambda blocks, k, compression=0.5: [1] * len(blocks), "begin with 2 k"),
    (ch05.check_fixed_block, _forgetful, "not those in between"),
    (ch05.check_fixed_block, _plain, "plain network"),
    (ch05.check_fixed_block, _side_by_side, "none sees"),
    (ch05.check_fixed_block, _in_front, "*after*"),
    (ch05.check_fixed_block, _only_new, "and the input"),
    (ch05.check_largest_growth, _one_too_many, "more than the budget"),
    (ch05.check_largest_growth, _strictly, "last multiply-add"),
    (ch05.check_largest_growth, _one_by_one, "halve it"),
    (ch05.check_largest_growth, _at_least_one, "return 0"),
    (ch05.check_dense_layer, _without_scale, "no scale or no shift"),
]
