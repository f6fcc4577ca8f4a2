"""Draw poses and figures, each with alt text (used in every chapter).

Left and right differ in colour *and* lightness (Okabe and Ito's palette): orange is the person's
own left, blue the right. Figures are white cards, so they read the same on a light and on a dark
page.
"""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np

from posekit.skeleton import COCO17, Skeleton

LEFT = "#E69F00"
RIGHT = "#0072B2"
MIDDLE = "#6B6B6B"
GREEN = "#009E73"
RED = "#D55E00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
YELLOW = "#F0E442"
BLACK = "#1A1A1A"
PALETTE = (RIGHT, RED, GREEN, PURPLE, LEFT, SKY, BLACK)
"""Colours of lines and bars, in order, distinct with any kind of colour blindness (Okabe & Ito,
2008)."""

MAX_PNG_BYTES = 75_000
_PAGE_DPI = 96  # CSS pixels per inch: a 6.4 inch figure is shown 614 px wide


def style() -> None:
    """Set Matplotlib's defaults for the book. `posekit.notebook.setup` calls it."""
    import matplotlib as mpl

    mpl.rcParams.update(
        {
            "axes.axisbelow": True,
            "axes.edgecolor": "#444444",
            "axes.grid": True,
            "axes.labelcolor": "#222222",
            "axes.prop_cycle": mpl.cycler(color=PALETTE),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "axes.titleweight": "bold",
            "figure.constrained_layout.use": True,
            "figure.dpi": _PAGE_DPI,
            "figure.facecolor": "white",
            "figure.figsize": (6.4, 3.6),
            "font.size": 10,
            "grid.color": "#DDDDDD",
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "lines.linewidth": 2,
            "savefig.facecolor": "white",
            "text.color": "#222222",
            "xtick.color": "#444444",
            "ytick.color": "#444444",
        }
    )


# ---- showing -------------------------------------------------------------------------------------


def _few_colours(picture, colours: int):
    """Reduce an image to its most common colours, always including those of the poses."""
    from PIL import Image, ImageColor
    from scipy.spatial import cKDTree

    kept = [ImageColor.getrgb(c) for c in (*PALETTE, MIDDLE, "#FFFFFF")]
    common = picture.quantize(colours - len(kept), method=Image.Quantize.FASTOCTREE).getpalette(
        "RGB"
    )
    palette = np.concatenate([kept, np.reshape(common, (-1, 3))])[:colours].astype(np.int32)
    rgb = np.asarray(picture, np.int32)
    seen, where = np.unique(rgb @ (65536, 256, 1), return_inverse=True)
    seen = np.stack([seen >> 16, seen >> 8 & 255, seen & 255], axis=-1)
    nearest = cKDTree(palette).query(seen)[1]
    out = Image.fromarray(nearest.astype(np.uint8)[where].reshape(rgb.shape[:2]), mode="P")
    out.putpalette(palette.astype(np.uint8).tobytes())
    return out


def png(fig, dpi: int = 160, limit: int = MAX_PNG_BYTES) -> bytes:
    """Render a figure as PNG of at most `limit` bytes.

    With 256 colours or 128, and with fewer pixels until it fits.

    Args:
        fig: a Matplotlib figure.
        dpi: pixels per inch to start with.
        limit: the largest size in bytes.

    Returns:
        The file's bytes, without date and software version.

    Raises:
        ValueError: if it does not fit even with a third of the pixels per inch.
    """
    from PIL import Image

    share = 1.0
    while share >= 0.3:
        raw = io.BytesIO()
        fig.savefig(raw, format="png", dpi=dpi * share)
        picture = Image.open(raw).convert("RGB")
        for colours in (256, 128):
            out = io.BytesIO()
            _few_colours(picture, colours).save(out, format="PNG", optimize=True)
            if out.tell() <= limit:
                return out.getvalue()
        share *= min(0.9, 0.98 * (limit / out.tell()) ** 0.5)
    raise ValueError(f"the figure does not fit into {limit} bytes: show fewer or smaller images")


class Figure:
    """A rendered figure, stored in notebooks as PNG with the alt text as plain text.

    Args:
        data: PNG bytes.
        alt: alt text, one or two sentences.
        width: width on the page in CSS pixels.
        height: height on the page in CSS pixels.
    """

    def __init__(self, data: bytes, alt: str, width: int, height: int):
        self.data = data
        self.alt = alt
        self.width = width
        self.height = height

    def __repr__(self) -> str:
        return self.alt

    def html(self) -> str:
        """Return an `<img>` element that holds the PNG as a data URI."""
        encoded = base64.b64encode(self.data).decode()
        return (
            f'<img class="posekit-figure" alt="{html.escape(self.alt)}" '
            f'width="{self.width}" height="{self.height}" '
            f'style="max-width: 100%; height: auto" src="data:image/png;base64,{encoded}">'
        )

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        """Return what a notebook stores; `book/tools/sphinx_book.py` makes the text the `alt`."""
        bundle = {"image/png": base64.b64encode(self.data).decode(), "text/plain": self.alt}
        return bundle, {"image/png": {"width": self.width, "height": self.height}}


def figure(fig, alt: str) -> Figure:
    """Render a Matplotlib figure with its alt text, and close it.

    Args:
        fig: a Matplotlib figure.
        alt: says what the figure shows, for readers who do not see it.

    Raises:
        ValueError: if `alt` has fewer than 15 characters.
    """
    alt = " ".join(str(alt).split())
    if len(alt) < 15:
        raise ValueError(f"alt text {alt!r}: say in a sentence what the figure shows")
    import matplotlib.pyplot as plt

    width, height = (round(float(inches) * _PAGE_DPI) for inches in fig.get_size_inches())
    rendered = Figure(png(fig), alt, width, height)
    plt.close(fig)
    return rendered


def show(fig, alt: str) -> None:
    """Display a figure with its alt text, and close it; see `figure`.

    Args:
        fig: a Matplotlib figure.
        alt: says what the figure shows.
    """
    from IPython.display import display

    display(figure(fig, alt))


class Table:
    """A small table, HTML on the page and aligned text elsewhere.

    Args:
        rows: one dict per row, column heading -> cell, all with the same headings. Cells are
            formatted by the caller; those that begin with a digit or a sign are set flush right.

    Raises:
        ValueError: if there are no rows, or their headings differ.
    """

    def __init__(self, rows: Sequence[dict]):
        if not rows or any(list(row) != list(rows[0]) for row in rows):
            raise ValueError("a table needs rows, all with the same headings in the same order")
        self.heading = [str(name) for name in rows[0]]
        self.cells = [[str(cell) for cell in row.values()] for row in rows]

    def __repr__(self) -> str:
        lines = [self.heading, *self.cells]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        right = [_is_number(cell) for cell in self.cells[0]]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if flush else cell.ljust(width)
                for cell, width, flush in zip(line, widths, right, strict=True)
            ).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        right = [_is_number(cell) for cell in self.cells[0]]

        def row(cells: list[str], tag: str) -> str:
            sides = (' style="text-align: right"' if flush else "" for flush in right)
            parts = zip(cells, sides, strict=True)
            return "".join(f"<{tag}{side}>{html.escape(c)}</{tag}>" for c, side in parts)

        body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in self.cells)
        head = row(self.heading, "th")
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _is_number(cell: str) -> bool:
    return cell[:1] in tuple("0123456789+-−.")


def show_table(rows: Sequence[dict]) -> None:
    """Display a small table; see `Table`.

    Args:
        rows: one dict per row, column heading -> formatted cell.
    """
    from IPython.display import display

    display(Table(rows))


# ---- poses ---------------------------------------------------------------------------------------


def _side_colour(*names: str) -> str:
    if all(n.startswith("left_") for n in names):
        return LEFT
    if all(n.startswith("right_") for n in names):
        return RIGHT
    sides = {n.split("_")[0] for n in names} & {"left", "right"}
    return MIDDLE if len(sides) != 1 else (LEFT if "left" in sides else RIGHT)


def joint_colours(skeleton: Skeleton = COCO17) -> list[str]:
    """Return one colour per joint, K hex strings.

    Orange for the person's left, blue for the right, grey for the middle.
    """
    return [_side_colour(name) for name in skeleton.joints]


def limb_colours(skeleton: Skeleton = COCO17) -> list[str]:
    """Return one colour per limb, in the order of `skeleton.limbs`; see `joint_colours`."""
    return [_side_colour(a, b) for a, b in skeleton.limbs]


def _flags(keypoints: np.ndarray, visible: np.ndarray | None) -> np.ndarray:
    """(K,) int: 0 not drawn, 1 hollow, 2 solid. A bool array draws (solid) or does not."""
    if visible is None:
        flags = np.full(len(keypoints), 2)
    else:
        visible = np.asarray(visible)
        flags = np.where(visible, 2, 0) if visible.dtype == bool else visible.astype(int)
    return np.where(np.all(np.isfinite(keypoints), axis=-1), flags, 0)


def draw_pose(
    ax,
    keypoints: np.ndarray,
    visible: np.ndarray | None = None,
    skeleton: Skeleton = COCO17,
    labels: bool | Sequence[str] = False,
    *,
    colour: str | None = None,
    linestyle: str = "-",
    size: float = 1.0,
    alpha: float = 1.0,
    label: str | None = None,
) -> None:
    """Draw one pose into Matplotlib axes.

    Args:
        ax: the axes; the y axis of images points down.
        keypoints: (K, 2) in the axes' units.
        visible: (K,) flags as in COCO: 0 is left out, 1 (occluded) is hollow, 2 is solid; or bool;
            None draws all.
        skeleton: names, limbs and sides.
        labels: write the joints' names next to them: all, none, or those that are listed.
        colour: one colour for the whole pose, e.g. to tell truth from prediction; None: by the
            person's side.
        linestyle: of the limbs.
        size: 1 is right for one person some 3 inches high.
        alpha: opacity, 0 ... 1.
        label: name in the legend.

    Raises:
        ValueError: if the number of keypoints is not the skeleton's.
    """
    from matplotlib import patheffects

    points = np.asarray(keypoints, np.float64)
    if points.shape != (len(skeleton), 2):
        raise ValueError(
            f"keypoints have shape {points.shape}, {skeleton.name} wants ({len(skeleton)}, 2)"
        )
    flags = _flags(points, visible)
    halo = [
        patheffects.Stroke(linewidth=2.2 * size + 1.6, foreground="white", alpha=0.75 * alpha),
        patheffects.Normal(),
    ]
    for a, b in skeleton.limb_indices:
        if flags[a] and flags[b]:
            ax.plot(
                *points[[a, b]].T,
                color=colour or _side_colour(skeleton.joints[a], skeleton.joints[b]),
                linewidth=2.2 * size,
                linestyle=linestyle
                if flags[a] == flags[b] == 2 or linestyle != "-"
                else (0, (3, 1.5)),
                alpha=alpha,
                path_effects=halo,
                zorder=3,
            )
    for j, name in enumerate(skeleton.joints):
        if not flags[j]:
            continue
        c = colour or _side_colour(name)
        ax.plot(
            *points[j],
            marker="o",
            markersize=5.5 * size,
            markeredgewidth=1.6 * size if flags[j] == 1 else 0.8,
            markerfacecolor="white" if flags[j] == 1 else c,
            markeredgecolor=c if flags[j] == 1 else "white",
            alpha=alpha,
            zorder=4,
        )
        if labels is True or (labels and name in labels):
            text = ax.annotate(
                name,
                points[j],
                xytext=(6, 3),
                textcoords="offset points",
                annotation_clip=True,
                fontsize=7.5,
                color="#111111",
                zorder=5,
            )
            text.set_path_effects([patheffects.withStroke(linewidth=2.2, foreground="white")])
    if label is not None:
        ax.plot(
            [],
            [],
            color=colour or LEFT,
            linestyle=linestyle,
            linewidth=2.2,
            marker="o",
            label=label,
        )


def draw_box(
    ax, bbox: np.ndarray, colour: str = GREEN, label: str | None = None, linestyle: str = "-"
) -> None:
    """Draw a box (x, y, w, h) of pixel edges into axes whose pixel centres are integers."""
    from matplotlib.patches import Rectangle

    x, y, w, h = (float(v) for v in bbox)
    ax.add_patch(
        Rectangle(
            (x - 0.5, y - 0.5),
            w,
            h,
            fill=False,
            edgecolor=colour,
            lw=2,
            label=label,
            ls=linestyle,
            zorder=3,
        )
    )


def draw_image(ax, image: np.ndarray, title: str = "") -> None:
    """Show an image (H, W, 3) uint8 in axes, without ticks, in its own proportions."""
    ax.imshow(image)
    ax.set(
        xlim=(-0.5, image.shape[1] - 0.5),
        ylim=(image.shape[0] - 0.5, -0.5),
        xticks=[],
        yticks=[],
        title=title,
    )
    ax.set_autoscale_on(False)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def gallery(
    images: Sequence[np.ndarray],
    poses: Sequence[np.ndarray] | None = None,
    titles: Sequence[str] | None = None,
    *,
    visible: Sequence[np.ndarray] | None = None,
    truths: Sequence[np.ndarray] | None = None,
    columns: int = 4,
    side: float = 1.9,
    skeleton: Skeleton = COCO17,
):
    """Draw images in rows, each with its pose.

    Args:
        images: N images, (H, W, 3) uint8.
        poses: N poses, (K, 2) in their image's pixels.
        titles: N short titles.
        visible: N flag arrays (K,), see `draw_pose`.
        truths: N poses to draw below in dashed black, to compare with.
        columns: images per row.
        side: width of an image, inches.
        skeleton: of the poses.

    Returns:
        The Matplotlib figure; hand it to `show`.

    Raises:
        ValueError: if there are no images.
    """
    import matplotlib.pyplot as plt

    if not len(images):
        raise ValueError("there are no images to show, expected at least one")
    rows = -(-len(images) // columns)
    tallest = max(image.shape[0] / image.shape[1] for image in images)
    height = side * tallest + (0.3 if titles else 0.08)
    fig, axes = plt.subplots(rows, columns, figsize=(columns * side, rows * height), squeeze=False)
    for ax in axes.flat[len(images) :]:
        ax.set_axis_off()
    for i, image in enumerate(images):
        ax = axes.flat[i]
        draw_image(ax, image)
        if titles:
            ax.set_title(titles[i], fontsize=8.5, fontweight="normal")
        flags = visible[i] if visible is not None else None
        if truths is not None:
            draw_pose(ax, truths[i], flags, skeleton, colour=BLACK, linestyle=":", size=side / 3)
        if poses is not None:
            draw_pose(ax, poses[i], None if truths is not None else flags, skeleton, size=side / 3)
    return fig


def draw_on_image(
    image: np.ndarray,
    keypoints: np.ndarray,
    visible: np.ndarray | None = None,
    skeleton: Skeleton = COCO17,
) -> np.ndarray:
    """Draw a pose on a copy of an image, without Matplotlib: for files and video.

    Args:
        image: (H, W, 3) uint8 RGB.
        keypoints: (K, 2) pixels.
        visible: (K,) flags, see `draw_pose`.
        skeleton: names, limbs and sides.

    Returns:
        A new (H, W, 3) uint8 RGB image. Points outside the image are cut off, not moved.
    """
    import cv2

    canvas = np.ascontiguousarray(image).copy()
    points = np.asarray(keypoints, np.float64)
    flags = _flags(points, visible)
    unit = max(1.0, min(canvas.shape[:2]) / 220)
    bits = 4
    limit = 2**20

    def at(j: int) -> tuple[int, int]:
        x, y = np.clip(np.round(points[j] * 2**bits), -limit, limit).astype(int)
        return int(x), int(y)

    def rgb(colour: str) -> tuple[int, int, int]:
        return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))

    def thick(share: float) -> int:
        return max(1, round(share * unit))

    for width, plain in ((thick(3.6), "#FFFFFF"), (thick(2), None)):
        for a, b in skeleton.limb_indices:
            if flags[a] and flags[b]:
                colour = plain or _side_colour(skeleton.joints[a], skeleton.joints[b])
                cv2.line(canvas, at(a), at(b), rgb(colour), width, cv2.LINE_AA, bits)
    for j, name in enumerate(skeleton.joints):
        if flags[j]:
            outer, inner = (
                ("#FFFFFF", _side_colour(name))
                if flags[j] == 2
                else (_side_colour(name), "#FFFFFF")
            )
            for radius, colour in ((3.4, outer), (2.3, inner)):
                cv2.circle(
                    canvas,
                    at(j),
                    round(radius * unit * 2**bits),
                    rgb(colour),
                    -1,
                    cv2.LINE_AA,
                    bits,
                )
    return canvas
