"""The turnable figure: its numbers agree with its script's, and in a browser mouse, touch and keys
turn it."""

import base64
import contextlib
import json
import re

import numpy as np
import pytest
from test_offline import WIDTHS, html, opened  # noqa: F401

from posekit import cameras
from posekit.minidome.dome import make_cameras
from posekit.notebook import scene3d
from posekit.skeleton import COCO17

ALT = "Thirty-one cameras around a person, to be turned by the reader."


def a_pose() -> np.ndarray:
    return np.random.default_rng(4).uniform((-40, -170, -40), (40, 0, 40), (len(COCO17), 3))


def rendered(monkeypatch, poses=None, views=None) -> dict:
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    scene3d.show(make_cameras((96, 54), seed=3), [a_pose()] if poses is None else poses, ALT, views)
    return shown[0]._repr_mimebundle_()


def scene_of(bundle: dict) -> dict:
    return json.loads(
        re.search(r'\("[0-9a-f]{8}", (\{.*\})\);</script>$', bundle["text/html"], re.S)[1]
    )


def test_a_camera_and_its_corners_are_seen_where_they_are():
    camera = make_cameras((96, 54), seed=3)["00_00"]
    apex, *corners = scene3d.frustum(camera)
    np.testing.assert_allclose(apex, camera.position)
    straight = cameras.Camera(
        camera.name, camera.K, np.zeros(5), camera.R, camera.t, camera.resolution
    )
    np.testing.assert_allclose(
        cameras.project(np.array(corners), straight),
        [[-0.5, -0.5], [95.5, -0.5], [95.5, 53.5], [-0.5, 53.5]],
        atol=1e-9,
    )


def test_look_is_upright_and_perspective():
    near_far = scene3d.project_view(np.array([[0, 0, -100.0], [0, 0, 100]]), yaw=0, pitch=0.4)
    assert near_far[0, 2] < near_far[1, 2] and near_far[0, 1] > near_far[1, 1], (
        "from above the near floor is lower"
    )
    feet, head = scene3d.project_view(np.array([[0, 0, 0.0], [0, -170, 0]]))
    assert head[1] < feet[1]
    np.testing.assert_allclose(scene3d.project_view(np.array([0, scene3d.MIDDLE, 0])), 0, atol=1e-9)


def test_output_is_described_repeatable_and_holds_its_pictures(monkeypatch):
    views = {"00_00": np.full((54, 96, 3), 200, np.uint8)}
    once, twice = (rendered(monkeypatch, views=views) for _ in range(2))
    assert once == twice and once["text/plain"] == ALT
    assert f'alt="{ALT}"' in once["text/html"] and "http" not in once["text/html"].replace(
        "http://www.w3.org/2000/svg", ""
    )
    still = re.search(r"data:image/png;base64,([\w+/=]+)", once["text/html"])[1]
    assert len(base64.b64decode(still)) <= 98_000 and "image/png" not in once
    assert scene_of(once)["sheet"].startswith("data:image/jpeg;base64,")
    assert "sheet" not in scene_of(rendered(monkeypatch))


def test_a_joint_that_is_not_known_is_not_drawn(monkeypatch):
    pose = a_pose()
    whole = len(scene_of(rendered(monkeypatch))["lines"])
    pose[COCO17.index("left_wrist")] = np.nan
    assert len(scene_of(rendered(monkeypatch, [pose]))["lines"]) == whole - 1
    with pytest.raises(ValueError, match="COCO17 wants poses"):
        rendered(monkeypatch, [pose[:14]])


def test_text_in_the_scene_cannot_end_the_script():
    scene = {"alt": "</script><b>"}
    still = type("Still", (), {"html": lambda self: "<img>"})()
    text = scene3d.Scene3D(scene, still, "x")._repr_mimebundle_()["text/html"]
    assert text.count("</script>") == 1


# ---- in a browser --------------------------------------------------------------------------------


@contextlib.contextmanager
def page_with(browser, monkeypatch, tmp_path, scheme="light", size="desktop"):
    bundle = rendered(
        monkeypatch, views={f"00_{k:02d}": np.full((54, 96, 3), 8 * k, np.uint8) for k in range(31)}
    )
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
    )
    (tmp_path / "page.html").write_text(
        f"{text}<body>{bundle['text/html']}<p style='height: 3000px'>after</p>", "utf-8"
    )
    with opened(browser, scheme, size) as page:
        page.goto((tmp_path / "page.html").as_uri())
        page.scene = scene_of(bundle)
        yield page
        assert page.wrong == []
        assert page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )


def drawn(page, name: str) -> list[list[float]]:
    path = page.locator(f'[data-camera="{name}"]').get_attribute("d")
    return [[float(v) for v in point.split()] for point in re.split("[ML]", path)[1:]]


@pytest.mark.browser
@pytest.mark.parametrize("size", WIDTHS)
def test_mouse_and_keys_turn_it(browser, monkeypatch, tmp_path, size):
    with page_with(browser, monkeypatch, tmp_path, size=size) as page:
        assert page.locator("img").is_hidden()
        stage = page.locator("svg[role=application]")
        assert stage.get_attribute("aria-label") == ALT
        assert stage.get_attribute("data-lm-suppress-shortcuts") == "true", (
            "JupyterLab would take the arrow keys"
        )
        camera = page.scene["cameras"][5]
        expected = scene3d.project_view(np.array(camera["points"], float))[[1, 2, 3, 4, 1], :2]
        np.testing.assert_allclose(drawn(page, camera["name"])[:5], expected, atol=0.06)

        before = drawn(page, camera["name"])
        box = stage.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(
            box["x"] + box["width"] / 2 + 50, box["y"] + box["height"] / 2 + 20, steps=3
        )
        page.mouse.up()
        turned = scene3d.project_view(
            np.array(camera["points"], float), scene3d.YAW - 0.4, scene3d.PITCH + 0.16
        )
        np.testing.assert_allclose(
            drawn(page, camera["name"])[:5], turned[[1, 2, 3, 4, 1], :2], atol=0.06
        )

        page.keyboard.press("Home")
        assert drawn(page, camera["name"]) == before
        for key, (yaw, pitch) in {"ArrowLeft": (0.12, 0), "ArrowUp": (0, -0.08)}.items():
            page.keyboard.press(key)
            turned = scene3d.project_view(
                np.array(camera["points"], float), scene3d.YAW + yaw, scene3d.PITCH + pitch
            )
            np.testing.assert_allclose(
                drawn(page, camera["name"])[:5], turned[[1, 2, 3, 4, 1], :2], atol=0.06
            )
            page.keyboard.press("Home")
        page.keyboard.press("+")
        assert abs(drawn(page, camera["name"])[0][0]) > abs(before[0][0])
        assert page.evaluate("window.scrollY") == 0, (
            "keys that turn the figure do not scroll the page"
        )
        page.keyboard.press("PageDown")
        page.wait_for_function("window.scrollY > 100")


@pytest.mark.browser
def test_only_the_main_button_turns_it_and_only_while_it_is_down(browser, monkeypatch, tmp_path):
    with page_with(browser, monkeypatch, tmp_path) as page:
        stage = page.locator("svg[role=application]")
        name = page.scene["cameras"][5]["name"]
        box = stage.bounding_box()
        before = drawn(page, name)
        x = box["x"] + box["width"] / 2
        y = box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down(button="right")
        page.mouse.move(x + 50, y)
        page.mouse.up(button="right")
        assert drawn(page, name) == before
        page.mouse.down()
        stage.evaluate(
            "e => e.dispatchEvent(new PointerEvent('pointermove', "
            "{bubbles: true, clientX: 9, clientY: 9}))"
        )
        assert drawn(page, name) == before, "a menu has swallowed the pointerup"
        page.mouse.move(x + 50, y)
        assert drawn(page, name) == before and stage.evaluate("e => e.style.cursor") == "grab"


@pytest.mark.browser
def test_a_camera_can_be_pointed_at_and_chosen(browser, monkeypatch, tmp_path):
    with page_with(browser, monkeypatch, tmp_path, scheme="dark") as page:
        camera = page.scene["cameras"][9]
        page.locator("select").select_option(label=camera["name"])
        assert page.locator("p[aria-live]").text_content() == camera["words"]
        tile = page.scene["tile"]
        columns = page.scene["columns"]
        picture = page.locator("svg[role=img] image")
        assert float(picture.get_attribute("x")) == -tile[0] * (9 % columns)
        assert float(picture.get_attribute("y")) == -tile[1] * (9 // columns)
        other = page.scene["cameras"][20]
        at = scene3d.project_view(np.array(other["points"][0], float))
        stage = page.locator("svg[role=application]").bounding_box()
        (left, top, width, _) = page.scene["box"]
        share = stage["width"] / width
        page.mouse.move(stage["x"] + (at[0] - left) * share, stage["y"] + (at[1] - top) * share)
        assert (
            page.locator("svg[role=img]").get_attribute("aria-label")
            == f"what camera {other['name']} sees"
        )


@pytest.mark.browser
def test_a_finger_turns_it_and_the_page_still_scrolls(browser, monkeypatch, tmp_path):
    with page_with(browser, monkeypatch, tmp_path, size="phone") as page:
        assert (
            page.locator("svg[role=application]").evaluate("e => getComputedStyle(e).touchAction")
            == "pan-y"
        )
        name = page.scene["cameras"][5]["name"]
        before = drawn(page, name)
        page.locator("svg[role=application]").evaluate(
            """e => { const at = (kind, x, buttons = 0) => e.dispatchEvent(new PointerEvent(kind,
                 {bubbles: true, pointerType: "touch", clientX: x, clientY: 90, buttons}));
               at("pointerdown", 100); at("pointermove", 160, 1);
               at("pointerup", 160); at("pointermove", 200) }"""
        )
        after = drawn(page, name)
        assert after != before
        points = np.array(page.scene["cameras"][5]["points"], float)
        expected = scene3d.project_view(points, scene3d.YAW - 0.48)[[1, 2, 3, 4, 1], :2]
        np.testing.assert_allclose(after[:5], expected, atol=0.06)


@pytest.mark.browser
def test_it_does_not_move_by_itself(browser, monkeypatch, tmp_path):
    with page_with(browser, monkeypatch, tmp_path) as page:
        first = page.locator("svg[role=application]").inner_html()
        page.wait_for_timeout(400)
        assert page.locator("svg[role=application]").inner_html() == first


@pytest.mark.browser
def test_the_picture_stays_where_scripts_do_not_run(browser, monkeypatch, tmp_path):
    (tmp_path / "page.html").write_text(rendered(monkeypatch)["text/html"], "utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("img").is_visible() and page.locator("svg").count() == 0
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "size"), [("light", "desktop"), ("dark", "phone")])
def test_it_turns_in_the_built_book_and_the_book_stays_on_its_page(browser, html, scheme, size):  # noqa: F811
    with opened(browser, scheme, size) as page:
        page.goto(f"{html.as_uri()}/chapters/02_datasets.html")
        stage = page.locator("[data-scene3d] svg[role=application]")
        stage.scroll_into_view_if_needed()
        name = page.locator("[data-scene3d] option").nth(3).text_content()
        before = drawn(page, name)
        address = page.url
        for key in (
            "ArrowRight",
            "ArrowLeft",
            "ArrowLeft",
        ):  # on the page itself these lead to the next chapter
            stage.press(key)
        page.wait_for_timeout(300)
        assert page.url == address and drawn(page, name) != before
        assert page.locator("[data-scene3d] option").count() == 31
        assert page.locator("[data-scene3d] img").is_hidden()
        assert [w for w in page.wrong if "CORS" not in w] == []
