"""The reader's progress: which exercises are solved, and where that is kept."""

import importlib
import json

import pytest

from posekit import notebook
from posekit.notebook import solved

RIGHT = (
    "from posekit.notebook.checks import ch08\n"
    "ch08.check_grey_kernel(lambda kernel: kernel.sum(axis=2, keepdims=True))"
)
WRONG = (
    "from posekit.notebook.checks import ch08\n"
    "ch08.check_grey_kernel(lambda kernel: kernel.mean(axis=2, keepdims=True))"
)


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The file of a reader who has solved nothing."""
    path = tmp_path / "home" / "progress.json"
    monkeypatch.setenv("POSEKIT_PROGRESS", str(path))
    return path


@pytest.fixture
def reader(monkeypatch):
    """A person in front of the notebook."""
    monkeypatch.setattr(solved, "_has_reader", lambda: True)


@pytest.mark.parametrize("chapter", solved.chapters(), ids=lambda chapter: chapter.module)
def test_every_check_is_an_exercise_in_its_order(chapter):
    module = importlib.import_module(f"posekit.notebook.checks.{chapter.module}")
    assert list(chapter.checks) == [name for name in vars(module) if name.startswith("check_")]
    assert chapter.title


def test_a_check_that_passes_is_recorded_and_one_that_fails_is_not(state, reader, capsys):
    exec(RIGHT)
    assert list(solved.read()["ch08"]) == ["check_grey_kernel"]
    before = state.read_text()
    with pytest.raises(AssertionError):
        exec(WRONG)
    exec(RIGHT)
    assert state.read_text() == before, "the first day is kept"
    notebook.progress()
    out = capsys.readouterr().out
    assert f"1 of {sum(len(c.checks) for c in solved.chapters())} exercises solved" in out
    (line,) = (line for line in out.splitlines() if line.startswith("chapter 08"))
    assert (
        line.split() == "chapter 08, transfer learning grey_kernel (3) rate (1), match (2)".split()
    )


def test_a_test_records_nothing(state):
    exec(RIGHT)
    assert not state.exists()


def test_without_a_place_to_write_the_checks_pass_all_the_same(
    tmp_path, monkeypatch, reader, capsys
):
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file" / "progress.json", "off"):
        monkeypatch.setenv("POSEKIT_PROGRESS", str(place))
        exec(RIGHT)
        assert solved.read() == {}
        notebook.progress()
        assert "0 of " in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"ch08": 3}', "\u2028"])
def test_a_damaged_file_is_replaced(content, state, reader):
    state.parent.mkdir()
    state.write_text(content, encoding="utf-8")
    assert solved.read() == {}
    solved.record("ch08", "check_rate")
    solved.record("ch01", "check_flip_person")
    assert set(json.loads(state.read_text())) == {"ch01", "ch08"}


def test_the_file_is_in_the_folder_for_the_state_of_programs(monkeypatch):
    import platformdirs

    monkeypatch.delenv("POSEKIT_PROGRESS", raising=False)
    path = solved.state_file()
    assert path == platformdirs.user_state_path("posekit", appauthor=False) / "progress.json"


def test_a_kernel_records_for_a_reader_and_not_for_a_program(state):
    """JupyterLab lets a cell ask for input; nbclient and nbval, which run notebooks by themselves,
    do not."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")

    def run(code: str, reader: bool) -> list[dict]:
        told = []
        reply = client.execute_interactive(
            code, allow_stdin=reader, output_hook=told.append, timeout=120
        )
        assert reply["content"]["status"] == "ok"
        return [message["content"].get("data", {}) for message in told]

    try:
        run(RIGHT, reader=False)
        assert not state.exists()
        run(RIGHT, reader=True)
        assert list(solved.read()) == ["ch08"]
        shown = run("from posekit import notebook\nnotebook.progress()", reader=True)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    (table,) = (data["text/html"] for data in shown if "text/html" in data)
    assert "<th>solved</th><th>open</th>" in table and "<td>grey_kernel (3)</td>" in table
