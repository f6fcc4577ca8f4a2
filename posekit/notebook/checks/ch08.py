"""Checks of the exercises of chapter 08, transfer learning."""

from collections.abc import Callable

import numpy as np

from posekit.notebook.checks import (
    call,
    exercise,
    expect,
    expect_array,
    expect_parts,
    expect_type,
    passed,
)

# ---- exercise 1: rates ---------------------------------------------------------------------------

_LAYERS = (
    "head_votes",
    "head_depthwise_conv",
    "stage7_block1_project_conv",
    "stage4_block3_expand_bn",
    "stage1_block1_depthwise_conv",
    "stem_conv",
)


def _rate(
    name: str, base: float, factor: float, *, head: int = 8, stem: int = 0, invert=False
) -> float:
    """The rate of a layer; the keyword arguments make typical mistakes."""
    depth = head if name.startswith("head") else stem
    if name.startswith("stage"):
        depth = int(name[len("stage")])
    steps = depth if invert else 8 - depth
    return base * factor**steps


@exercise
def check_rate(rate: Callable) -> None:
    """The rate of layers of the head, the stages and the stem, for three factors."""
    for base, factor in ((1e-3, 0.5), (3e-4, 0.9), (1e-3, 1.0)):
        for name in _LAYERS:
            expression = f"rate({name!r}, {base:g}, {factor:g})"
            got = float(expect_array(call(rate, expression, name, base, factor), expression, ()))
            want = _rate(name, base, factor)
            case = f"{expression} is {got:.3g}, it should be {want:.3g}: "
            hints = [
                (
                    _rate(name, base, factor, invert=True),
                    "the early layers get the small rates, not the late ones.",
                ),
                (
                    _rate(name, base, factor, head=7),
                    "the head gets `base`, and stage 7, just below it, one factor less.",
                ),
                (
                    _rate(name, base, factor, stem=1),
                    "the stem lies below stage 1 and gets one factor less than it.",
                ),
                (
                    base * factor if not name.startswith("head") else base,
                    "one factor *per stage*: it is raised to the distance from the head.",
                ),
            ]
            right = np.isclose(got, want, rtol=1e-6)
            for wrong, hint in hints:
                expect(right or not np.isclose(got, wrong, rtol=1e-6), case + hint)
            expect(right, f"{case}`base` times `factor` to the power of the distance to the head.")
    passed("head, stages and stem get their rates, and a factor of 1 gives all the same")


# ---- exercise 2: what fits -----------------------------------------------------------------------


def _shapes(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name.replace("__", "/"): np.zeros(shape) for name, shape in shapes.items()}


_CASES = (
    (
        "the same names and shapes",
        _shapes(stem__kernel=(3, 3, 3, 8), head__kernel=(8, 17)),
        _shapes(stem__kernel=(3, 3, 3, 8), head__kernel=(8, 17)),
    ),
    (
        "a head for another number of joints",
        _shapes(stem__kernel=(3, 3, 3, 8), head__kernel=(8, 17), head__bias=(17,)),
        _shapes(stem__kernel=(3, 3, 3, 8), head__kernel=(8, 19), head__bias=(19,)),
    ),
    (
        "a classifier there, a pose head here",
        _shapes(stem__kernel=(3, 3, 3, 8), classes__kernel=(8, 1000)),
        _shapes(stem__kernel=(3, 3, 3, 8), head__kernel=(8, 51)),
    ),
    (
        "transposed kernels, as of another framework",
        _shapes(conv__kernel=(8, 3, 5, 5), conv__bias=(8,)),
        _shapes(conv__kernel=(5, 5, 3, 8), conv__bias=(8,)),
    ),
)


def _match(file: dict, network: dict) -> tuple[list[str], list[str], list[str], list[str]]:
    both = [name for name in network if name in file]
    fits = [name for name in both if file[name].shape == network[name].shape]
    return (
        fits,
        [name for name in both if name not in fits],
        [name for name in network if name not in file],
        [name for name in file if name not in network],
    )


_PARTS = ("fitting", "mismatched", "missing", "unexpected")


@exercise
def check_match(match: Callable) -> None:
    """The four lists, for files that fit, partly fit, and do not fit."""
    expression = "match(file, network)"
    for about, file, network in _CASES:
        parts = expect_parts(call(match, expression, dict(file), dict(network)), expression, _PARTS)
        found = []
        for name, part in zip(_PARTS, parts, strict=True):
            expect_type(part, f"the part `{name}`", "a list of names", (list, tuple, set))
            found.append(sorted(map(str, part)))
        wanted = [sorted(part) for part in _match(file, network)]
        case = f"For {about}: "
        expect(
            found[2:] != wanted[:1:-1] or found[2:] == wanted[2:],
            f"{case}`missing` and `unexpected` are exchanged. A name of the network that is not in "
            "the file is missing.",
        )
        expect(
            found[0] != sorted(wanted[0] + wanted[1]) or not wanted[1],
            f"{case}`fitting` holds {wanted[1]}, whose shapes differ. The same name is not enough.",
        )
        for name, mine, right in zip(_PARTS, found, wanted, strict=True):
            expect(mine == right, f"{case}`{name}` is {mine}, it should be {right}.")
    passed("four files compared: what fits, what differs, what is missing, what is unexpected")


# ---- exercise 3: grey images ---------------------------------------------------------------------


def _convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Valid convolution of (h, w, c) with (k, k, c, n): (h - k + 1, w - k + 1, n)."""
    k = kernel.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(image, (k, k), axis=(0, 1))
    return np.einsum("hwcij,ijcn->hwn", windows, kernel)


@exercise
def check_grey_kernel(grey_kernel: Callable) -> None:
    """A grey image gets the features of the same image with three equal channels."""
    rng = np.random.default_rng(8)
    expression = "grey_kernel(kernel)"
    for size, channels in ((3, 8), (5, 4)):
        kernel = rng.normal(size=(size, size, 3, channels))
        got = call(grey_kernel, expression, kernel)
        got = expect_array(got, expression, (None, None, None, None))
        shape = (size, size, 1, channels)
        expect(
            got.shape == shape,
            f"For a kernel of shape {kernel.shape} the shape is {got.shape}, it should be {shape}: "
            "one input channel.",
        )
        grey = rng.uniform(0, 1, (9, 9, 1))
        want = _convolve(np.repeat(grey, 3, axis=2), kernel)
        answer = _convolve(grey, got)
        expect(
            not np.allclose(answer * 3, want),
            "The features are a third as large as with three equal channels. In the convolution "
            "the channels are *summed*.",
        )
        luminance = (kernel * np.array([0.299, 0.587, 0.114])[:, None]).sum(axis=2, keepdims=True)
        expect(
            not np.allclose(answer, _convolve(grey, luminance), rtol=0.02, atol=0.02),
            "You weight the colours by how bright they look to the eye. Here all three channels "
            "hold the same number, and the convolution adds them up.",
        )
        expect(
            not np.allclose(answer, _convolve(grey, kernel[:, :, :1])),
            "You keep the weights of one colour. The other two are a part of the filter as well.",
        )
        expect(
            np.allclose(answer, want),
            "A grey image and the same image with three equal channels give different features. "
            "Write the convolution as a sum over the channels, and set all channels equal.",
        )
    passed("grey images give the same features as their three-channel copies")
