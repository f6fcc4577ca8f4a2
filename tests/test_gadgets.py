"""The gadgets: what they say of a network is true, their script draws it, and hands, keys and ears can use them."""

import contextlib
import json
import re

import keras
import numpy as np
import pytest
from test_offline import WIDTHS, browser, html, opened  # noqa: F401

from posekit import gadgets, models
from posekit.errors import DataError
from posekit.models import densenet, resnet

ALT = "A block to step through, a layer at a time."


@pytest.fixture(scope="module")
def unit() -> keras.Model:
    image = keras.Input((16, 16, 8), name="x")
    return keras.Model(image, resnet.bottleneck_unit(image, 4, 2, name="unit"))


@pytest.fixture(scope="module")
def block() -> keras.Model:
    image = keras.Input((8, 8, 6), name="x")
    return keras.Model(image, densenet.dense_block(image, 2, 4, name="block"))


@pytest.fixture
def shown(monkeypatch) -> list:
    found = []
    monkeypatch.setattr("IPython.display.display", found.append)
    return found


def every(model: keras.Model) -> list[tuple[str, str]]:
    return [(layer.name, f"What {layer.name} does.") for layer in model.layers]


def scene_of(bundle: dict) -> dict:
    return json.loads(re.search(r'\("[0-9a-f]{8}", (\{.*\})\);</script>$', bundle["text/html"], re.S)[1])


FRAMES = {
    depth: {
        "plain": (np.arange(depth + 1), 10.0 ** np.arange(depth, -1, -1)),
        "v2": (np.arange(depth + 1), np.ones(depth + 1)),
    }
    for depth in (2, 5, 3)
}


def show_slider(frames=FRAMES, **options):
    gadgets.slider(frames, ALT, label="Blocks", xlabel="block", ylabel="gradient", **options)


def test_steps_count_what_the_network_costs(unit, shown):
    gadgets.steps(unit, every(unit), ALT)
    steps = scene_of(shown[0]._repr_mimebundle_())["steps"]
    assert [step["shape"] for step in steps] == [list(layer.output.shape[1:]) for layer in unit.layers]
    assert steps[-1]["totals"] == [unit.count_params(), sum(models.multiply_adds(unit).values())]
    by_name = {step["name"]: step for step in steps}
    assert by_name["unit_conv2"]["operation"] == "convolution 3 × 3, stride 2"
    assert by_name["unit_add"]["ways"] == [["unit_conv_proj_bn", [8, 8, 16]], ["unit_conv3_bn", [8, 8, 16]]]


def test_slabs_keep_their_source_and_colour_through_a_dense_block(block, shown):
    gadgets.steps(block, every(block), ALT)
    by_name = {step["name"]: step for step in scene_of(shown[0]._repr_mimebundle_())["steps"]}
    first, last = by_name["block_layer1_out"]["parts"], by_name["block_layer2_out"]["parts"]
    assert [part[:2] for part in last] == [["x", 6], ["block_layer1_conv2", 4], ["block_layer2_conv2", 4]]
    assert last[:2] == first and len({part[2] for part in last}) == 3
    assert by_name["block_layer2_preact1_relu"]["parts"] == first, "a norm and a ReLU keep channels apart"
    assert [part[0] for part in by_name["block_layer2_conv1"]["parts"]] == ["block_layer2_conv1"]
    assert all(sum(part[1] for part in step["parts"]) == step["shape"][-1] for step in by_name.values())


def test_a_way_is_named_after_the_nearest_step(block, shown):
    gadgets.steps(block, [("x", "In."), ("block_layer1_out", "Out.")], ALT)
    assert [way[0] for way in scene_of(shown[0]._repr_mimebundle_())["steps"][1]["ways"]] == ["x", "block_layer1_conv2"]


def test_output_is_described_repeatable_and_asks_nobody(unit, shown):
    for _ in range(2):
        gadgets.steps(unit, every(unit), ALT)
        show_slider(log=True)
    bundles = [gadget._repr_mimebundle_() for gadget in shown]
    assert bundles[:2] == bundles[2:]
    for bundle in bundles:
        assert bundle["text/plain"] == ALT and f'alt="{ALT}"' in bundle["text/html"]
        assert "http" not in bundle["text/html"].replace("http://www.w3.org/2000/svg", "")


def test_a_layer_that_is_not_there_is_named(unit):
    with pytest.raises(DataError, match="unit_conv9"):
        gadgets.steps(unit, [("unit_conv9", "?")], ALT)


def test_a_figure_needs_a_description(unit):
    with pytest.raises(ValueError, match="alt text"):
        gadgets.steps(unit, every(unit), "")


def test_text_cannot_end_the_script(unit, shown):
    gadgets.steps(unit, [("x", "</script><b>")], ALT)
    assert shown[0]._repr_mimebundle_()["text/html"].count("</script>") == 1


def test_frames_are_sorted_and_share_their_axes(shown):
    show_slider(log=True)
    scene = scene_of(shown[0]._repr_mimebundle_())
    assert [frame["value"] for frame in scene["frames"]] == [2, 3, 5] and scene["series"] == ["plain", "v2"]
    assert scene["x"] == [0, 5] and scene["y"] == [0, 5]


@pytest.mark.parametrize(
    ("frames", "options", "what"),
    [
        ({1: {"a": ([0, 1], [1, 2])}, 2: {"b": ([0, 1], [1, 2])}}, {}, "same curves"),
        ({1: {"a": ([0, 1], [1, 2, 3])}}, {}, "equally long"),
        ({1: {"a": ([0, 1], [0, 2])}}, {"log": True}, "above 0"),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(frames, options, what):
    with pytest.raises(ValueError, match=what):
        show_slider(frames, **options)


# ---- in a browser ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def page_with(browser, shown, tmp_path, scheme="light", size="desktop"):  # noqa: F811
    bundle = shown[-1]._repr_mimebundle_()
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    (tmp_path / "page.html").write_text(
        f"{head}<body>{bundle['text/html']}<p style='height: 3000px'>after</p>", "utf-8"
    )
    with opened(browser, scheme, size) as page:
        page.goto((tmp_path / "page.html").as_uri())
        page.scene = scene_of(bundle)
        yield page
        assert page.wrong == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.browser
@pytest.mark.parametrize("size", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_block_is_stepped_through_with_mouse_and_keys(browser, block, shown, tmp_path, scheme, size):  # noqa: F811
    gadgets.steps(block, every(block), ALT)
    with page_with(browser, shown, tmp_path, scheme, size) as page:
        assert page.locator("img").is_hidden()
        spoken, back, forth = page.locator("[aria-live]"), page.get_by_text("Back"), page.get_by_text("Next")
        assert back.is_disabled() and page.locator("svg[role=img]").get_attribute("aria-label") == ALT
        before = page.locator(".posekit-gadget").bounding_box()["height"]
        for step in page.scene["steps"]:
            words = spoken.text_content()
            assert " × ".join(map(str, step["shape"])) in words and step["sentence"] in words and step["name"] in words
            assert page.locator("svg [data-shape]").get_attribute("data-shape") == "x".join(map(str, step["shape"]))
            assert page.locator("svg [data-shape] path").count() == 3 * len(step["parts"])
            if not forth.is_disabled():
                forth.click()
        assert forth.is_disabled()
        assert page.locator(".posekit-gadget").bounding_box()["height"] <= before + 60
        back.focus()
        page.keyboard.press("Home")
        assert page.get_by_text(f"Step 1 of {len(page.scene['steps'])}").is_visible()
        forth.focus()
        page.keyboard.press("ArrowRight")
        assert page.get_by_text("Step 2 of").is_visible() and page.evaluate("window.scrollY") == 0
        page.keyboard.press("Enter")
        assert page.get_by_text("Step 3 of").is_visible()


@pytest.mark.browser
def test_boxes_are_as_large_as_python_says(browser, unit, shown, tmp_path):  # noqa: F811
    gadgets.steps(unit, every(unit), ALT)
    with page_with(browser, shown, tmp_path) as page:
        front = page.locator("svg [data-shape] path").nth(2).get_attribute("d")
        points = np.array([[float(v) for v in point.split()] for point in re.split("[ML]", front.rstrip("Z"))[1:]])
        width, height, _ = gadgets.box_size((16, 16, 8))
        np.testing.assert_allclose(np.ptp(points[:, 0]), 0.55 * width, atol=0.11)
        np.testing.assert_allclose(points[3, 1] - points[0, 1], height, atol=0.11)


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "size"), [("light", "desktop"), ("dark", "phone")])
def test_the_slider_shows_the_curve_of_its_value(browser, shown, tmp_path, scheme, size):  # noqa: F811
    show_slider(log=True)
    with page_with(browser, shown, tmp_path, scheme, size) as page:
        bar = page.locator("input[type=range]")
        assert bar.get_attribute("aria-valuetext") == "Blocks 5"
        bar.focus()
        page.keyboard.press("Home")
        assert bar.get_attribute("aria-valuetext") == "Blocks 2" and page.evaluate("window.scrollY") == 0
        path = page.locator('[data-series="plain"]').get_attribute("d")
        points = np.array([[float(v) for v in point.split()] for point in re.split("[ML]", path)[1:]])
        assert len(points) == 3
        np.testing.assert_allclose(np.diff(points[:, 1]), np.diff(points[:, 1])[0], atol=0.11)  # tenfold each: straight
        assert "plain: 100 at 0, 1 at 2" in page.locator("[aria-live]").text_content()
        page.keyboard.press("ArrowRight")
        assert bar.get_attribute("aria-valuetext") == "Blocks 3"
        assert len(re.findall("[ML]", page.locator('[data-series="plain"]').get_attribute("d"))) == 4


@pytest.mark.browser
def test_the_picture_stays_where_scripts_do_not_run(browser, unit, shown, tmp_path):  # noqa: F811
    gadgets.steps(unit, every(unit), ALT)
    (tmp_path / "page.html").write_text(shown[0]._repr_mimebundle_()["text/html"], "utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("img").is_visible() and page.locator("svg").count() == 0
    context.close()
