"""The page's constants are Python's, and the widget's script is made of the page's files."""

import json
import re

import numpy as np
import pytest
from javascript import run_module

from posekit import viz
from posekit.inference.predictor import DRAW_THRESHOLD
from posekit.live import constants, one_euro, repetitions, tracking, widget
from posekit.live.bundle import bundle
from posekit.live.server import WEB
from posekit.notebook import runs
from posekit.skeleton import COCO17


@pytest.fixture(scope="module")
def committed() -> dict:
    """The committed file."""
    return json.loads(constants.PATH.read_text(encoding="utf-8"))


def test_the_file_is_up_to_date():
    text = constants.to_json(constants.page_constants())
    assert constants.PATH.read_text(encoding="utf-8") == text, (
        "run: python -m posekit.live.constants"
    )


def test_the_file_has_every_limb_of_coco_in_the_colours_of_the_figures(committed):
    limbs = [tuple(COCO17.joints[j] for j in limb[:2]) for limb in committed["limbs"]]
    assert limbs == list(COCO17.limbs) and len(limbs) == 16
    assert [colour for *_, colour in committed["limbs"]] == viz.limb_colours(COCO17)
    sides = {"left": viz.LEFT, "right": viz.RIGHT}
    for (a, b), (*_, colour) in zip(limbs, committed["limbs"], strict=True):
        known = {sides[name.split("_")[0]] for name in (a, b) if "_" in name}
        assert colour == (known.pop() if len(known) == 1 else viz.MIDDLE), (a, b)
    assert committed["jointColours"] == viz.joint_colours(COCO17)


def test_the_thresholds_are_those_that_the_models_were_calibrated_for(committed):
    """The values themselves: a change of one changes what is drawn everywhere."""
    tracker = committed["tracker"]
    chosen = runs.read("stage1").record["runs"]["stage1"]["card"]["draw_threshold"]["score"]
    assert committed["drawThreshold"] == DRAW_THRESHOLD == chosen
    assert (tracker["acquireThreshold"], tracker["keepThreshold"]) == (0.3, 0.2)
    assert (tracker["lostAfterS"], tracker["cropJointThreshold"]) == (0.4, 0.15)
    assert widget.CameraWidget().threshold == DRAW_THRESHOLD


def test_every_setting_is_in_the_file(committed):
    """A setting that is added to Python reaches the page, too."""
    names = {*committed["tracker"]}
    for name in tracking.Settings.__dataclass_fields__:
        first, *rest = name.split("_")
        assert first + "".join(word.capitalize() for word in rest) in names
    assert len(committed["tracker"]["filter"]) == len(one_euro.OneEuroParams.__dataclass_fields__)
    assert list(committed["exercises"]) == list(repetitions.EXERCISES)


def test_the_page_knows_no_number_of_its_own():
    """Colours, limbs and thresholds stand in the file alone, not in a script again."""
    for path in (*WEB.glob("*.js"), *WEB.glob("core/*.js"), WEB.parent / "widget.js"):
        script = path.read_text(encoding="utf-8")
        for colour in {viz.LEFT, viz.RIGHT, viz.MIDDLE}:
            assert colour.lower() not in script.lower(), path.name
        assert not re.search(r"\[\s*\[\s*\d+\s*,\s*\d+\s*\]", script), f"{path.name}: limbs?"


def test_the_widget_s_script_is_one_module_with_one_export(tmp_path):
    script = widget.CameraWidget._esm
    assert not re.search(r"^import\b", str(script), re.M)
    test = 'const { default: make } = await import("./widget.mjs");\nconsole.log(typeof make());'
    (tmp_path / "widget.mjs").write_text(str(script), encoding="utf-8")
    assert run_module(test, tmp_path).strip() == "object"
    exports = re.findall(r"^export (\w+)", str(script), re.M)
    assert exports == ["default"]


def test_a_bundle_takes_functions_and_json_and_refuses_what_it_does_not_know(tmp_path):
    (tmp_path / "a.js").write_text(
        "export const A = 2;\nexport function twice(x) { return A * x; }\n"
    )
    (tmp_path / "b.json").write_text('{"x": 21}\n')
    module = tmp_path / "m.js"
    lines = 'import { A, twice } from "./a.js";\nimport b from "./b.json" with { type: "json" };\n'
    module.write_text(lines + "console.log(twice(b.x), A);\n")
    assert run_module(bundle(module), tmp_path).split() == ["42", "2"]
    for line in ('import "./a.js";', 'import x from "react";', "import('./a.js');"):
        module.write_text(f"{line}\n")
        with pytest.raises(ValueError, match=r"m\.js: cannot bundle"):
            bundle(module)


def test_the_drawing_of_python_has_the_same_limbs_and_the_same_threshold():
    """`viz.draw_on_image` colours the middle of every limb, and of no limb without its joints."""
    rng = np.random.default_rng(3)
    keypoints = rng.uniform(20, 380, (17, 2))
    black = np.zeros((400, 400, 3), np.uint8)
    full = viz.draw_on_image(black, keypoints, np.ones(17, bool))
    for a, b in COCO17.limb_indices:
        assert full[tuple(np.round(keypoints[[a, b]].mean(axis=0)).astype(int)[::-1])].any()
    score = np.full(17, DRAW_THRESHOLD - 0.01)
    assert not viz.draw_on_image(black, keypoints, score >= DRAW_THRESHOLD).any()
