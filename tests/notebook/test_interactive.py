"""Interactive figures: correct numbers, drawn by their script, usable by mouse, keyboard and screen
reader."""

import contextlib
import json
import re

import keras
import numpy as np
import pytest
from test_offline import WIDTHS, html, opened, outside  # noqa: F401

from posekit import models
from posekit.errors import DataError
from posekit.models import densenet, resnet
from posekit.notebook import interactive

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
    return json.loads(
        re.search(r'\("[0-9a-f]{8}", (\{.*\})\);</script>$', bundle["text/html"], re.S)[1]
    )


FRAMES = {
    depth: {
        "plain": (np.arange(depth + 1), 10.0 ** np.arange(depth, -1, -1)),
        "v2": (np.arange(depth + 1), np.ones(depth + 1)),
    }
    for depth in (2, 5, 3)
}


def show_slider(frames=FRAMES, **options):
    interactive.slider(frames, ALT, label="Blocks", xlabel="block", ylabel="gradient", **options)


def test_steps_count_what_the_network_costs(unit, shown):
    interactive.steps(unit, every(unit), ALT)
    steps = scene_of(shown[0]._repr_mimebundle_())["steps"]
    work = models.multiply_adds(unit)
    for step, layer in zip(steps, unit.layers, strict=True):
        assert step["shape"] == list(layer.output.shape[1:])
        assert step["own"] == [layer.count_params(), work.get(layer.name, 0)]
    assert steps[-1]["totals"] == [unit.count_params(), sum(work.values())]
    by_name = {step["name"]: step for step in steps}
    assert by_name["unit_conv2"]["operation"] == "3 × 3 convolution, stride 2"
    ways = [[way["name"], way["shape"]] for way in by_name["unit_add"]["ways"]]
    assert ways == [["unit_conv_proj_bn", [8, 8, 16]], ["unit_conv3_bn", [8, 8, 16]]]


def test_layers_that_are_left_out_cost_all_the_same_and_those_before_the_first_step_do_not(
    unit, block, shown
):
    interactive.steps(unit, [("x", "In."), ("unit_out", "Out.")], ALT)
    interactive.steps(
        block, [("block_layer1_out", "In."), ("block_layer2_conv1", "The next.")], ALT
    )
    first, second = (scene_of(figure._repr_mimebundle_())["steps"] for figure in shown)
    assert first[1]["totals"][0] == unit.count_params() and first[1]["own"] == [0, 0]
    new = ("block_layer2_preact1_bn", "block_layer2_conv1")
    assert second[1]["totals"][0] == sum(block.get_layer(name).count_params() for name in new)
    assert second[0]["ways"] == [], "before the first step there is nothing to show"


def test_slabs_keep_their_source_and_colour_through_a_dense_block(block, shown):
    interactive.steps(block, every(block), ALT)
    by_name = {step["name"]: step for step in scene_of(shown[0]._repr_mimebundle_())["steps"]}
    first = by_name["block_layer1_out"]["parts"]
    last = by_name["block_layer2_out"]["parts"]
    assert [part[:2] for part in last] == [
        ["x", 6],
        ["block_layer1_conv2", 4],
        ["block_layer2_conv2", 4],
    ]
    assert last[:2] == first and len({part[2] for part in last}) == 3
    assert by_name["block_layer2_preact1_relu"]["parts"] == first, (
        "a norm and a ReLU keep channels apart"
    )
    assert by_name["block_layer2_conv2"]["parts"] == last[2:] and by_name["x"]["parts"] == last[:1]
    assert by_name["block_layer2_conv1"]["parts"] == [
        ["block_layer2_conv1", 16, interactive.PASSING]
    ]
    assert [way["parts"] for way in by_name["block_layer2_out"]["ways"]] == [first, last[2:]]
    assert all(
        sum(part[1] for part in step["parts"]) == step["shape"][-1] for step in by_name.values()
    )


def test_what_an_addition_takes_in_and_what_it_makes_have_colours_of_their_own(unit, shown):
    interactive.steps(unit, every(unit), ALT)
    by_name = {step["name"]: step for step in scene_of(shown[0]._repr_mimebundle_())["steps"]}
    colours = [
        by_name[f"unit_{name}"]["parts"][0][2] for name in ("conv_proj_bn", "conv3_bn", "add")
    ]
    assert len({*colours, interactive.PASSING}) == 4
    assert by_name["unit_out"]["parts"] == by_name["unit_add"]["parts"]
    assert by_name["unit_conv1"]["parts"][0][2] == interactive.PASSING


def test_boxes_are_to_scale_or_by_square_roots_and_say_which():
    sides, words = interactive.box_sides([(8, 8, 6), (8, 4, 12)])
    np.testing.assert_allclose(sides, [[1, 1, 0.5], [1, 0.5, 1]])
    assert words == "Boxes are drawn to scale."
    sides, words = interactive.box_sides([(100, 100, 64), (2048,)])
    np.testing.assert_allclose(sides, [[1, 1, (64 / 2048) ** 0.5], [0.1, 0.1, 1]], atol=1e-4)
    assert words == "Boxes are drawn by their square roots."
    assert "channels to scale" in interactive.box_sides([(100, 100, 8), (1, 1, 16)])[1]


def test_a_way_is_named_after_the_nearest_step(block, shown):
    interactive.steps(block, [("x", "In."), ("block_layer1_out", "Out.")], ALT)
    ways = scene_of(shown[0]._repr_mimebundle_())["steps"][1]["ways"]
    assert [way["name"] for way in ways] == ["x", "block_layer1_conv2"]


def test_output_is_described_repeatable_and_asks_nobody(unit, shown):
    for _ in range(2):
        interactive.steps(unit, every(unit), ALT)
        show_slider(log=True)
    bundles = [figure._repr_mimebundle_() for figure in shown]
    assert bundles[:2] == bundles[2:]
    for bundle in bundles:
        assert bundle["text/plain"] == ALT and f'alt="{ALT}"' in bundle["text/html"]
        assert "http" not in bundle["text/html"].replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("layers", "what"), [([("unit_conv9", "?")], "unit_conv9"), ([], "layers")]
)
def test_layers_that_are_not_there_are_named(unit, layers, what):
    with pytest.raises(DataError, match=what):
        interactive.steps(unit, layers, ALT)


def test_a_figure_needs_a_description(unit):
    with pytest.raises(ValueError, match="alt text"):
        interactive.steps(unit, every(unit), "")
    with pytest.raises(ValueError, match="alt text"):
        interactive.slider(FRAMES, " ", label="Blocks", xlabel="block", ylabel="gradient")


def test_text_cannot_end_the_script(unit, shown):
    interactive.steps(unit, [("x", "</script><b>")], ALT)
    assert shown[0]._repr_mimebundle_()["text/html"].count("</script>") == 1


def test_frames_are_sorted_and_share_their_axes(shown):
    show_slider(log=True)
    scene = scene_of(shown[0]._repr_mimebundle_())
    assert [frame["value"] for frame in scene["frames"]] == [2, 3, 5] and scene["series"] == [
        "plain",
        "v2",
    ]
    assert scene["x"] == [0, 5] and scene["y"] == [0, 5]


@pytest.mark.parametrize(
    ("frames", "options", "what"),
    [
        ({1: {"a": ([0, 1], [1, 2])}, 2: {"b": ([0, 1], [1, 2])}}, {}, "same curves"),
        ({1: {"a": ([0, 1], [1, 2, 3])}}, {}, "equally long"),
        ({1: {"a": ([0, 1], [0, 2])}}, {"log": True}, "above 0"),
        ({1: {"a": ([0, 1], [0, np.nan])}}, {}, "not finite"),
        ({}, {}, "no curve"),
        ({1: {}}, {}, "no curve"),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(frames, options, what):
    with pytest.raises(ValueError, match=what):
        show_slider(frames, **options)


# ---- in a browser --------------------------------------------------------------------------------


@contextlib.contextmanager
def page_with(browser, shown, tmp_path, scheme="light", size="desktop"):
    bundle = shown[-1]._repr_mimebundle_()
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
    )
    (tmp_path / "page.html").write_text(
        f"{head}<body>{bundle['text/html']}<p style='height: 3000px'>after</p>", "utf-8"
    )
    with opened(browser, scheme, size) as page:
        page.goto((tmp_path / "page.html").as_uri())
        page.scene = scene_of(bundle)
        yield page
        assert page.wrong == []
        assert page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )


@pytest.mark.browser
@pytest.mark.parametrize("size", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_block_is_stepped_through_with_mouse_and_keys(
    browser,
    block,
    shown,
    tmp_path,
    scheme,
    size,
):
    interactive.steps(block, every(block), ALT)
    with page_with(browser, shown, tmp_path, scheme, size) as page:
        assert page.locator("img").is_hidden()
        spoken = page.locator("[aria-live]")
        back = page.get_by_role("button", name="Back")
        forth = page.get_by_role("button", name="Next")
        assert back.get_attribute("aria-disabled") == "true"
        assert page.locator("svg[role=img]").get_attribute("aria-label") == ALT
        before = page.locator(".posekit-interactive").bounding_box()
        steps = page.scene["steps"]
        for k, step in enumerate(steps):
            words = spoken.text_content().replace("\N{NO-BREAK SPACE}", " ")
            assert (
                " × ".join(map(str, step["shape"])) in words
                and step["sentence"] in words
                and step["name"] in words
            )
            assert f"Parameters: here {step['own'][0]:,}, so far {step['totals'][0]:,}." in words
            assert f"Multiply-adds: here {step['own'][1]:,}, so far {step['totals'][1]:,}." in words
            assert page.get_by_text(f"Step {k + 1} of {len(steps)}").is_visible()
            slabs = page.locator('[data-box="out"] [data-face="front"]')
            assert [slab.get_attribute("fill") for slab in slabs.all()] == [
                part[2] for part in step["parts"]
            ]
            assert page.locator('[data-box="in"]').count() == len(step["ways"])
            assert page.locator(".posekit-interactive").bounding_box() == before, (
                "nothing below moves"
            )
            forth.click(
                force=True
            )  # it says that it is disabled after the last step, and keeps the focus
        assert forth.get_attribute("aria-disabled") == "true"
        assert page.get_by_text(f"Step {len(steps)} of").is_visible(), (
            "after the last step there is none"
        )
        assert (
            "6 from x, 4 from block_layer1_conv2, 4 from block_layer2_conv2."
            in spoken.text_content()
        )
        for key, number in {
            "Home": 1,
            "ArrowRight": 2,
            "Enter": 3,
            "ArrowLeft": 2,
            "End": len(steps),
        }.items():
            page.keyboard.press(key)  # the focus stays on the button, at either end too
            assert page.get_by_text(f"Step {number} of").is_visible(), key
        assert page.evaluate("window.scrollY") == 0
        page.locator("[data-step='3']").click()
        assert page.get_by_text("Step 4 of").is_visible()


@pytest.mark.browser
@pytest.mark.parametrize("size", WIDTHS)
def test_boxes_have_the_proportions_that_python_says_and_fit(browser, unit, shown, tmp_path, size):
    interactive.steps(unit, every(unit), ALT)
    with page_with(browser, shown, tmp_path, size=size) as page:
        scales = []
        for step in page.scene["steps"]:
            boxes = page.locator("[data-box]").all()
            whole = page.locator("svg[role=img]").bounding_box()
            for box, one in zip(boxes, [step, *step["ways"]], strict=True):
                drawn = [float(v) for v in box.get_attribute("data-sides").split()]
                scales.append(np.divide(drawn, one["sides"]))
                face = box.locator('[data-face="front"]').first.get_attribute("d")
                points = np.array(
                    [[float(v) for v in p.split()] for p in re.split("[ML]", face.rstrip("Z"))[1:]]
                )
                np.testing.assert_allclose(np.ptp(points, 0), [drawn[2], drawn[0]], atol=0.21)
                seen = box.bounding_box()
                assert (
                    whole["x"] <= seen["x"]
                    and seen["x"] + seen["width"] <= whole["x"] + whole["width"]
                )
                assert (
                    whole["y"] <= seen["y"]
                    and seen["y"] + seen["height"] <= whole["y"] + whole["height"]
                )
            page.get_by_role("button", name="Next").click(force=True)
        heights, widths, lengths = np.transpose(scales)
        np.testing.assert_allclose(heights, heights[0], rtol=0.03)
        np.testing.assert_allclose(widths, heights[0], rtol=0.03)
        np.testing.assert_allclose(lengths, lengths[0], rtol=0.03)


@pytest.mark.browser
def test_a_finger_steps_and_slides(browser, block, shown, tmp_path):
    interactive.steps(block, every(block), ALT)
    show_slider(log=True)
    texts = "".join(figure._repr_mimebundle_()["text/html"] for figure in shown)
    meta = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    (tmp_path / "page.html").write_text(f"<!doctype html>{meta}<body>{texts}", "utf-8")
    context = browser.new_context(
        viewport=dict(zip(("width", "height"), WIDTHS["phone"], strict=True)), has_touch=True
    )
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.get_by_role("button", name="Next").tap()
    page.get_by_role("button", name="Next").tap()
    assert page.get_by_text("Step 3 of").is_visible()
    page.locator("[data-step='1']").tap()
    assert page.get_by_text("Step 2 of").is_visible()
    plot = page.locator("svg[role=img]").nth(1)
    bars = page.locator("input[type=range]").all()
    assert plot.evaluate("e => getComputedStyle(e).touchAction") == "pan-y"
    box = plot.bounding_box()
    plot.tap(position={"x": box["width"] - 16, "y": 100})
    assert "read at 5:" in page.locator("[aria-live]").nth(1).text_content()
    assert min(one.bounding_box()["height"] for one in bars) >= 32, "large enough for a finger"
    bars[0].tap(position={"x": 4, "y": 16})
    assert bars[0].get_attribute("aria-valuetext") == "Blocks 2"
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "size"), [("light", "desktop"), ("dark", "phone")])
def test_the_slider_shows_the_curve_of_its_value(browser, shown, tmp_path, scheme, size):
    show_slider(log=True)
    with page_with(browser, shown, tmp_path, scheme, size) as page:
        bar, place = page.locator("input[type=range]").all()
        spoken = page.locator("[aria-live]")
        assert bar.get_attribute("aria-valuetext") == "Blocks 5"
        assert page.locator("[data-lm-suppress-shortcuts]").count() == 2, (
            "JupyterLab takes keys elsewhere for its own"
        )
        assert place.get_attribute("aria-valuetext") == "block 0", (
            "the curves are furthest apart there"
        )
        ticks = page.locator("svg text").all_text_contents()[:6]
        height = page.locator("body").bounding_box()["height"]
        bar.focus()
        page.keyboard.press("Home")
        assert (
            bar.get_attribute("aria-valuetext") == "Blocks 2"
            and page.evaluate("window.scrollY") == 0
        )
        assert page.locator("svg text").all_text_contents()[:6] == ticks, "the axes stay"
        assert page.locator("body").bounding_box()["height"] == height
        path = page.locator('[data-series="plain"]').get_attribute("d")
        points = np.array(
            [[float(v) for v in point.split()] for point in re.split("[ML]", path)[1:]]
        )
        assert len(points) == 3
        np.testing.assert_allclose(
            np.diff(points, axis=0), np.diff(points, axis=0)[:1].repeat(2, 0), atol=0.11
        )
        assert spoken.text_content() == "Blocks 2, read at 0:plain 100v2 1"
        assert {"plain 100", "v2 1"} <= set(page.locator("svg text").all_text_contents())
        page.keyboard.press("ArrowRight")
        assert bar.get_attribute("aria-valuetext") == "Blocks 3"
        assert (
            len(re.findall("[ML]", page.locator('[data-series="plain"]').get_attribute("d"))) == 4
        )
        place.focus()
        page.keyboard.press("ArrowRight")
        assert spoken.text_content() == "Blocks 3, read at 1:plain 100v2 1"
        bar.focus()
        page.keyboard.press("End")
        assert spoken.text_content() == "Blocks 5, read at 1:plain 10000v2 1", "the place stays"
        page.locator("[data-series=v2]").scroll_into_view_if_needed()
        box = page.locator("svg").bounding_box()
        page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 80)
        assert spoken.text_content() == "Blocks 5, read at 5:plain 1v2 1"


@pytest.mark.browser
def test_bands_and_large_and_small_numbers_can_be_read(browser, shown, tmp_path):
    y = np.array([1e-7, 2.5e6])
    show_slider(
        {1: {"a": ([0, 1], y, y / 2, y * 2)}, 2: {"a": ([0, 1], y, y / 2, y * 2)}}, log=True
    )
    with page_with(browser, shown, tmp_path) as page:
        assert page.locator("[data-band=a]").count() == 1
        assert (
            page.locator("[aria-live]").text_content()
            == "Blocks 2, read at 1:a 2.5 × 10⁶ (1.3 × 10⁶ to 5 × 10⁶)"
        )
        page.locator("input").nth(1).press("Home")
        assert "a 1 × 10⁻⁷ (5 × 10⁻⁸ to 2 × 10⁻⁷)" in page.locator("[aria-live]").text_content()


@pytest.mark.browser
def test_figures_do_not_move_by_themselves_and_fit_a_window_that_changes(
    browser,
    block,
    shown,
    tmp_path,
):
    interactive.steps(block, every(block), ALT)
    with page_with(browser, shown, tmp_path) as page:
        picture = page.locator("svg[role=img]")
        first = picture.inner_html()
        wide = picture.bounding_box()["width"]
        page.wait_for_timeout(300)
        assert picture.inner_html() == first
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_function(
            "document.querySelector('svg[role=img]').getBoundingClientRect().width < 390"
        )
        assert picture.bounding_box()["width"] < wide and page.get_by_text("Step 1 of").is_visible()


@pytest.mark.browser
def test_the_picture_stays_where_scripts_do_not_run(browser, unit, shown, tmp_path):
    interactive.steps(unit, every(unit), ALT)
    (tmp_path / "page.html").write_text(shown[0]._repr_mimebundle_()["text/html"], "utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("img").is_visible() and page.locator("svg").count() == 0
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "size"), [("light", "desktop"), ("dark", "phone")])
def test_figures_work_in_the_built_book_and_the_book_stays_on_its_page(browser, html, scheme, size):  # noqa: F811
    pages = [
        path
        for path in sorted((html / "chapters").glob("*.html"))
        if "data-interactive=" in path.read_text("utf-8")
    ]
    if not pages:
        pytest.skip("no chapter shows a figure")
    with opened(browser, scheme, size) as page:
        for path in pages:
            page.goto(path.as_uri())
            for figure in page.locator(".posekit-interactive").all():
                assert (
                    figure.locator("img").is_hidden()
                    and figure.locator("svg[role=img]").is_visible()
                )
                spoken = figure.locator("[aria-live]")
                height = figure.bounding_box()["height"]
                before = spoken.text_content()
                if figure.locator("button").count():
                    hand = figure.get_by_role("button", name="Next")
                    keys = ("ArrowRight", "ArrowRight", "ArrowLeft")
                else:
                    hand = figure.locator("input").first
                    keys = ("ArrowRight", "ArrowLeft", "ArrowLeft")
                for key in keys:  # on the page itself these lead to the next chapter
                    hand.press(key)
                page.wait_for_timeout(200)
                assert spoken.text_content() != before and page.url == path.as_uri()
                assert figure.bounding_box()["height"] == height
                assert figure.evaluate("e => e.scrollWidth <= e.clientWidth")
            assert outside(page.asked, html.as_uri()) == []
            assert [w for w in page.wrong if "CORS" not in w] == []
