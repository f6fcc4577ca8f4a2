"""Wrong answers to chapter 04's exercises, each with a piece of its hint."""

import numpy as np

from posekit.notebook.checks import ch04

# ---- exercise 1 ----------------------------------------------------------------------------------


def bottleneck(
    x,
    filters,
    stride,
    conv,
    norm_relu,
    *,
    raw=False,
    ready_way=False,
    behind=None,
    strides=(0, 1, 0),
    wide=4,
    when="either",
):
    """The right answer, with one option per mistake."""
    ready = norm_relu(x)
    at = [stride if s else 1 for s in strides]
    out = conv(ready, filters, 1, at[0])
    out = conv(norm_relu(out), filters, 3, at[1])
    out = conv(norm_relu(out), wide * filters, 1, at[2])
    changes = {
        "stride": stride > 1,
        "channels": x.shape[-1] != wide * filters,
        "always": True,
        "never": False,
    }
    project = changes["stride"] or changes["channels"] if when == "either" else changes[when]
    if project:
        way = conv(x if raw else ready, wide * filters, 1, stride)
    else:
        way = ready if ready_way else x
    return way + out if behind is None else behind(way + out)


def bottleneck_with(**mistake):
    return lambda *given: bottleneck(*given, **mistake)


def relu(x):
    return np.maximum(np.asarray(x), 0)


def post_activation(x, filters, stride, conv, norm_relu):
    out = norm_relu(conv(x, filters, 1))
    out = norm_relu(conv(out, filters, 3, stride))
    out = norm_relu(conv(out, 4 * filters, 1))
    fits = stride == 1 and x.shape[-1] == 4 * filters
    return out + (x if fits else conv(norm_relu(x), 4 * filters, 1, stride))


def forgets(which):
    """The right unit without norm and ReLU in front of one of its convolutions."""

    def unit(x, filters, stride, conv, norm_relu):
        ready = norm_relu(x)
        out = conv(x if which == 1 else ready, filters, 1)
        out = conv(out if which == 2 else norm_relu(out), filters, 3, stride)
        out = conv(out if which == 3 else norm_relu(out), 4 * filters, 1)
        fits = stride == 1 and x.shape[-1] == 4 * filters
        return out + (x if fits else conv(ready, 4 * filters, 1, stride))

    return unit


def plain(x, filters, stride, conv, norm_relu):
    out = conv(norm_relu(x), filters, 1)
    out = conv(norm_relu(out), filters, 3, stride)
    return conv(norm_relu(out), 4 * filters, 1)


def adds_in_place(x, filters, stride, conv, norm_relu):
    answer = bottleneck(x, filters, stride, conv, norm_relu)
    x += 1
    return answer


# ---- exercise 2 ----------------------------------------------------------------------------------


def count(c, f, s, *, norms=2, kernel=9, bias=0, when="either", proj_norm=True):
    project = {
        "either": s > 1 or c != 4 * f,
        "stride": s > 1,
        "channels": c != 4 * f,
        "always": True,
        "never": False,
    }
    total = c * f + kernel * f * f + 4 * f * f + (norms + bias) * 6 * f
    return total + (4 * c * f + (norms * proj_norm + bias) * 4 * f if project[when] else 0)


def count_with(**mistake):
    return lambda *given: count(*given, **mistake)


# ---- exercise 3 ----------------------------------------------------------------------------------


def free(
    unit,
    *,
    low=-1.0,
    training=True,
    silence=lambda kernels: kernels,
    tolerance=1e-6,
    back=True,
    kernels_back=True,
    compare=None,
):
    """The right answer, with one option per mistake."""
    x = np.random.default_rng(0).uniform(low, 1, (4, *unit.input_shape[1:])).astype("float32")
    kept = unit.get_weights()
    kernels = [w for w in unit.weights if len(w.shape) == 4]
    for kernel in silence(kernels):
        kernel.assign(np.zeros(kernel.shape))
    out = np.asarray(unit(x, training=training))
    if back:
        unit.set_weights(kept)
    elif kernels_back:
        for w, value in zip(unit.weights, kept):
            if len(w.shape) == 4:
                w.assign(value)
    return compare(out, x) if compare else bool(np.allclose(out, x, atol=tolerance))


def free_with(**mistake):
    return lambda unit: free(unit, **mistake)


def not_zero(out, x):
    return bool(np.any(out))


def correlated(out, x):
    return bool(out.std() > 0 and np.corrcoef(out.ravel(), x.ravel())[0, 1] > 0.999)


def no_small_scale(out, x):
    return bool(np.allclose(out, x)) or (correlated(out, x) and out.std() < 0.9 * x.std())


def rectified_twin(out, x):
    return bool(np.allclose(out, x, atol=1e-6) or np.allclose(out, np.maximum(x, 0), atol=1e-6))


# ---- exercise 4 ----------------------------------------------------------------------------------


def paths(shortcut, slopes):
    parts = np.ones(1)
    for slope in slopes:
        parts = np.convolve(parts, [shortcut, slope])
    return parts


def counts(shortcut, slopes):
    return paths(1.0, np.ones(len(slopes)))


def mean_slope(shortcut, slopes):
    return paths(shortcut, np.full(len(slopes), np.mean(slopes)))


def first_ones(shortcut, slopes):
    n = len(slopes)
    return np.array([np.prod(slopes[:k]) * shortcut ** (n - k) for k in range(n + 1)])


def sorts_in_place(shortcut, slopes):
    slopes.sort()
    return paths(shortcut, slopes)


# ---- found by changing the solutions piece by piece ----------------------------------------------


def projection_with(kernel=1, norm_last=False):
    def preact_bottleneck(x, filters, stride, conv, norm_relu):
        ready = norm_relu(x)
        skip = x
        if stride > 1 or x.shape[-1] != 4 * filters:
            skip = conv(x if norm_last else ready, 4 * filters, kernel, stride)
            skip = norm_relu(skip) if norm_last else skip
        out = conv(norm_relu(conv(ready, filters, 1)), filters, 3, stride)
        return skip + conv(norm_relu(out), 4 * filters, 1)

    return preact_bottleneck


WRONG = [
    (ch04.check_preact_bottleneck, bottleneck_with(behind=relu), "you rectify the sum"),
    (ch04.check_preact_bottleneck, bottleneck_with(raw=True), "takes the raw input"),
    (ch04.check_preact_bottleneck, bottleneck_with(ready_way=True), "stand on the identity path"),
    (
        ch04.check_preact_bottleneck,
        bottleneck_with(strides=(1, 0, 0)),
        "before anything has read",
    ),
    (
        ch04.check_preact_bottleneck,
        bottleneck_with(strides=(0, 0, 1)),
        "still works at full resolution",
    ),
    (ch04.check_preact_bottleneck, bottleneck_with(strides=(0, 0, 0)), "fit at the addition"),
    (ch04.check_preact_bottleneck, bottleneck_with(wide=1), "to four times `filters`"),
    (ch04.check_preact_bottleneck, bottleneck_with(when="always"), "You always project"),
    (ch04.check_preact_bottleneck, bottleneck_with(when="never"), "*or* the channels change"),
    (ch04.check_preact_bottleneck, bottleneck_with(when="stride"), "*or* the channels change"),
    (ch04.check_preact_bottleneck, post_activation, "reverses it"),
    (ch04.check_preact_bottleneck, forgets(1), "its batch norm and ReLU are missing"),
    (ch04.check_preact_bottleneck, forgets(2), "in front of the 3×3"),
    (ch04.check_preact_bottleneck, forgets(3), "in front of the last 1×1"),
    (ch04.check_preact_bottleneck, plain, "where is the plus sign"),
    (ch04.check_preact_bottleneck, adds_in_place, "changed the `x`"),
    (
        ch04.check_preact_bottleneck,
        bottleneck_with(behind=lambda total: 2 * total),
        "Go through the unit in order",
    ),
    (ch04.check_preact_bottleneck, lambda *given: None, "has no value yet"),
    (ch04.check_unit_parameters, count_with(norms=0), "You count no batch norms"),
    (ch04.check_unit_parameters, count_with(norms=4), "kept, not learned"),
    (ch04.check_unit_parameters, count_with(norms=1), "a scale and a shift"),
    (ch04.check_unit_parameters, count_with(bias=1), "You count biases"),
    (ch04.check_unit_parameters, count_with(kernel=3), "has 3 weights for each pair"),
    (ch04.check_unit_parameters, count_with(kernel=1), "has one weight for each pair"),
    (ch04.check_unit_parameters, count_with(when="never"), "projection is missing"),
    (ch04.check_unit_parameters, count_with(when="always"), "always count a projection"),
    (ch04.check_unit_parameters, count_with(when="stride"), "only where the stride is 2"),
    (ch04.check_unit_parameters, count_with(when="channels"), "only where the channels change"),
    (ch04.check_unit_parameters, count_with(proj_norm=False), "but not its batch norm"),
    (ch04.check_unit_parameters, lambda c, f, s: c * f, "Count in turn"),
    (ch04.check_unit_parameters, lambda *given: None, "has no value yet"),
    (ch04.check_shortcut_is_free, free_with(low=0.0), "feed negative ones"),
    (ch04.check_shortcut_is_free, free_with(training=False), "In training mode"),
    (ch04.check_shortcut_is_free, free_with(silence=lambda kernels: []), "silence *all*"),
    (ch04.check_shortcut_is_free, free_with(compare=correlated), "halves its input"),
    (ch04.check_shortcut_is_free, free_with(tolerance=0.05), "97 %"),
    (
        ch04.check_shortcut_is_free,
        free_with(back=False, kernels_back=False),
        "left the unit changed",
    ),
    (ch04.check_shortcut_is_free, free_with(back=False), "running statistics"),
    (ch04.check_shortcut_is_free, lambda unit: True, "feed negative ones"),
    (ch04.check_shortcut_is_free, lambda unit: False, "You reject a unit"),
    (ch04.check_shortcut_is_free, lambda unit: "free", "True or False"),
    (ch04.check_shortcut_is_free, lambda unit: None, "has no value yet"),
    (ch04.check_paths, lambda shortcut, slopes: np.prod(shortcut + slopes), "the whole gradient"),
    (ch04.check_paths, lambda shortcut, slopes: paths(shortcut, slopes)[1:], "One is missing"),
    (ch04.check_paths, lambda shortcut, slopes: paths(shortcut, slopes)[::-1], "in reverse order"),
    (ch04.check_paths, lambda shortcut, slopes: paths(1.0, slopes), "factors of the shortcuts"),
    (ch04.check_paths, counts, "You counted the paths"),
    (ch04.check_paths, mean_slope, "the mean slope"),
    (ch04.check_paths, first_ones, "the *first* k branches"),
    (ch04.check_paths, lambda s, w: paths(s, w) / paths(s, w).sum(), "shares of the whole"),
    (ch04.check_paths, sorts_in_place, "changed the `slopes`"),
    (
        ch04.check_paths,
        lambda shortcut, slopes: np.zeros(len(slopes) + 1),
        "Multiply the units out",
    ),
    (ch04.check_paths, lambda *given: None, "has no value yet"),
    (ch04.check_preact_bottleneck, projection_with(kernel=3), "projection is 3×3"),
    (
        ch04.check_preact_bottleneck,
        projection_with(norm_last=True),
        "followed by batch norm and ReLU",
    ),
]
