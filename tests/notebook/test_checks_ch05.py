"""Chapter 05's exercises: the solutions in the notebook pass, and what a check counts is what Keras builds."""

from pathlib import Path

import keras
import nbformat
import numpy as np
import pytest
from keras import layers

from posekit import models
from posekit.models import densenet, resnet
from posekit.notebook.checks import ch05

NOTEBOOK = Path(__file__).parents[2] / "chapters/exercises/ex05_densenet.ipynb"


def solutions() -> dict:
    """The functions that the notebook's solution cells define."""
    names = {"np": np, "layers": layers, "ch05": ch05, "resnet": resnet}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "### BEGIN SOLUTION" in cell.source:
            exec(cell.source, names)
    return names


SOLVED = solutions()


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (ch05.check_dense_layer, "dense_layer"),
        (ch05.check_channels, "channels_after_blocks"),
        (ch05.check_mended_block, "mended_block"),
        (ch05.check_largest_growth, "largest_growth"),
    ],
)
def test_the_solution_passes(check, name, capsys):
    check(SOLVED[name])
    assert capsys.readouterr().out.startswith("✓")


def test_the_channels_are_those_of_a_built_densenet_121():
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, densenet.densenet(image, densenet.LAYERS[121], 32))
    built = [
        model.get_layer(f"block{b}_layer{n}_out").output.shape[-1]
        for b, n in enumerate(densenet.LAYERS[121], 1)
    ]
    assert (
        SOLVED["channels_after_blocks"](densenet.LAYERS[121], 32) == built == [256, 512, 1024, 1024]
    )


def test_the_forgetful_block_of_the_exercise_does_not_pass():
    def forgetful(x, count, k):
        for i in range(count):
            new = ch05.layer(x, k)
            x = layers.Concatenate()([new, x[..., -k:]]) if i else layers.Concatenate()([x, new])
        return x

    with pytest.raises(ch05.CheckFailed):
        ch05.check_mended_block(forgetful)


def test_the_work_rises_with_the_growth_rate_and_is_the_races():
    assert ch05.work(4) < ch05.work(5) < ch05.work(12)
    whole = models.build(
        "densenet43", head="votes", base_channels=24, input_size=128, input_downsample=1
    )
    assert (
        sum(models.multiply_adds(whole).values()) - ch05.work(12)
        == 4 * 4 * whole.get_layer("head_votes").kernel.shape[2] * 51
        + whole.get_layer("visibility").kernel.shape[0] * 17
    )
