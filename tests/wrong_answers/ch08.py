"""Wrong answers to the exercises of chapter 08, and the piece of the hint that each must get."""

import numpy as np

from posekit.notebook.checks import ch08


def _rate(**options):
    return lambda name, base=1e-3, factor=0.7: ch08._rate(name, base, factor, **options)


def _one_factor(name, base=1e-3, factor=0.7):
    return base if name.startswith("head") else base * factor


def _additive(name, base=1e-3, factor=0.7):
    depth = 8 if name.startswith("head") else 0
    if name.startswith("stage"):
        depth = int(name[len("stage")])
    return base - (8 - depth) * factor * base / 10


def _exchanged(file, network):
    fits, differs, missing, unexpected = ch08._match(file, network)
    return fits, differs, unexpected, missing


def _names_only(file, network):
    fits, differs, missing, unexpected = ch08._match(file, network)
    return fits + differs, [], missing, unexpected


def _differs_is_missing(file, network):
    fits, differs, missing, unexpected = ch08._match(file, network)
    return fits, differs, missing + differs, unexpected


def _three(file, network):
    return ch08._match(file, network)[:3]


def _in_place(kernel):
    kernel += 0.1
    return (kernel - 0.1).sum(axis=2, keepdims=True)


# ---- found by changing the solutions piece by piece ----------------------------------------------


def grey_by_luminance(kernel):
    return (kernel * np.array([0.299, 0.587, 0.114])[:, None]).sum(axis=2, keepdims=True)


WRONG = [
    (ch08.check_rate, _rate(invert=True), "early layers get the small rates"),
    (ch08.check_rate, _rate(head=7), "the head gets `base`"),
    (ch08.check_rate, _rate(stem=1), "the stem lies below stage 1"),
    (ch08.check_rate, _one_factor, "raised to the distance"),
    (ch08.check_rate, _additive, "to the power of the distance"),
    (ch08.check_match, _exchanged, "are exchanged"),
    (ch08.check_match, _names_only, "The same name is not enough"),
    (ch08.check_match, _differs_is_missing, "`missing` is"),
    (ch08.check_match, _three, "four"),
    (ch08.check_match, lambda file, network: (1, 2, 3, 4), "a list of names"),
    (ch08.check_grey_kernel, lambda k: k.mean(axis=2, keepdims=True), "are *summed*"),
    (ch08.check_grey_kernel, lambda k: k[:, :, :1], "one colour"),
    (ch08.check_grey_kernel, lambda k: k.sum(axis=2), "shape"),
    (ch08.check_grey_kernel, lambda k: k, "one input channel"),
    (ch08.check_grey_kernel, lambda k: -k.sum(axis=2, keepdims=True), "different features"),
    (ch08.check_grey_kernel, _in_place, "work on a copy"),
    (ch08.check_grey_kernel, grey_by_luminance, "how bright they look"),
]
