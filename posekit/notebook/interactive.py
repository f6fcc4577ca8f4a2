"""Interactive figures that need neither a kernel nor a network (chapters 04 and 05).

`steps` walks through a block layer by layer and shows the shape of the tensor; `slider` shows
curves for one value of a parameter at a time. Both are drawn by `interactive.js`, which is part of
the cell's output; where scripts do not run, a static image is shown.
"""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from posekit import viz
from posekit.errors import DataError
from posekit.models.inspect import multiply_adds
from posekit.notebook.scene3d import ScriptedFigure

TO_SCALE = 8
"""Lengths within this factor of each other are drawn to scale, others by their square roots."""
PASSING = "#8A94A0"
"""Colour of channels that enter no addition or concatenation among the steps."""

_OPERATIONS = {
    "InputLayer": "input",
    "BatchNormalization": "batch norm",
    "Add": "addition",
    "Concatenate": "concatenation",
    "Dense": "dense layer",
    "ZeroPadding2D": "padding with zeros",
    "MaxPooling2D": "max pooling",
    "AveragePooling2D": "average pooling",
    "GlobalAveragePooling2D": "global average pooling",
    "Identity": "identity",
    "Flatten": "flattening",
}
_APART = (
    "BatchNormalization",
    "Activation",
    "ReLU",
    "MaxPooling2D",
    "AveragePooling2D",
    "ZeroPadding2D",
    "Identity",
)


class InteractiveFigure(ScriptedFigure):
    """A rendered interactive figure; `steps` and `slider` create them."""

    name = "interactive"
    script = "interactive.js"
    style = (
        "background: #fff; color: #222; border-radius: 8px; padding: 10px; box-sizing: border-box"
    )


def _show(scene: dict, still, alt: str) -> None:
    from IPython.display import display

    alt = " ".join(str(alt).split())
    display(InteractiveFigure(scene | {"alt": alt}, viz.figure(still, alt), alt))


# ---- through a block, step by step ---------------------------------------------------------------


def _operation(layer: keras.Layer) -> str:
    """Describe a layer in a few words."""
    if isinstance(layer, keras.layers.Activation):
        return {"relu": "ReLU"}.get(layer.activation.__name__, layer.activation.__name__)
    words = _OPERATIONS.get(type(layer).__name__, type(layer).__name__)
    stride = 1
    if isinstance(layer, keras.layers.Conv2D):
        words = f"{_words(layer.kernel_size)} convolution"
        stride = layer.strides[0]
    elif words.endswith(" pooling"):
        words = f"{_words(layer.pool_size)} {words}"
        stride = layer.strides[0]
    return words + (f", stride {stride}" if stride > 1 else "")


def _words(shape: Sequence[int]) -> str:
    return " × ".join(str(n) for n in shape)


def _before(layer: keras.Layer) -> list[keras.Layer]:
    """Return the input layers of a layer, in order."""
    if isinstance(layer, keras.layers.InputLayer):
        return []
    inputs = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
    return [tensor._keras_history.operation for tensor in inputs]


def _sources(model: keras.Model) -> dict[str, list[tuple[str, int]]]:
    """Map each layer to the origin of its output channels: (source layer, number of channels), in
    order.

    A concatenation puts its inputs side by side; a batch norm, an activation and a pooling keep
    channels apart; all other layers mix them.
    """
    found = {}
    for layer in model.layers:
        before = [found[one.name] for one in _before(layer)]
        if isinstance(layer, keras.layers.Concatenate):
            found[layer.name] = [part for parts in before for part in parts]
        elif type(layer).__name__ in _APART and before:
            found[layer.name] = before[0]
        else:
            found[layer.name] = [(layer.name, int(layer.output.shape[-1]))]
    return found


def _behind(layer: keras.Layer) -> set[str]:
    """Return the names of a layer and all its ancestors."""
    seen = set()
    waiting = [layer]
    while waiting:
        layer = waiting.pop()
        if layer.name not in seen:
            seen.add(layer.name)
            waiting += _before(layer)
    return seen


def _nearest(layer: keras.Layer, shown: set[str]) -> str:
    """Return the step that produces a layer's output, skipping layers that keep channels apart."""
    one = layer
    while one.name not in shown and type(one).__name__ in _APART:
        one = _before(one)[0]
    return one.name if one.name in shown else layer.name


def box_sides(shapes: Sequence[Sequence[int]]) -> tuple[list[list[float]], str]:
    """Compute the relative box sizes of several tensors.

    Args:
        shapes: of each (H, W, C), or (C,).

    Returns:
        Height, width and length of each box, as fractions of the largest height or width, and of
        the largest number of channels; and a sentence on how they are drawn.
    """
    full = np.array([(1, 1, *shape) if len(shape) == 1 else shape for shape in shapes], float)
    ways = []
    for axes in (slice(0, 2), slice(2, 3)):
        ways.append(
            "to scale"
            if full[:, axes].max() <= TO_SCALE * full[:, axes].min()
            else "by their square roots"
        )
        if ways[-1] != "to scale":
            full[:, axes] = np.sqrt(full[:, axes])
        full[:, axes] /= full[:, axes].max()
    same = f"Boxes are drawn {ways[0]}."
    return np.round(full, 4).tolist(), same if ways[0] == ways[
        1
    ] else f"Height and width are drawn {ways[0]}, channels {ways[1]}."


def _scene(model: keras.Model, layers: Sequence[tuple[str, str]]) -> dict:
    known = {layer.name: layer for layer in model.layers}
    shown = {name for name, _ in layers}
    missing = [name for name, _ in layers if name not in known]
    if missing or not layers:
        some = ", ".join([*known][:: max(1, len(known) // 8)])
        raise DataError(
            f"layer {missing[0]!r}" if missing else "layers",
            f"not in {model.name}",
            f"some that there are: {some}",
        )
    work = multiply_adds(model)
    made = _sources(model)
    first = _behind(known[layers[0][0]]) - {layers[0][0]}
    steps = []
    done = set()
    for name, sentence in layers:
        layer = known[name]
        done |= _behind(layer) - first
        tensors = [(name, layer)] + [(_nearest(one, shown), one) for one in _before(layer) if steps]
        boxes = [
            {"name": word, "shape": [int(n) for n in one.output.shape[1:]], "parts": made[one.name]}
            for word, one in tensors
        ]
        costs = [[known[one].count_params(), work.get(one, 0)] for one in (name, *sorted(done))]
        steps.append(
            boxes[0]
            | {"operation": _operation(layer), "sentence": sentence, "ways": boxes[1:]}
            | {"own": costs[0], "totals": [sum(column) for column in zip(*costs[1:], strict=True)]}
        )
    boxes = [box for step in steps for box in (step, *step["ways"])]
    sides, note = box_sides([box["shape"] for box in boxes])
    colours = _colours(steps)
    for box, side in zip(boxes, sides, strict=True):
        box["sides"] = side
        box["parts"] = [
            [source, channels, colours.get(source, PASSING)] for source, channels in box["parts"]
        ]
    return {"kind": "steps", "steps": steps, "note": note}


def _colours(steps: list[dict]) -> dict[str, str]:
    """Map the sources that meet in an addition or a concatenation, the input, and sums to
    colours."""
    kept = [steps[0]["parts"]]
    for step in steps:
        if len(step["ways"]) > 1:
            kept += [*(way["parts"] for way in step["ways"]), step["parts"]]
    names = dict.fromkeys(source for parts in kept for source, _ in parts)
    return {name: viz.PALETTE[k % len(viz.PALETTE)] for k, name in enumerate(names)}


def _still_steps(scene: dict):
    """Draw the steps below each other, with an arrow from each box to every box that it feeds."""
    import matplotlib.pyplot as plt

    steps = scene["steps"]
    rows = {step["name"]: k for k, step in enumerate(steps)}
    fig, ax = plt.subplots(figsize=(5.2, 0.66 * len(steps) + 0.1))
    for k, step in enumerate(steps):
        _still_box(ax, step, _BOX_X, -k)
        for way in step["ways"]:
            if way["name"] in rows:
                _still_arrow(ax, rows[way["name"]], k, way["parts"][0][2])
        words = f"{k + 1}. {step['operation']}"
        ax.text(_BOX_X + 1.45, 0.06 - k, words, fontsize=10.5, va="bottom")
        ax.text(_BOX_X + 1.45, -k, _words(step["shape"]), fontsize=10.5, va="top", weight="bold")
    ax.set(xlim=(-1.2, 6.9), ylim=(0.55 - len(steps), 0.55))
    ax.set_axis_off()
    return fig


_BOX_X = 1.75
"""Middle of the boxes of the static image."""


def _still_box(ax, step: dict, x: float, y: float) -> None:
    """Draw a tensor as a box around (x, y): height up, width to the back, channels to the right."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Polygon

    (h, w, c) = (max(side, 0.05) for side in step["sides"])
    across = np.array([0.34 * w, 0.18 * h])
    up = np.array([0, 0.42 * h])
    corner = np.array([x, y]) - (np.array([1.7 * c, 0]) + across + up) / 2
    channels = sum(n for _, n, _ in step["parts"])
    for _, count, colour in step["parts"]:
        out = np.array([1.7 * c * count / channels, 0])
        for origin, one, two, light, dark in (
            (corner, out, up, 0, 1),
            (corner + up, out, across, 0.45, 0.55),
            (corner + out, across, up, 0, 0.75),
        ):
            shade = light + np.array(to_rgb(colour)) * dark
            outline = [origin, origin + one, origin + one + two, origin + two]
            ax.add_patch(Polygon(outline, facecolor=shade, edgecolor="white", linewidth=0.6))
        corner = corner + out


def _still_arrow(ax, start: int, end: int, colour: str) -> None:
    """Draw an arrow between two rows: straight to the next row, else around the rows between."""
    style = {"arrowstyle": "-|>", "color": "#444444", "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    if end == start + 1:
        ax.annotate("", (_BOX_X, 0.36 - end), (_BOX_X, -0.36 - start), arrowprops=style)
        return
    side = _BOX_X - 1.25
    bend = side - 0.3 - 0.18 * (end - start)
    ax.plot([side + 0.2, bend + 0.2], [-start, -start], color=colour, lw=2)
    ax.plot([bend + 0.2, bend, bend], [-start, -start - 0.1, 0.1 - end], color=colour, lw=2)
    ax.plot([bend, bend + 0.2], [0.1 - end, -end], color=colour, lw=2)
    style |= {"color": colour, "lw": 2}
    ax.annotate("", (side + 0.25, -end), (bend + 0.15, -end), arrowprops=style)


def steps(model: keras.Model, layers: Sequence[tuple[str, str]], alt: str) -> None:
    """Show a block step by step: the tensor after each layer, its shape, and the cost so far.

    Args:
        model: a functional model with a fixed input size.
        layers: (name of a layer, a sentence on what it does), in the order of the steps. Layers may
            be omitted; their cost is counted nevertheless.
        alt: alternative text of the figure.

    Raises:
        DataError: if the model has no layer of that name.
        ValueError: if `alt` is too short.
    """
    scene = _scene(model, layers)
    _show(scene, _still_steps(scene), alt)


# ---- curves for one setting at a time ------------------------------------------------------------


def _curve(values: Sequence) -> dict:
    x, y, *band = (np.asarray(v, float) for v in values)
    if (
        len(band) not in (0, 2)
        or any(v.shape != x.shape or v.ndim != 1 for v in (y, *band))
        or not len(x)
    ):
        raise ValueError("a curve is (x, y) or (x, y, low, high), one-dimensional and equally long")
    if not all(np.isfinite(v).all() for v in (x, y, *band)):
        raise ValueError("a curve holds a value that is not finite")
    named = {"x": x, "y": y, **dict(zip(("low", "high"), band, strict=False))}
    rounded = {name: [float(f"{v:.4g}") for v in values] for name, values in named.items()}
    return {
        name: [int(v) if v.is_integer() else v for v in values] for name, values in rounded.items()
    }


def _limits(frames: Mapping, log: bool) -> dict:
    """Return axis limits that hold every frame: [low, high] of x and of y (of log10 y where
    `log`)."""
    curves = [curve for frame in frames.values() for curve in frame.values()]
    x = np.concatenate([c["x"] for c in curves])
    y = np.concatenate(
        [np.concatenate([c["y"], c.get("low", []), c.get("high", [])]) for c in curves]
    )
    if log and y.min() <= 0:
        raise ValueError("a logarithmic axis needs values above 0")
    low, high = (
        (math.floor(math.log10(y.min())), math.ceil(math.log10(y.max())))
        if log
        else (y.min(), y.max())
    )
    if not log:
        low, high = min(0.0, low), high + 0.05 * (high - min(0.0, low))
    return {
        "x": [float(x.min()), float(x.max())],
        "y": [float(low), float(high if high > low else low + 1)],
    }


def _still_slider(scene: dict):
    """The last frame."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots()
    frame = scene["frames"][-1]
    for name, colour, curve in zip(scene["series"], scene["colours"], frame["curves"], strict=True):
        ax.plot(curve["x"], curve["y"], label=name, color=colour)
        if "low" in curve:
            ax.fill_between(
                curve["x"], curve["low"], curve["high"], color=colour, alpha=0.18, linewidth=0
            )
    y = [10.0**v for v in scene["y"]] if scene["log"] else scene["y"]
    ax.set_yscale("log" if scene["log"] else "linear")
    ax.set(
        xlabel=scene["xlabel"],
        ylabel=scene["ylabel"],
        title=f"{scene['label']}: {frame['value']:g}",
        ylim=y,
    )
    ax.legend()
    return fig


def slider(
    frames: Mapping[float, Mapping[str, Sequence]],
    alt: str,
    *,
    label: str,
    xlabel: str,
    ylabel: str,
    log: bool = False,
) -> None:
    """Show curves for one value of a parameter with a slider for the others; the axes stay fixed.

    Args:
        frames: parameter value -> name of a curve -> (x, y) or (x, y, low, high), arrays; the same
            names in every frame.
        alt: alternative text of the figure.
        label: name of the parameter.
        xlabel, ylabel: axis labels.
        log: a logarithmic y axis.

    Raises:
        ValueError: if there are no curves, frames differ in their curves, a curve is not
            one-dimensional or not finite, or `alt` is too short.
    """
    ordered = {
        value: {name: _curve(c) for name, c in frames[value].items()} for value in sorted(frames)
    }
    if not ordered or not all(ordered.values()):
        raise ValueError("there is no curve to show")
    series = list(next(iter(ordered.values())))
    if any(list(frame) != series for frame in ordered.values()):
        raise ValueError("every frame needs the same curves, in the same order")
    scene = {
        "kind": "slider",
        **{"label": label, "xlabel": xlabel, "ylabel": ylabel, "log": bool(log)},
        "series": series,
        "colours": [viz.PALETTE[k % len(viz.PALETTE)] for k in range(len(series))],
        "frames": [
            {"value": value, "curves": list(frame.values())} for value, frame in ordered.items()
        ],
        **_limits(ordered, log),
    }
    _show(scene, _still_slider(scene), alt)
