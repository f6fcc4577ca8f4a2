"""Chapter 11's exercises: the solutions in the notebook pass, agree with what export and runtime do, and mistakes get their own hint."""

from pathlib import Path

import keras
import nbformat
import numpy as np
import pytest

from posekit.notebook.checks import CheckFailed, ch11
from tests.wrong_answers import ch11 as wrong

NOTEBOOKS = Path(__file__).parents[2] / "chapters"


def solutions() -> dict:
    """The functions that the notebook's solution cells define."""
    names = {"np": np}
    for cell in nbformat.read(NOTEBOOKS / "exercises/ex11_deploy.ipynb", as_version=4).cells:
        if "### BEGIN SOLUTION" in cell.source:
            exec(cell.source, names)
    return names


SOLVED = solutions()
CHECKS = {
    "fold_before": ch11.check_fold_before,
    "quantise": ch11.check_quantise,
    "to_contract": ch11.check_to_contract,
    "choose": ch11.check_choose,
}


@pytest.mark.parametrize("name", CHECKS)
def test_solution_passes_and_an_empty_answer_is_told_so(name, capsys):
    CHECKS[name](SOLVED[name])
    assert capsys.readouterr().out.startswith("✓ ")
    with pytest.raises(CheckFailed, match="no value yet"):
        CHECKS[name](None)


def test_each_check_knows_several_mistakes():
    hints = {}
    for check, _, piece in wrong.WRONG:
        hints.setdefault(check.__name__, set()).add(piece)
    assert len(hints) == 4 and all(len(pieces) >= 7 for pieces in hints.values())


def test_a_folded_norm_says_what_kerass_layers_say():
    keras.utils.set_random_seed(0)
    norm, dense = keras.layers.BatchNormalization(epsilon=0.02), keras.layers.Dense(3)
    model = keras.Sequential([keras.Input((4,)), norm, dense])
    rng = np.random.default_rng(0)
    norm.set_weights([rng.uniform(0.5, 2, 4) for _ in norm.weights])
    x = rng.normal(size=(6, 4)).astype(np.float32)
    kernel, bias = SOLVED["fold_before"](*dense.get_weights(), *norm.get_weights(), norm.epsilon)
    np.testing.assert_allclose(x @ kernel + bias, np.asarray(model(x, training=False)), atol=1e-5)


def test_the_chapters_functions_are_right():
    """`fold` and `quantise_weights`, as the chapter defines them."""
    names = {"np": np}
    for cell in nbformat.read(NOTEBOOKS / "11_deploy.ipynb", as_version=4).cells:
        if cell.source.startswith(("def fold(", "def quantise_weights(")):
            exec(cell.source.split("\n\n\n")[0], names)
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(3, 3, 4, 5)) * rng.uniform(0.1, 3, 5)
    gamma, beta, mean, variance = rng.uniform(0.5, 2, (4, 5))
    new, bias = names["fold"](kernel, gamma, beta, mean, variance, 1e-3)
    x = rng.normal(size=(3, 3, 4))
    want = gamma * (np.einsum("hwi,hwio->o", x, kernel) - mean) / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(np.einsum("hwi,hwio->o", x, new) + bias, want)
    for axis in (None, (0, 1, 2)):
        q, scale = names["quantise_weights"](kernel, axis)
        assert q.dtype == np.int8 and np.all(np.abs(q * scale - kernel) <= scale / 2 + 1e-9)


def test_eight_bits_are_those_of_onnx_runtime():
    """The very integers of the operator QuantizeLinear."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(2)
    x = rng.uniform(-3, 9, 200).astype(np.float32)
    q, scale, zero = SOLVED["quantise"](x, -2.0, 6.0)
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    given = [
        numpy_helper.from_array(np.float32(scale), "s"),
        numpy_helper.from_array(np.uint8(zero), "z"),
    ]
    ends = [
        helper.make_tensor_value_info(n, t, [200])
        for n, t in (("x", TensorProto.FLOAT), ("q", TensorProto.UINT8))
    ]
    graph = helper.make_graph([node], "q", ends[:1], ends[1:], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    theirs = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(q, theirs)
