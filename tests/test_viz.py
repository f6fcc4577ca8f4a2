"""Figures: always with alt text, always small, the same bytes each time; poses drawn where they
are, sides told apart by anyone."""

import base64
import io
import itertools

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from posekit import viz
from posekit.skeleton import COCO17, LSP14


@pytest.fixture(autouse=True)
def house_style():
    with matplotlib.rc_context():
        viz.style()
        yield
    plt.close("all")


@pytest.fixture
def displayed(monkeypatch):
    """What `show` hands to the notebook."""
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    return shown


def noise(side=336, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def pose(seed=0, side=100):
    return np.random.default_rng(seed).uniform(10, side - 10, (17, 2))


@pytest.mark.parametrize("alt", ["", "   ", "\n", "a figure", None])
def test_a_figure_without_alt_text_is_refused(alt, displayed):
    fig, _ = plt.subplots()
    with pytest.raises(ValueError, match="alt text"):
        viz.show(fig, alt)
    assert displayed == []


def test_show_gives_picture_and_description_and_closes(displayed):
    fig, ax = plt.subplots(figsize=(5, 2))
    ax.plot([0, 1])
    alt = 'A line that <rises>, from 0 to "1"\n and no further.'
    viz.show(fig, alt)
    assert not plt.fignum_exists(fig.number)
    bundle, metadata = displayed[0]._repr_mimebundle_()
    said = 'A line that <rises>, from 0 to "1" and no further.'
    assert bundle["text/plain"] == said == repr(displayed[0])
    assert set(bundle) == {"image/png", "text/plain"}, "the figure is stored once"
    assert metadata == {"image/png": {"width": 480, "height": 192}}
    data = base64.b64decode(bundle["image/png"])
    assert Image.open(io.BytesIO(data)).size == (800, 320)
    tag = displayed[0].html()
    assert 'alt="A line that &lt;rises&gt;, from 0 to &quot;1&quot; and no further."' in tag
    assert 'width="480" height="192"' in tag and bundle["image/png"] in tag


def test_pictures_stay_small_even_when_they_are_noise():
    fig = viz.gallery([noise(seed=i) for i in range(4)])
    assert len(viz.png(fig)) <= viz.MAX_PNG_BYTES < 100_000
    with pytest.raises(ValueError, match="does not fit"):
        viz.png(fig, limit=5_000)


def test_few_colours_keep_those_of_the_poses():
    fig = viz.gallery([noise(seed=i) for i in range(4)], [pose(side=336)] * 4)
    picture = np.asarray(Image.open(io.BytesIO(viz.png(fig))).convert("RGB")).astype(int)
    for colour in (viz.LEFT, viz.RIGHT):
        assert len(near(picture, colour, tolerance=0)) > 50


def test_the_same_figure_gives_the_same_bytes():
    def draw():
        fig, ax = plt.subplots()
        viz.draw_image(ax, noise(60))
        viz.draw_pose(ax, pose(side=60), labels=True)
        return viz.png(fig)

    assert draw() == draw()


def rendered(fig):
    fig.canvas.draw()
    return np.asarray(fig.canvas.buffer_rgba())[..., :3].astype(int)


def bare_axes(side=100):
    fig = plt.figure(figsize=(4, 4), dpi=100, layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
    return fig, ax


def near(picture, colour, tolerance=12):
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.argwhere(np.all(np.abs(picture - rgb) <= tolerance, axis=-1))


@pytest.mark.parametrize("draw", ["draw_pose", "draw_on_image"])
def test_left_is_orange_right_is_blue_and_in_place(draw):
    points = np.full((17, 2), 50.0)
    points[COCO17.index("left_wrist")] = (80, 20)
    points[COCO17.index("right_wrist")] = (20, 70)
    flags = np.zeros(17, int)
    flags[[COCO17.index("left_wrist"), COCO17.index("right_wrist")]] = 2
    if draw == "draw_pose":
        fig, ax = bare_axes()
        viz.draw_pose(ax, points, flags)
        picture = rendered(fig)
        scale = 4
    else:
        picture = viz.draw_on_image(
            np.full((400, 400, 3), 128, np.uint8), points * 4 + 1.5, flags
        ).astype(int)
        scale = 4
    for colour, (x, y) in ((viz.LEFT, (80, 20)), (viz.RIGHT, (20, 70))):
        row, column = near(picture, colour).mean(axis=0)
        assert abs(column - (x * scale + 1.5)) < 1 and abs(row - (y * scale + 1.5)) < 1


@pytest.mark.parametrize("hidden", [0, np.nan])
def test_what_is_not_known_is_not_drawn(hidden):
    points = pose()
    flags = np.full(17, 2)
    arm = [COCO17.index("left_elbow"), COCO17.index("left_wrist")]
    if hidden == 0:
        flags[arm] = 0
    else:
        points[arm] = np.nan
    blank = np.zeros((100, 100, 3), np.uint8)
    kept = np.ones(17, bool)
    kept[arm] = False
    expected = viz.draw_on_image(blank, np.nan_to_num(points), kept)
    np.testing.assert_array_equal(viz.draw_on_image(blank, points, flags), expected)
    fig, ax = bare_axes()
    viz.draw_pose(ax, points, flags)
    joints = [line for line in ax.lines if line.get_marker() == "o"]
    assert len(joints) == 15 and len(ax.lines) - 15 == len(COCO17.limbs) - 2


def test_an_occluded_joint_is_hollow():
    fig, ax = bare_axes()
    flags = np.full(17, 2)
    flags[COCO17.index("nose")] = 1
    viz.draw_pose(ax, pose(), flags)
    joints = [line for line in ax.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() for line in joints].count("white") == 1


def test_inputs_are_not_changed():
    image = noise(80)
    points = pose(side=80)
    flags = np.full(17, 2)
    before = [a.copy() for a in (image, points, flags)]
    drawn = viz.draw_on_image(image, points, flags)
    viz.gallery([image], [points], ["one"], visible=[flags], truths=[points])
    for a, b in zip((image, points, flags), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (
        drawn.shape == image.shape and drawn.dtype == np.uint8 and not np.array_equal(drawn, image)
    )


def test_a_gallery_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no images"):
        viz.gallery([])


def test_points_far_outside_do_not_break_the_drawing():
    points = pose()
    points[COCO17.index("left_wrist")] = (1e9, -1e9)
    drawn = viz.draw_on_image(np.zeros((50, 50, 3), np.uint8), points)
    assert drawn.shape == (50, 50, 3)


def test_other_skeletons_and_wrong_sizes():
    fig, ax = bare_axes()
    viz.draw_pose(ax, pose()[:14], skeleton=LSP14, labels=["head_top"])
    assert [t.get_text() for t in ax.texts] == ["head_top"]
    with pytest.raises(ValueError, match="COCO17 wants"):
        viz.draw_pose(ax, pose()[:14])


def test_joint_colours_follow_the_mirror():
    colours = viz.joint_colours()
    swapped = [colours[i] for i in COCO17.flip_indices]
    exchange = {viz.LEFT: viz.RIGHT, viz.RIGHT: viz.LEFT, viz.MIDDLE: viz.MIDDLE}
    assert swapped == [exchange[c] for c in colours]


#: Machado, Oliveira & Fernandes, "A physiologically-based model for simulation of color vision
#: deficiency", 2009, severity 1.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(colour, blindness):
    from skimage.color import rgb2lab

    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(BLINDNESS[blindness]) @ linear, 0, 1)
    return rgb2lab(np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_colours_are_told_apart_with_any_colour_vision(blindness):
    sides = [lab(c, blindness) for c in (viz.LEFT, viz.RIGHT)]
    assert abs(sides[0][0] - sides[1][0]) > 15, "left and right differ in lightness too"
    assert np.linalg.norm(sides[0] - sides[1]) > 40
    for a, b in itertools.combinations(viz.PALETTE[:4], 2):
        assert np.linalg.norm(lab(a, blindness) - lab(b, blindness)) > 12, (a, b)


def test_a_table_is_html_and_aligned_text():
    table = viz.Table([{"net": "a <b>", "PCK": "0.50"}, {"net": "c", "PCK": "10.5"}])
    assert repr(table) == "net     PCK\na <b>  0.50\nc      10.5"
    html = table._repr_html_()
    assert html.count("<tr>") == 3 and "a &lt;b&gt;" in html
    assert '<td style="text-align: right">0.50</td>' in html and "<td>c</td>" in html


@pytest.mark.parametrize("rows", [[], [{"a": 1}, {"b": 2}]])
def test_a_table_needs_rows_with_equal_headings(rows):
    with pytest.raises(ValueError, match="headings"):
        viz.Table(rows)
