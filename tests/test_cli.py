"""The command line as a whole: its help, its names and defaults, what it draws."""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import posekit
from posekit import cli, images, inputs, live, losses, models, training, viz
from posekit.inference import predictor

ROOT = Path(__file__).resolve().parents[1]


def options_of(command: str) -> list[argparse.Action]:
    """The options of a command, without --help."""
    top = cli.parser()
    commands = next(a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    return [a for a in commands.choices[command]._actions if a.dest != "help"]


def test_without_a_command_it_prints_its_help(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    for command in ("doctor", "train", "evaluate", "predict", "export", "webcam", "experiment"):
        assert f"    {command}" in out


def test_it_tells_its_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"posekit {posekit.__version__}\n"


def test_it_is_a_console_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"posekit": "posekit.__main__:main"}
    assert (ROOT / "posekit" / "py.typed").is_file()


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "predict", "export", "webcam", "experiment"]
)
def test_every_option_is_explained(command):
    unexplained = [a.dest for a in options_of(command) if a.option_strings and not a.help]
    assert unexplained == []


def test_every_option_of_train_tells_its_default_or_that_it_is_required():
    for action in options_of("train"):
        switch = action.nargs == 0
        assert switch or "default: " in action.help or "required" in action.help, action.dest
        if action.choices:
            assert all(str(choice) in action.help for choice in action.choices), action.dest


def test_choices_of_train_are_what_the_library_has():
    choices = {a.dest: set(a.choices) for a in options_of("train") if a.choices}
    assert choices == {
        "backbone": set(models.BACKBONES),
        "head": set(models.HEADS | models.PYRAMID_HEADS),
        "loss": set(losses.LOSSES),
        "optimizer": set(training.OPTIMIZERS),
        "input": set(training.INPUT_PIPELINES),
        "joints": {17, 19},
    }


def test_defaults_of_train_are_those_of_the_library():
    """Those that depend on `--start-from` are None, and stand in the help."""
    defaults = {a.dest: a.default for a in options_of("train")}
    helps = {a.dest: a.help for a in options_of("train")}
    recipe = training.Recipe(epochs=1)
    for option, field in cli.RECIPE_FIELDS.items():
        if option not in ("epochs", "minutes"):
            value = getattr(recipe, field)
            if defaults[option] is None:
                assert f"default: {value}" in helps[option], option
            else:
                assert defaults[option] == value, option
    for option, field in cli.AUGMENT_FIELDS.items():
        assert defaults[option] == getattr(inputs.Augmentation(), field), option


def test_the_help_of_webcam_names_the_default_model():
    model = next(a for a in options_of("webcam") if a.dest == "model")
    assert f"(default: {live.DEFAULT_MODEL})" in model.help


@pytest.mark.parametrize("above", [-0.01, 0.01])
def test_predict_draws_the_joints_whose_score_reaches_the_threshold(
    tmp_path, monkeypatch, capsys, above
):
    """Score, not visibility, decides, and from where `DRAW_THRESHOLD` says."""
    score = predictor.DRAW_THRESHOLD + above
    asked = []

    def watched(image, keypoints, visible, **_):
        asked.append(np.asarray(visible))
        return image

    class Fixed(predictor.Predictor):
        def predict_crops(self, crops, flip=False):
            scores = np.full((1, 17), score, np.float32)
            scores[0, :5] = 0.9
            return {
                "keypoints": np.zeros((1, 17, 2), np.float32),
                "visibility": np.linspace(0, 1, 17, dtype=np.float32)[None],
                "score": scores,
                "presence": np.ones(1, np.float32),
            }

    class Model:
        input_shape = (1, 32, 32, 3)

    monkeypatch.setattr(viz, "draw_on_image", watched)
    monkeypatch.setattr(predictor, "load", lambda name: Fixed(Model(), {}))
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(images.encode_jpeg(np.zeros((40, 50, 3), np.uint8)))
    arguments = ["predict", "--model", "stage1", str(photo), "--draw", str(tmp_path / "d")]
    assert cli.main(arguments) == 0
    assert asked[0].tolist() == [True] * 5 + [score > predictor.DRAW_THRESHOLD] * 12


def test_a_reader_that_ends_early_is_no_error(tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(images.encode_jpeg(np.zeros((40, 50, 3), np.uint8)))
    code = (
        "import os, sys\nfrom posekit import cli\n"
        "reader, writer = os.pipe()\nos.close(reader)\nos.dup2(writer, 1)\n"
        "sys.stdout.reconfigure(line_buffering=True)\n"
        f"sys.exit(cli.main(['predict', '--model', 'stage1', {str(photo)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
