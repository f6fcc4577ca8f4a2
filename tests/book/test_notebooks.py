"""The notebooks keep the house rules, the rules can be broken, and the students' copies are cut
right."""

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "tools"))

import assignments  # noqa: E402
import citations  # noqa: E402
import notebooks  # noqa: E402
import refresh  # noqa: E402
import rules  # noqa: E402

ALL = notebooks.find()
EXERCISES = [path for path in ALL if notebooks.is_exercise(path)]
ids = [path.stem for path in ALL]


@pytest.mark.parametrize("path", ALL, ids=ids)
def test_notebook_keeps_the_rules(path):
    assert rules.complaints(notebooks.read(path), notebooks.is_exercise(path)) == []


def test_each_chapter_has_exercises_and_checks():
    chapters = {path.stem[:2] for path in ALL if not notebooks.is_exercise(path)}
    assert {path.stem[2:4] for path in EXERCISES} == chapters
    assert {
        path.stem[2:4] for path in (ROOT / "posekit" / "notebook" / "checks").glob("ch*.py")
    } == chapters


# ---- the rules themselves ------------------------------------------------------------------------

PNG = base64.b64encode(b"\x89PNG" + bytes(500)).decode()


def figure(alt="two boxes that overlap by half", size=500):
    data = base64.b64encode(bytes(size)).decode()
    return nbformat.v4.new_output(
        "display_data",
        {"image/png": data, "text/plain": alt},
        metadata={"image/png": {"width": 480, "height": 192}},
    )


def html_image(alt):
    tag = f'<img alt="{alt}" src="data:image/png;base64,{PNG}">'
    return nbformat.v4.new_output("display_data", {"text/html": tag})


def stream(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def code(source, *outputs, count=1, tags=()):
    metadata = {"tags": list(tags)} if tags else {}
    return nbformat.v4.new_code_cell(
        source, outputs=list(outputs), execution_count=count, metadata=metadata
    )


def text(source, tags=()):
    return nbformat.v4.new_markdown_cell(source, metadata={"tags": list(tags)} if tags else {})


START = "from posekit import notebook\n\nmachine = notebook.setup(seed=1)"


CAPTION = text("*Figure 1.n. Two boxes that overlap.*\n\nSee figure 1.1.")


def book(*cells, exercise=False):
    """A notebook in order, with these cells in it."""
    nb = nbformat.v4.new_notebook(cells=[text("# A title"), code(START), *cells])
    return notebooks.normalise(nb, exercise)


def test_a_notebook_in_order_has_no_complaints():
    nb = book(
        code("score = 0.5412\nprint(f'{score:.2f}')", stream("0.54\n")),
        text("The score is 0.54, that is 54 %. PCK@0.2 and `0.77` and $0.99$ are no measurements."),
        text("DeepPose reaches 61 % {footcite:p}`toshev2014deeppose`."),
        text("## Take away\n\nIt is old.\n\n## References\n\nold list"),
        text("Half of 0.86 is 0.43.", tags=["cited-figures"]),
        code("viz.show(fig, 'two boxes that overlap by half')", figure()),
        code("assert fig", tags=["remove-cell"]),
        text("*Figure 1.n. Two boxes.*\n\nFigure 1.1 shows two boxes, figure 1.2 one."),
        text("![one box](figures/box.svg)\n\n*Figure 1.n. One box.*"),
        code("viz.table(x)", tags=["nbval-ignore-output"]),
        code("assert x", tags=["remove-cell"]),
        code("slider(fig)", html_image("two boxes that overlap by half")),
    )
    assert rules.complaints(nb, exercise=False) == []


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ([code("\n".join(["x = 1"] * 26))], "26 lines"),
        ([code("\n".join(["# why"] * 26))], "26 lines"),
        ([code('x = """' + "\n" * 26 + '"""')], "27 lines"),
        ([code("x = [\n" + "    1,\n" * 59 + "]")], "61 lines as wrapped"),
        ([code("x = 1", count=None)], "no execution count"),
        ([code("x = 1", stream("careful", "stderr"))], "stderr"),
        ([code("print(p)", stream("/home/me/book"))], "path of this machine"),
        ([code("viz.show(f, 'a')", figure(alt="")), CAPTION], "without alt text"),
        ([code("viz.show(f, 'a')", figure(alt="a picture")), CAPTION], "without alt text"),
        (
            [code("f", nbformat.v4.new_output("display_data", {"image/png": PNG})), CAPTION],
            "without alt text",
        ),
        (
            [code("plt.plot(x)", figure(alt="<Figure size 640x480 with 1 Axes>")), CAPTION],
            "without alt text",
        ),
        ([code("f", html_image(""))], "without alt text"),
        ([code("viz.show(f, 'a')", figure(size=100_001)), CAPTION], "kB, at most"),
        ([code("f", figure()), text("*Figure 1.n. Boxes.*")], "figure 1.1 is not referred to"),
        ([code("plt.show()")], "viz.show"),
        ([code("x = 1", tags=["nbval-ignore-output"])], "asserts nothing"),
        ([code("x = 1", tags=["nbval-skip"])], "unknown tags"),
        ([code(f"assert {i}", tags=["nbval-ignore-output"]) for i in range(2)], "not compared"),
        ([code("from posekit import a, b, c, d, e, f, g, h, i")], "imports 9 names"),
        (
            [code("1 / 0", nbformat.v4.new_output("error", ename="E", evalue="", traceback=[]))],
            "error",
        ),
        ([text("# Another title")], "2 headings"),
        ([text("![](a.png)\n\n*Figure 1.n. A.*\n\nSee figure 1.1.")], "without alt text"),
        (
            [text("![A](https://example.org/a.png)\n\n*Figure 1.n. A.*\n\nSee figure 1.1.")],
            "from the network",
        ),
        ([text("Training took 47 seconds.")], "'47 seconds' is no figure"),
        (
            [text("It reaches 81 % here."), code("print('81 %')", stream("81 %"))],
            "'81 %' is no figure",
        ),
        (
            [
                text("PCK is .88 after that. {footcite:p}`he2016resnet` says otherwise."),
                text("## References"),
            ],
            "'.88' is no figure",
        ),
    ],
)
def test_each_rule_can_be_broken(cells, complaint):
    found = rules.complaints(book(*cells), exercise=False)
    assert len(found) == 1 and complaint in found[0], found


@pytest.mark.parametrize(
    "cells",
    [
        [code("viz.show(f, 'a')", figure())],
        [code("viz.show(f, 'a')", figure()), text("Two boxes.")],
        [text("![two boxes](boxes.svg)\n\nTwo boxes.")],
        [code("f", figure()), text("*Figure without a number. Two boxes.*")],
    ],
)
def test_a_figure_needs_a_caption(cells):
    found = rules.complaints(book(*cells), exercise=False)
    assert len(found) == 2 and "caption" in found[0] and "captions for 0" in found[1], found


def test_form_and_first_cells_are_checked():
    nb = book()
    nb.cells[1].metadata["collapsed"] = True
    assert "make refresh" in rules.complaints(nb, exercise=False)[0]
    nb = notebooks.normalise(nbformat.v4.new_notebook(cells=[code("x = 1")]), False)
    assert len(rules.complaints(nb, exercise=False)) == 3


SOLUTION = "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"


def exercise(*, passes="✓ doubled\n"):
    cells = []
    for name in ("double", "twice"):
        cells += [
            code(SOLUTION.replace("double", name)),
            code(f"ch01.check_{name}({name})", stream(passes)),
        ]
    return book(*cells, exercise=True)


def test_exercise_rules():
    assert rules.complaints(exercise(), exercise=True) == []
    assert any(
        "does not pass" in line for line in rules.complaints(exercise(passes="hm"), exercise=True)
    )
    broken = exercise()
    broken.cells[2].source = broken.cells[2].source.replace("    ### END SOLUTION", "")
    assert any(
        "do not match" in line
        for line in rules.complaints(notebooks.normalise(broken, True), exercise=True)
    )
    assert any(
        "no solution" in line for line in rules.complaints(book(exercise=True), exercise=True)
    )
    shared = book(code(SOLUTION + "\nch01.check_double(double)", stream("✓\n")), exercise=True)
    assert any("share a cell" in line for line in rules.complaints(shared, exercise=True))


# ---- the committed form --------------------------------------------------------------------------


def test_form_keeps_the_size_of_a_figure_and_no_other_metadata():
    output = figure()
    output.metadata["image/png"]["needs_background"] = "light"
    output.metadata["isolated"] = True
    nb = book(code("viz.show(fig, 'two boxes')", output))
    assert nb.cells[2].outputs[0].metadata == {"image/png": {"width": 480, "height": 192}}


def test_form_is_stable_and_forgets_who_ran_it():
    nb = book(
        code("print(1)\nprint(2)", stream("1\n"), stream("2\n")), code("x = 1"), code("x = 1")
    )
    other = nbformat.from_dict(nb)
    other.cells[2].metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00"}
    other.cells[2].execution_count = 17
    other.cells[3].id = "abc"
    other.metadata["language_info"] = {"name": "python", "version": "3.13.1"}
    assert notebooks.to_text(notebooks.normalise(other, False)) == notebooks.to_text(nb)
    assert notebooks.to_text(notebooks.normalise(nb, False)) == notebooks.to_text(nb)
    assert len({cell.id for cell in nb.cells}) == len(nb.cells)
    assert len(nb.cells[2].outputs) == 1 and nb.cells[2].outputs[0].text == "1\n2\n"
    nbformat.validate(nb)


def test_form_numbers_figures_and_the_references_to_them():
    nb = book(
        text("Figures 4.2, 4.7 and 4.n differ; figure 5.1 is in another chapter."),
        code("f", figure()),
        text("*Figure 4.2. First.* See figure 4.7."),
        code("f", figure(), figure("two boxes, one above the other")),
        text("*Figures 4.7 and 4.9. Second and third: figure 4.9 is new.*\n\nNot 4.7 times."),
        text("![one box](box.svg)\n\n*Figure 4.n. The last.*"),
    )
    sources = [cell.source for cell in nb.cells[2:] if cell.cell_type == "markdown"]
    assert sources[0].startswith("Figures 4.1, 4.2 and 4.n differ; figure 5.1 is")
    assert sources[1] == "*Figure 4.1. First.* See figure 4.2."
    assert sources[2].startswith("*Figures 4.2 and 4.3. Second and third: figure 4.3 is new.*")
    assert sources[2].endswith("Not 4.7 times.") and "*Figure 4.4. The last.*" in sources[3]
    assert notebooks.to_text(notebooks.normalise(nb, False)) == notebooks.to_text(nb)


def test_form_writes_citations_and_their_list():
    nb = book(
        text("It reaches 61 % {footcite:p}`toshev2014deeppose,he2016identity`."),
        text("See {footcite:t}`toshev2014deeppose`."),
        text("## Take away\n\nIt is old.\n\n## References\n\n```{footbibliography}\n```"),
    )
    cited = "([Toshev and Szegedy, 2014](#references); [He et al., 2016b](#references))"
    assert nb.cells[2].source == f"It reaches 61 % {cited}."
    assert nb.cells[3].source == "See [Toshev and Szegedy (2014)](#references)."
    assert nb.cells[4].source.startswith("## Take away\n\nIt is old.\n\n## References\n\n- ")
    first, second = nb.cells[4].source.split("\n\n")[3].split("\n")
    assert first.startswith("- **He et al., 2016b.** Kaiming He") and "arXiv:1603.05027" in first
    assert second.startswith("- **Toshev and Szegedy, 2014.** Alexander Toshev")
    assert rules.complaints(nb, exercise=False) == []
    assert notebooks.to_text(notebooks.normalise(nb, False)) == notebooks.to_text(nb)
    with pytest.raises(KeyError):
        book(text("{footcite:p}`unknown2030work`"))
    with pytest.raises(ValueError, match="toshev2014deeppose"):
        book(text("{footcite:p}`toshev2014deeppose`"))
    with pytest.raises(KeyError):
        book(text("[Unknown and Work, 2030](#references)"))


def test_each_work_has_a_label_of_its_own():
    labels = citations.labels()
    assert len(set(labels.values())) == len(labels)
    assert "\\url" not in citations.reference_list(list(labels))
    for key, label in labels.items():
        assert citations.cited_keys(citations.link_citations(f"{{footcite:t}}`{key}`")) == [key]
        assert citations.key_of(label) == key


def test_form_brings_values_of_records_up_to_date(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "record.json").write_text('{"val": {"pck": [0.541, 1234.0]}}')
    monkeypatch.setattr(notebooks.lookup, "__defaults__", (tmp_path,))
    nb = book(text("PCK is {run}`a:val/pck/0:.2f` of {run}`a:val/pck/1:,.0f`."))
    assert nb.cells[2].source == (
        "PCK is 0.54<!-- run a:val/pck/0:.2f --> of 1,234<!-- run a:val/pck/1:,.0f -->."
    )
    assert rules.complaints(nb, exercise=False) == []
    (tmp_path / "a" / "record.json").write_text('{"val": {"pck": [-0.25, 9]}}')
    found = rules.complaints(nb, exercise=False)
    assert len(found) == 1 and "make refresh" in found[0]
    assert notebooks.normalise(nb, False).cells[2].source.startswith("PCK is -0.25<!--")


def test_hidden_cells_are_hidden_in_jupyterlab_and_not_in_the_students_copies():
    nb = book(code("x = 1", tags=["hide-input"]), code("x = 1"))
    assert nb.cells[2].metadata.jupyter == {"source_hidden": True}
    assert "jupyter" not in nb.cells[3].metadata
    solved = exercise()
    assert sum("jupyter" in cell.metadata for cell in solved.cells) == 2
    assert not any("jupyter" in cell.metadata for cell in assignments.cut(solved).cells)


def test_refresh_runs_in_place_and_leaves_a_failing_notebook_alone(tmp_path, monkeypatch, capsys):
    good = tmp_path / "good.ipynb"
    bad = tmp_path / "bad.ipynb"
    here = code(
        "from pathlib import Path\n\nprint(sorted(p.name for p in Path().iterdir()))", count=None
    )
    good.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[text("# Good"), here])))
    bad.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[text("# Bad"), code("1 / 0")])))
    before = bad.read_text()
    monkeypatch.setattr(sys, "argv", ["refresh", str(bad), str(good)])
    assert refresh.main() == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert bad.read_text() == before
    nb = notebooks.read(good)
    assert (
        nb.cells[1].outputs[0].text == "['bad.ipynb', 'good.ipynb']\n"
        and nb.cells[1].execution_count == 1
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.ipynb", "good.ipynb"]


def test_a_changed_output_is_noticed_and_a_redrawn_picture_is_not(tmp_path):
    show = (
        "from IPython.display import display\n\n"
        "display({'image/png': 'AAAA', 'text/plain': 'two boxes'}, raw=True)"
    )
    image = nbformat.v4.new_output("display_data", {"image/png": "BBBB", "text/plain": "two boxes"})
    other = nbformat.from_dict(image)
    other.data["text/plain"] = "three boxes"
    cells = [
        code("print(0.54)", stream("0.54\n")),
        code(show, image),
        code("print(0.55)", stream("0.54\n")),
        code(show, other),
    ]
    notebook = notebooks.normalise(nbformat.v4.new_notebook(cells=[text("# Stale"), *cells]), False)
    (tmp_path / "stale.ipynb").write_text(notebooks.to_text(notebook), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    command += [
        "--nbval-sanitize-with",
        str(ROOT / "tests" / "nbval_sanitize.cfg"),
        "-rA",
        "--rootdir",
        str(tmp_path),
        "-c",
        os.devnull,
    ]
    done = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    results = re.findall(r"^(PASSED|FAILED) .*Cell (\d)", done.stdout, re.M)
    assert sorted(results, key=lambda r: r[1]) == [
        ("PASSED", "0"),
        ("PASSED", "1"),
        ("FAILED", "2"),
        ("FAILED", "3"),
    ], done.stdout


# ---- the students' copies ------------------------------------------------------------------------


def test_cut_takes_the_solution_and_nothing_else():
    nb = exercise()
    before = notebooks.to_text(nb)
    copy = assignments.cut(nb)
    assert notebooks.to_text(nb) == before
    sources = "\n".join(cell.source for cell in copy.cells)
    assert "return 2 * x" not in sources and "SOLUTION" not in sources
    assert (
        "def double(x):\n    # Your code here.\n    ..." in sources
        and "ch01.check_double(double)" in sources
    )
    for cell in copy.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
        assert "hide-cell" not in cell.metadata.get("tags", [])
    graded = [
        cell.metadata.nbgrader
        for cell in copy.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    assert [(g.points, g.locked, g.grade_id) for g in graded] == [
        (1, True, "check-double"),
        (1, True, "check-twice"),
    ]
    with pytest.raises(ValueError, match="nothing to cut out"):
        assignments.cut(book(exercise=True))


@pytest.mark.parametrize("path", EXERCISES, ids=[path.stem for path in EXERCISES])
def test_students_copy_runs_and_each_check_says_not_yet(path):
    from nbclient import NotebookClient

    copy = assignments.cut(notebooks.read(path))
    client = NotebookClient(copy, timeout=120, kernel_name="python3", allow_errors=True)
    client.execute(cwd=str(path.parent))
    checks = [cell for cell in copy.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert len(checks) >= 2
    for cell in checks:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert [error.ename for error in errors] == ["CheckFailed"], cell.source
        shown = "\n".join(errors[0].traceback)
        assert shown.startswith("✗ Not yet: ") and "Traceback" not in shown
