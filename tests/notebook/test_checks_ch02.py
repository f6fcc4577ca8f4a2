"""Chapter 02's exercises: the solutions pass, and agree with posekit's readers and OpenCV (wrong answers: test_checks.py)."""

import ast
import csv
import io
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posekit import cameras, geometry, minidome
from posekit.datasets import coco, lsp
from posekit.minidome.dome import make_cameras
from posekit.notebook.checks import CheckFailed, ch02
from posekit.skeleton import COCO17, LSP14

CHAPTERS = Path(__file__).parents[2] / "chapters"
CAMERAS = list(make_cameras((1920, 1080), seed=7).values())


def functions(path: Path, wanted: str) -> dict:
    """The functions that those cells of a notebook define that hold a piece of text."""
    names = {"np": np, "COCO17": COCO17, "LSP14": LSP14}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and wanted in cell.source:
            tree = ast.parse(cell.source)
            tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
            exec(compile(tree, path.name, "exec"), names)
    return names


SOLVED = functions(CHAPTERS / "exercises/ex02_datasets.ipynb", "### BEGIN SOLUTION")


@pytest.mark.parametrize("name", ["project", "read_leeds", "census", "impossible_rows"])
def test_solution_passes_and_an_empty_answer_is_told_so(name, capsys):
    check = getattr(ch02, f"check_{name}")
    check(SOLVED[name])
    assert capsys.readouterr().out.startswith("✓ ")
    for empty in (None, lambda *args: None):
        with pytest.raises(CheckFailed, match="no value yet"):
            check(empty)


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(0, 30))
def test_projection_is_posekits_and_opencvs(seed, k):
    camera, rng = CAMERAS[k], np.random.default_rng(seed)
    points = rng.uniform(-400, 400, (30, 3))
    mine, theirs = SOLVED["project"](points, camera), cameras.project(points, camera)
    np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
    ahead = np.isfinite(theirs[:, 0])
    np.testing.assert_allclose(mine[ahead], theirs[ahead], rtol=1e-9)
    turn = cv2.Rodrigues(camera.R)[0]
    if ahead.any():
        cvs = cv2.projectPoints(
            np.ascontiguousarray(points[ahead]), turn, camera.t, camera.K, camera.distCoef
        )[0][:, 0]
        np.testing.assert_allclose(mine[ahead], cvs, rtol=1e-7, atol=1e-6)


def test_the_chapters_projection_is_posekits():
    names = functions(CHAPTERS / "02_datasets.ipynb", '"""Step ')
    points = np.random.default_rng(3).uniform(-150, 150, (40, 3))
    for camera in CAMERAS:
        np.testing.assert_allclose(
            names["project"](points, camera), cameras.project(points, camera), rtol=1e-9
        )


def test_census_counts_as_posekits_reader_does():
    data = minidome.dataset()
    annotation_file, images = coco.find_minidome(data.val)
    content = coco.read_json(annotation_file)
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    counts, cut_off = SOLVED["census"](content["annotations"], sizes)
    flags = np.array(
        [
            person.keypoints_visible
            for person in coco.read(annotation_file, images, dataset="minidome")
        ]
    )
    np.testing.assert_array_equal(
        counts, np.stack([(flags == v).sum(axis=0) for v in (0, 1, 2)], axis=1)
    )
    assert 0 < cut_off < len(flags)


@pytest.mark.realdata
@pytest.mark.parametrize("dataset", ["lsp", "lspet"])
def test_leeds_are_read_as_posekit_does(realdata, dataset):
    from scipy.io import loadmat

    joints = loadmat(realdata / dataset / "joints.mat")["joints"].transpose(
        (2, 1, 0) if dataset == "lsp" else (2, 0, 1)
    )
    samples = (
        lsp.read(realdata / "lsp", None)
        if dataset == "lsp"
        else lsp.read_lspet(realdata / "lspet", None)
    )
    compared = 0
    by_name = {
        path.stem: i for i, path in enumerate(sorted((realdata / dataset / "images").glob("*.jpg")))
    }
    for sample in samples:
        keypoints, visible, known = SOLVED["read_leeds"](joints[by_name[sample.source_id]], dataset)
        np.testing.assert_array_equal(visible, sample.keypoints_visible)
        np.testing.assert_array_equal(known, sample.joint_known)
        np.testing.assert_allclose(keypoints[visible > 0], sample.keypoints[visible > 0], rtol=1e-6)
        compared += 1
    assert compared >= 1000


@given(
    x=st.floats(-2000, 2000, allow_nan=False),
    y=st.floats(-2000, 2000, allow_nan=False),
    v=st.integers(0, 2),
    k=st.integers(0, 16),
)
def test_a_row_is_impossible_when_its_joint_lies_outside(x, y, v, k):
    text = f"image,person,joint,x,y,v\ngarden.jpg,1,{COCO17.joints[k]},{x},{y},{v}\n"
    found = SOLVED["impossible_rows"](list(csv.DictReader(io.StringIO(text))), ch02.PHOTOS)
    outside = not geometry.inside(np.array([x, y]), ch02.PHOTOS["garden.jpg"])
    assert found == ([0] if v > 0 and outside else [])
