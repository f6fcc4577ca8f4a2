"""Two processes that train, export or run an experiment into one place."""

import pytest
from test_files import hold

from posekit import cli


def command(name: str, out) -> list[str]:
    return {
        "train": ["train", "--records", "r", "--val", "r", "--epochs", "1", "--out", str(out)],
        "export": ["export", "--model", "minidome", str(out)],
        "experiment": ["experiment", "gradients", "--out", str(out)],
        "keep": ["experiment", "gradients", "--out", str(out) + "2", "--keep", str(out)],
    }[name]


@pytest.mark.parametrize("name", ["train", "export", "experiment", "keep"])
def test_the_second_process_is_refused_at_once(tmp_path, capsys, monkeypatch, name):
    """Before Keras is loaded, and without a trace."""
    monkeypatch.setattr(cli.hardware, "load_keras", lambda: pytest.fail("Keras was loaded"))
    out = tmp_path / "x.onnx"
    with hold(out) as process:
        before = sorted(tmp_path.iterdir())
        assert cli.main(command(name, out)) == 2
        told = capsys.readouterr().err
        assert sorted(tmp_path.iterdir()) == before
        process.stdin.close()
    assert told.startswith(f"error: {out}: another process is writing it")
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "given",
    [
        ["train", "--records", "gs://b/r", "--val", "r", "--epochs", "1", "--out", "x"],
        ["train", "--records", "r", "--val", "s3://b/r", "--epochs", "1", "--out", "x"],
        ["train", "--records", "r", "--val", "r", "--epochs", "1", "--out", "gs://b/x"],
        ["train", "--records", "r", "--val", "r", "--epochs", "1", "--out", "x"]
        + ["--tensorboard", "gs://b/x"],
        ["train", "--records", "r", "--val", "r", "--epochs", "1", "--out", "x"]
        + ["--start-from", "https://host/model.keras"],
        ["evaluate", "--model", "stage1", "--records", "gs://b/r"],
        ["evaluate", "--coco", "https://host/a.json", "--results", "x.json"],
        ["evaluate", "--coco", "a.json", "--results", "gs://b/x.json"],
        ["predict", "--model", "stage1", "https://host/a.jpg"],
        ["predict", "--model", "https://host/m.onnx", "a.jpg"],
        ["predict", "--model", "stage1", "a.jpg", "--draw", "s3://b/x"],
        ["export", "--model", "minidome", "s3://b/x.onnx"],
        ["webcam", "--source", "a.mp4", "--out", "gs://b/x.mp4"],
        ["webcam", "--model", "hdfs://host/m.onnx"],
        ["experiment", "gradients", "--out", "gs://b/x"],
        ["experiment", "gradients", "--keep", "gs://b/x"],
    ],
)
def test_every_command_refuses_an_address_by_name(tmp_path, capsys, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(given)
    except SystemExit as end:  # of argparse
        code = end.code
    told = capsys.readouterr().err
    address = next(word for word in given if "://" in word)
    assert code == 2 and told.startswith("error: ") and told.count("\n") == 1
    assert f"{address}: is an address" in told
    assert not any(tmp_path.iterdir())
