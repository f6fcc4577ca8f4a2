"""Two figures that answer to the reader's hand, without a kernel and without the network (chapters 04 and 05).

`steps` walks through a block, a layer at a time, and shows what becomes of the tensor; `slider` shows curves for one setting at a
time. Both are drawn by `gadgets.js`, which lies in the cell's output with its data; where scripts do not run, a still picture of the
same is seen.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from posekit import viz
from posekit.errors import DataError
from posekit.models.inspect import multiply_adds


class Gadget:
    """A rendered gadget, as notebooks and pages show it.

    Args:
        scene: what `gadgets.js` draws; `kind` is "steps" or "slider".
        still: the picture for where scripts do not run.
        alt: its description.
    """

    def __init__(self, scene: dict, still: viz.Figure, alt: str):
        self.scene, self.still, self.alt = scene, still, alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        bundle = self.still._repr_mimebundle_()
        scene = json.dumps(self.scene, separators=(",", ":")).replace("<", "\\u003c")
        identity = hashlib.sha256(scene.encode()).hexdigest()[:8]
        script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8").rstrip()
        bundle["text/html"] = (
            f'<div class="posekit-gadget" data-gadget="{identity}" style="background: #fff; color: #222; border-radius: 8px; '
            f'padding: 10px; box-sizing: border-box">{bundle["text/html"]}</div>\n'
            f'<script>{script}("{identity}", {scene});</script>'
        )
        return bundle


def _show(scene: dict, still, alt: str) -> None:
    from IPython.display import display

    alt = " ".join(str(alt).split())
    display(Gadget(scene | {"alt": alt}, viz.figure(still, alt), alt))


# ---- through a block, step by step -----------------------------------------------------------------------------------------


def _operation(layer: keras.Layer) -> str:
    """What a layer does, in a few words."""
    if isinstance(layer, keras.layers.Conv2D):
        size, stride = layer.kernel_size[0], layer.strides[0]
        return f"convolution {size} × {size}" + (f", stride {stride}" if stride > 1 else "")
    if isinstance(layer, keras.layers.Dense):
        return "dense layer"
    words = {
        "InputLayer": "input",
        "BatchNormalization": "batch norm",
        "Add": "addition",
        "Concatenate": "concatenation",
        "ZeroPadding2D": "padding with zeros",
        "MaxPooling2D": "max pooling",
        "AveragePooling2D": "average pooling",
        "GlobalAveragePooling2D": "mean over all places",
        "Identity": "identity",
        "Flatten": "flattening",
    }
    if isinstance(layer, keras.layers.Activation):
        return {"relu": "ReLU"}.get(layer.activation.__name__, layer.activation.__name__)
    return words.get(type(layer).__name__, type(layer).__name__)


KEEPING = (
    keras.layers.BatchNormalization,
    keras.layers.Activation,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.ZeroPadding2D,
    keras.layers.Identity,
)
"""Layers that keep channels apart."""


def _sources(model: keras.Model) -> dict[str, list[tuple[str, int]]]:
    """Layer name -> what its output's channels are made of: (name of the layer they come from, how many), in order.

    A concatenation puts its inputs side by side; a norm, an activation and a pooling keep channels apart; all else mixes them.
    """
    found = {}
    for layer in model.layers:
        before = [found[tensor._keras_history.operation.name] for tensor in _inputs(layer)]
        if isinstance(layer, keras.layers.Concatenate):
            found[layer.name] = [part for parts in before for part in parts]
        elif isinstance(layer, KEEPING) and before and len(before[0]) > 1:
            found[layer.name] = before[0]
        else:
            found[layer.name] = [(layer.name, int(layer.output.shape[-1]))]
    return found


def _inputs(layer: keras.Layer) -> list:
    if isinstance(layer, keras.layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list | tuple) else [layer.input]


def _scene(model: keras.Model, layers: Sequence[tuple[str, str]]) -> dict:
    known = [layer.name for layer in model.layers]
    missing = [name for name, _ in layers if name not in known]
    if missing:
        some = ", ".join(known[:: max(1, len(known) // 8)])
        raise DataError(f"layer {missing[0]!r}", f"not in {model.name}", f"some that there are: {some}")
    work, made = multiply_adds(model), _sources(model)
    shown, steps, totals = {name for name, _ in layers}, [], [0, 0]
    colours: dict[str, int] = {}
    for name, sentence in layers:
        layer = model.get_layer(name)
        own = [layer.count_params(), work.get(name, 0)]
        totals = [a + b for a, b in zip(totals, own, strict=True)]
        parts = made[name]
        for source, _ in parts:
            colours.setdefault(source, len(colours))
        ways = [_way(tensor, shown) for tensor in _inputs(layer)]
        steps.append(
            {
                "name": name,
                "operation": _operation(layer),
                "shape": [int(n) for n in layer.output.shape[1:]],
                "parts": [[source, channels, colours[source]] for source, channels in parts],
                "ways": ways if len(ways) > 1 else [],
                "own": own,
                "totals": list(totals),
                "sentence": sentence,
            }
        )
    return {"kind": "steps", "steps": steps, "palette": [*viz.PALETTE]}


def _way(tensor, shown: set[str]) -> list:
    """[name, shape] of what comes in: the layer that made it, or, behind norms and ReLUs that are no steps, the one before them."""
    made = layer = tensor._keras_history.operation
    while layer.name not in shown and isinstance(layer, KEEPING):
        layer = _inputs(layer)[0]._keras_history.operation
    return [(layer if layer.name in shown else made).name, [int(n) for n in tensor.shape[1:]]]


def box_size(shape: Sequence[int]) -> tuple[float, float, float]:
    """Width, height and depth of the box that stands for a tensor, in units of the drawing.

    Square roots, so that 112 x 112 x 64 and 1 x 1 x 2048 are both seen in one drawing.

    Args:
        shape: (H, W, C), or (C,).
    """
    h, w, c = (1, 1, *shape) if len(shape) == 1 else shape
    return 11 * math.sqrt(w), 11 * math.sqrt(h), 7 * math.sqrt(c)


def _shape_words(shape: Sequence[int]) -> str:
    return " × ".join(str(n) for n in shape)


def _still_steps(scene: dict):
    """All steps below one another: name, operation, shape."""
    import matplotlib.pyplot as plt

    steps = scene["steps"]
    fig, ax = plt.subplots(figsize=(6.4, 0.5 + 0.36 * len(steps)))
    widest = max(math.sqrt(step["shape"][-1]) for step in steps)
    for row, step in enumerate(steps):
        left, scale = 0.0, 4.2 / widest / math.sqrt(step["shape"][-1])
        for _, channels, colour in step["parts"]:
            width = channels * scale
            ax.barh(row, width, left=left, height=0.62, color=viz.PALETTE[colour % len(viz.PALETTE)], edgecolor="white")
            left += width
        ax.text(left + 0.08, row, f"{step['operation']}: {_shape_words(step['shape'])}", va="center", fontsize=9)
    ax.set(xlim=(0, 8), ylim=(len(steps) - 0.4, -0.6))
    ax.set_axis_off()
    return fig


def steps(model: keras.Model, layers: Sequence[tuple[str, str]], alt: str) -> None:
    """Show a block as something to step through: the tensor after each layer, its shape, and what it cost so far.

    Args:
        model: a functional model with a fixed input size.
        layers: (name of a layer, a sentence on what it does), in the order of the steps.
        alt: says what the figure shows, for readers who do not see it.

    Raises:
        DataError: when the model has no layer of that name.
        ValueError: when `alt` says next to nothing.
    """
    scene = _scene(model, layers)
    _show(scene, _still_steps(scene), alt)


# ---- curves for one setting at a time --------------------------------------------------------------------------------------


def _curve(values: Sequence) -> dict:
    x, y, *band = (np.asarray(v, float) for v in values)
    if len(band) not in (0, 2) or any(v.shape != x.shape or v.ndim != 1 for v in (y, *band)):
        raise ValueError("a curve is (x, y) or (x, y, low, high), one-dimensional and equally long")
    rounded = {"x": x, "y": y, **dict(zip(("low", "high"), band, strict=False))}
    return {name: [float(f"{v:.4g}") for v in values] for name, values in rounded.items()}


def _limits(frames: Mapping, log: bool) -> dict:
    """The axes, which hold every frame: [low, high] of x and of y."""
    curves = [curve for frame in frames.values() for curve in frame.values()]
    x = np.concatenate([c["x"] for c in curves])
    y = np.concatenate([np.concatenate([c["y"], c.get("low", []), c.get("high", [])]) for c in curves])
    if log and y.min() <= 0:
        raise ValueError("a logarithmic axis needs values above 0")
    low, high = (math.floor(math.log10(y.min())), math.ceil(math.log10(y.max()))) if log else (y.min(), y.max())
    if not log:
        low, high = min(0.0, low), high + 0.05 * (high - min(0.0, low))
    return {"x": [float(x.min()), float(x.max())], "y": [float(low), float(high if high > low else low + 1)]}


def _still_slider(scene: dict):
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots()
    frame = scene["frames"][-1]
    for k, (name, curve) in enumerate(zip(scene["series"], frame["curves"], strict=True)):
        ax.plot(curve["x"], curve["y"], label=name, color=viz.PALETTE[k % len(viz.PALETTE)])
        if "low" in curve:
            ax.fill_between(
                curve["x"], curve["low"], curve["high"], color=viz.PALETTE[k % len(viz.PALETTE)], alpha=0.18
            )
    y = [10.0**v for v in scene["y"]] if scene["log"] else scene["y"]
    ax.set(xlabel=scene["xlabel"], ylabel=scene["ylabel"], title=f"{scene['label']}: {frame['value']:g}", ylim=y)
    ax.set_yscale("log" if scene["log"] else "linear")
    ax.legend()
    return fig


def slider(
    frames: Mapping[float, Mapping[str, Sequence]], alt: str, *, label: str, xlabel: str, ylabel: str, log: bool = False
) -> None:
    """Show curves for one setting, and let the reader slide to the others; the axes stay.

    Args:
        frames: the setting's value -> name of a curve -> (x, y) or (x, y, low, high), arrays; the same names in every frame.
        alt: says what the figure shows, for readers who do not see it.
        label: what the slider sets.
        xlabel, ylabel: of the axes.
        log: a logarithmic y axis.

    Raises:
        ValueError: when frames have different curves, a curve is not one-dimensional, or `alt` says next to nothing.
    """
    ordered = {value: {name: _curve(c) for name, c in frames[value].items()} for value in sorted(frames)}
    series = list(next(iter(ordered.values())))
    if any(list(frame) != series for frame in ordered.values()):
        raise ValueError("every frame needs the same curves, in the same order")
    scene = {
        "kind": "slider",
        "label": label,
        "xlabel": xlabel,
        "ylabel": ylabel,
        "log": log,
        "series": series,
        "palette": [*viz.PALETTE],
        "frames": [{"value": value, "curves": list(frame.values())} for value, frame in ordered.items()],
        **_limits(ordered, log),
    }
    _show(scene, _still_slider(scene), alt)
