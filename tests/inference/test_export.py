"""Export: the file's outputs are those of Keras, and a damaged or foreign file is refused."""

import http.server
import json
import re
import subprocess
import sys
import threading

import keras
import numpy as np
import onnx
import pytest

from posekit import cli, geometry, models
from posekit.datasets import download
from posekit.errors import DataError
from posekit.inference import evaluation, export, predictor
from posekit.skeleton import COCO17

K = len(COCO17)
CALIBRATION = {"bias": -3.0, "log_sigma": -1.2, "visibility": 0.4}


def smooth(seed: int, side: int = export.SIZE) -> np.ndarray:
    """(side, side, 3) uint8 picture of blobs."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    affine = np.array([[side / 8, 0, side / 16 - 0.5], [0, side / 8, side / 16 - 0.5]])
    return geometry.warp(coarse, affine, (side, side))


CROPS = np.stack([smooth(i) for i in range(3)])


@pytest.fixture(scope="module")
def minidome(tmp_path_factory):
    """The packaged model, as Keras' and as exported."""
    file = tmp_path_factory.mktemp("export") / "minidome.onnx"
    facts = export.export("minidome", file)
    return predictor.load("minidome"), predictor.load(file, threads=1), file, facts


def network(
    size: int = 64, presence: bool = False, seed: int = 0, **options
) -> predictor.Predictor:
    """A small network whose every output depends on the picture."""
    keras.utils.set_random_seed(seed)
    model = models.build(
        "resnet18v2", head="votes", base_channels=4, input_size=size, predict_sigma=True, **options
    )
    rng = np.random.default_rng(seed)
    for name in ("head_sigma", "head_votes", "visibility"):
        kernel = model.get_layer(name).kernel
        kernel.assign(rng.normal(0, 0.03, kernel.shape))
    record = {"mean_pose": np.zeros((K, 2)).tolist(), "mean_visibility": np.ones(K).tolist()}
    if presence:
        mean = keras.ops.mean(model.output["sigma"], axis=(1, 2))
        model = keras.Model(
            model.input, model.output | {"presence": keras.ops.expand_dims(mean, -1)}
        )
    return predictor.Predictor(model, record)


def save(loaded: predictor.Predictor, folder):
    folder.mkdir(parents=True, exist_ok=True)
    loaded.model.save(folder / "model.keras")
    (folder / "record.json").write_text(json.dumps(loaded.record))
    return folder


def relative(want: np.ndarray, got: np.ndarray) -> float:
    assert want.shape == got.shape and want.dtype == got.dtype == np.float32
    return np.abs(got - want).max() / np.abs(want).max()


# ---- the contract --------------------------------------------------------------------------------


def test_the_file_keeps_the_contract(minidome):
    graph = onnx.load(minidome[2]).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in [*graph.input, *graph.output]
    }
    assert shapes == {
        "image": [1, 224, 224, 3],
        "keypoints": [1, 17, 2],
        "visibility": [1, 17],
        "score": [1, 17],
        "presence": [1],
    }
    assert all(
        v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        for v in [*graph.input, *graph.output]
    )
    assert [o.version for o in onnx.load(minidome[2]).opset_import if o.domain == ""] == [
        export.OPSET
    ]


@pytest.mark.parametrize("flip", [False, True])
def test_each_output_equals_keras(minidome, flip):
    keras_model, exported, *_ = minidome
    want = keras_model.predict_crops(CROPS, flip)
    got = exported.predict_crops(CROPS, flip)
    assert set(got) == set(export.OUTPUTS) == set(want) - {"sigma"}
    for name in export.OUTPUTS:
        assert relative(want[name], got[name]) < 1e-3, name
    assert got["presence"].shape == (3,)


def test_nobody_has_no_pose(minidome):
    out = minidome[1].predict_crops(CROPS[:0], flip=True)
    shapes = {"keypoints": (0, K, 2), "visibility": (0, K), "score": (0, K), "presence": (0,)}
    assert {name: value.shape for name, value in out.items()} == shapes


def test_in_float32_only_rounding_is_left(minidome):
    """Neither conversion nor ONNX Runtime's optimizer changes anything (`_keep_zero_padding`)."""
    found = export.output_errors(minidome[0], export.to_onnx(minidome[0], float16=False))
    assert max(found.values()) < 5e-6, found


def test_a_pooling_padded_by_zero_stays_so_in_onnx_runtime():
    """With all values below 0, the zero border must win at the edge, not minus infinity."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    def answer(mend: bool) -> np.ndarray:
        nodes = [
            helper.make_node("Pad", ["x", "pads"], ["padded"]),
            helper.make_node(
                "MaxPool", ["padded"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 0, 0]
            ),
        ]
        ends = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
            for n, s in (("x", [1, 1, 6, 6]), ("y", [1, 1, 3, 3]))
        ]
        pads = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads")
        graph = helper.make_model(
            helper.make_graph(nodes, "pool", ends[:1], ends[1:], [pads]),
            opset_imports=[helper.make_opsetid("", 17)],
        )
        graph.ir_version = 8
        if mend:
            export._keep_zero_padding(graph)
        return onnxruntime.InferenceSession(graph.SerializeToString()).run(
            None, {"x": -np.ones((1, 1, 6, 6), "f4")}
        )[0]

    assert answer(True)[0, 0].tolist() == [[0, 0, 0], [0, -1, -1], [0, -1, -1]]


def test_people_are_found_as_often_as_with_keras(minidome):
    """The claim that matters: strict PCP on MiniDome's validation people, to half a percent."""
    from posekit import minidome as dome

    records = dome.dataset().val_records
    want, got = (
        evaluation.scores(evaluation.predict_records(p, records, flip=False)) for p in minidome[:2]
    )
    assert abs(want["pcp"]["mean"] - got["pcp"]["mean"]) <= 0.005
    assert abs(want["pck@0.2"] - got["pck@0.2"]) <= 0.005
    assert got["pcp"]["mean"] > 0.5


@pytest.mark.parametrize("size", [160, 128, 64])
def test_another_input_size_is_reached_inside_the_graph_as_training_cut_it(tmp_path, size):
    """A 224 crop resized by the graph is the crop of training at that size, to about 1 of 255."""
    loaded = network(size)
    photo = smooth(5, 300)
    export.export(save(loaded, tmp_path / "run"), tmp_path / "m.onnx")
    exported = predictor.load(tmp_path / "m.onnx")
    assert exported.input_size == 224
    for bbox in ([40, 30, 200, 220], [100, 100, 90, 60]):
        here = loaded.predict(photo, bbox)
        there = exported.predict(photo, bbox)
        side = 1.25 * max(bbox[2:])
        assert np.abs(here.keypoints - there.keypoints).max() < 0.01 * side
        assert np.abs(here.visibility - there.visibility).max() < 0.02
    resize = keras.layers.Resizing(size, size)
    cut = geometry.warp(
        CROPS[0],
        np.array([[size / 224, 0, s := (size / 224 - 1) / 2], [0, size / 224, s]]),
        (size,) * 2,
    )
    assert np.abs(np.asarray(resize(CROPS[:1].astype("f4")))[0] - cut).max() <= 1.5


def test_calibrated_scores_and_trained_presence_are_in_the_file(tmp_path):
    loaded = network(presence=True)
    loaded.record["calibration"] = CALIBRATION
    export.export(save(loaded, tmp_path / "run"), tmp_path / "m.onnx")
    exported = predictor.load(tmp_path / "m.onnx")
    small = np.asarray(keras.layers.Resizing(64, 64)(CROPS.astype("f4")))
    want = loaded.predict_crops(small)
    got = exported.predict_crops(CROPS)
    for name in export.OUTPUTS:
        assert relative(want[name], got[name]) < 2e-3, name
    raw = loaded.model.predict_on_batch(small)
    sigma = np.asarray(raw["sigma"]).mean(-1)
    p = np.asarray(raw["visibility"])
    logistic = 1 / (1 + np.exp(-(-3.0 - 1.2 * np.log(sigma) + 0.4 * np.log(p / (1 - p)))))
    np.testing.assert_allclose(want["score"], logistic, atol=1e-4)
    np.testing.assert_allclose(want["presence"], np.asarray(raw["presence"])[:, 0], atol=1e-6)
    assert exported.record["calibration"] == CALIBRATION


def test_without_calibration_or_presence_head_the_contract_is_kept():
    out = {"keypoints": np.zeros((2, K, 2)), "visibility": np.linspace(0, 1, 2 * K).reshape(2, K)}
    whole = predictor.complete_outputs(out)
    np.testing.assert_array_equal(whole["score"], out["visibility"])
    np.testing.assert_allclose(whole["presence"], out["visibility"].max(axis=1))
    sure = predictor.complete_outputs(
        {**out, "visibility": np.ones((2, K)), "sigma": np.full((2, K, 2), 0.1)}, CALIBRATION
    )
    assert np.isfinite(sure["score"]).all(), "a visibility of 1 has no logit"


# ---- what is in the file -------------------------------------------------------------------------


def test_float16_halves_the_size(minidome):
    whole = len(export.to_onnx(minidome[0], float16=False))
    assert minidome[3]["bytes"] == minidome[2].stat().st_size
    assert 0.48 < minidome[3]["bytes"] / whole < 0.55
    graph = onnx.load(minidome[2]).graph
    large = [t for t in graph.initializer if np.prod(t.dims) > 2000]
    assert large and all(t.data_type == onnx.TensorProto.FLOAT16 for t in large)


def test_eight_bits_answer_nearly_alike_and_are_small(minidome):
    """Calibrated on the tested images: outputs stay near, in about a quarter of the bytes."""
    file = export.quantize_int8(export.to_onnx(minidome[0], float16=False), CROPS)
    assert len(file) < 0.65 * minidome[3]["bytes"]
    found = export.output_errors(minidome[0], file)
    assert 1e-4 < found["keypoints"] < 0.5 and found["presence"] < 0.1
    used = {node.op_type for node in onnx.load_from_string(file).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= used


def test_the_metadata_say_where_it_comes_from(tmp_path):
    loaded = network()
    loaded.record.update(recipe={"base_channels": 4}, terms="For research and teaching.")
    export.export(save(loaded, tmp_path / "run"), tmp_path / "m.onnx")
    facts = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert (
        json.loads(facts["record"]) == loaded.record == predictor.load(tmp_path / "m.onnx").record
    )
    assert json.loads(facts["joints"]) == list(COCO17.joints)
    assert facts["terms"] == "For research and teaching." and re.fullmatch(
        r"\d+\.\d+.*", facts["posekit"]
    )


def test_an_exported_model_needs_neither_keras_nor_tensorflow(minidome):
    code = (
        "import sys, numpy as np, posekit\n"
        f"model = posekit.load({str(minidome[2])!r}, threads=1)\n"
        "pose = model.predict(np.zeros((50, 40, 3), 'u1'))\n"
        "print(pose.keypoints.shape, *({'keras', 'tensorflow', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(17, 2)"


# ---- bad input -----------------------------------------------------------------------------------


def test_the_command_writes_says_how_far_off_and_refuses_to_overwrite(tmp_path, capsys):
    run = save(network(), tmp_path / "run")
    out = tmp_path / "deep" / "m.onnx"
    assert cli.main(["export", "--model", str(run), str(out)]) == 0
    told = capsys.readouterr().out
    assert all(re.search(rf"{name} +\d\.\de-\d\d", told) for name in export.OUTPUTS), told
    assert [path.name for path in out.parent.iterdir()] == ["m.onnx"]
    before = out.read_bytes()
    assert cli.main(["export", "--model", str(run), str(out)]) == 2
    assert "exists already" in capsys.readouterr().err and out.read_bytes() == before


@pytest.mark.parametrize(
    ("model", "out", "told"),
    [
        ("nonesuch", "m.onnx", "no such model"),
        ("damaged", "m.onnx", "cannot be read"),
        ("minidome", "file/m.onnx", "cannot be written"),
        ("minidome", "m.keras", "end in .onnx"),
    ],
)
def test_what_cannot_be_exported_is_one_clear_line(tmp_path, monkeypatch, capsys, model, out, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "record.json").write_text("{}")
    assert cli.main(["export", "--model", model, out]) == 2
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1 and "Traceback" not in err
    assert not list(tmp_path.glob("**/*.onnx*"))


def test_a_file_that_answers_otherwise_is_not_written(tmp_path):
    """Weights beyond what float16 holds: refused, with the output that is off."""
    loaded = network()
    kernel = loaded.model.get_layer("head_votes").kernel
    kernel.assign(np.full(kernel.shape, 1e6, np.float32))
    with pytest.raises(DataError, match="off by"):
        export.export(save(loaded, tmp_path / "run"), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_an_exported_model_cannot_be_exported_or_trained(minidome, tmp_path):
    with pytest.raises(DataError, match="exported"):
        export.export(minidome[2], tmp_path / "again.onnx")
    with pytest.raises(DataError, match="trained"):
        minidome[1].model.get_weights()


@pytest.mark.parametrize("damage", ["missing", "cut short", "not onnx", "of somebody else"])
def test_a_damaged_onnx_file_is_one_clear_error(minidome, tmp_path, damage):
    path = tmp_path / "m.onnx"
    data = minidome[2].read_bytes()
    if damage == "of somebody else":
        graph = onnx.load(minidome[2])
        del graph.metadata_props[:]
        data = graph.SerializeToString()
    if damage != "missing":
        path.write_bytes(
            {"cut short": data[: len(data) // 2], "not onnx": b"no model at all"}.get(damage, data)
        )
    with pytest.raises(DataError) as error:
        predictor.load(path)
    assert (
        str(path) in str(error.value)
        and "\n" not in str(error.value)
        and "posekit export" in str(error.value)
    )


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("input", "found picture (1, 224, 224, 3) -> keypoints"),
        ("shape", "found image (N, 224, 224, 3) -> keypoints"),
        ("output", "presence (1), visibility (1, 17)"),
    ],
)
def test_a_file_of_another_signature_is_refused_by_name(minidome, tmp_path, change, found):
    """One line that names the file, what was expected, and what was found."""
    graph = onnx.load(minidome[2])
    if change == "input":
        for node in graph.graph.node:
            node.input[:] = ["picture" if name == "image" else name for name in node.input]
        graph.graph.input[0].name = "picture"
    elif change == "shape":
        graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    else:
        kept = [output for output in graph.graph.output if output.name != "score"]
        del graph.graph.output[:]
        graph.graph.output.extend(kept)
    path = tmp_path / "other.onnx"
    onnx.save(graph, path)
    with pytest.raises(DataError) as error:
        predictor.load(path)
    told = str(error.value)
    assert told.startswith(f"{path}: has another signature: expected image (1, 224, 224, 3) -> ")
    assert "score (1, 17)" in told.split("found")[0] and "\n" not in told
    assert found in told
    assert change != "output" or "score" not in told.split("found")[1]


def test_a_keras_model_without_keras_is_refused_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(DataError, match=r"minidome: is a Keras model.*\[train\]"):
        predictor.load("minidome")


# ---- the package's models ------------------------------------------------------------------------


def test_the_manifest_lists_the_package_as_it_is(tmp_path, monkeypatch):
    """If it fails after the weights were changed, call `export.write_manifest()`."""
    path = predictor.weights_folder() / "manifest.json"
    listed = json.loads(path.read_bytes())
    here = {f.relative_to(path.parent).as_posix() for f in path.parent.glob("*/*")}
    assert {name for name, want in listed.items() if "url" not in want} == here
    assert set(predictor.list_models()) == {
        name.split("/")[0] for name in listed if name.split("/")[1].startswith("model.")
    }
    for name in predictor.list_models():
        if not any("url" in want for file, want in listed.items() if file.startswith(f"{name}/")):
            predictor._packaged(name)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A package of its own to put models into."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(predictor, "weights_folder", lambda: folder)
    return folder


def test_a_packaged_model_is_verified_when_it_is_loaded(shelf, tmp_path, monkeypatch, capsys):
    run = save(network(), tmp_path / "run")
    (shelf / "small").mkdir()
    (shelf / "small" / "model.keras").write_bytes(b"the one before")
    assert cli.main(["export", "--model", str(run), "--package", "small"]) == 0
    monkeypatch.chdir(tmp_path)
    assert predictor.list_models() == ["small"] and sorted(
        f.name for f in (shelf / "small").iterdir()
    ) == [
        "model.onnx",
        "record.json",
    ]
    assert predictor.load("small").predict_crops(CROPS)["score"].shape == (3, K)
    file = shelf / "small" / "model.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"model\.onnx: is damaged.*SHA-256.*install posekit again"):
        predictor.load("small")
    file.unlink()
    with pytest.raises(DataError, match="cannot be read.*install posekit again"):
        predictor.load("small")


def test_a_package_without_manifest_says_so(shelf):
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read"):
        predictor.load("anything")


def test_a_released_model_is_fetched_once_and_verified(shelf, minidome, tmp_path, monkeypatch):
    """The package has its address, size and SHA-256; it is fetched into the cache, resumably."""
    import functools

    released = tmp_path / "released"
    data = minidome[2].read_bytes()
    released.mkdir()
    (released / "model.onnx").write_bytes(data)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(released))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    monkeypatch.setenv("POSEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        download.fetch,
        "__kwdefaults__",
        {**download.fetch.__kwdefaults__, "policy": download.RetryPolicy(1, 2, 0)},
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        want = {"sha256": minidome[3]["sha256"], "bytes": len(data)}
        want["url"] = f"http://127.0.0.1:{server.server_port}/model.onnx"
        (shelf / "manifest.json").write_text(json.dumps({"teacher/model.onnx": want}))
        assert predictor.list_models() == ["teacher"]
        np.testing.assert_array_equal(
            predictor.load("teacher").predict_crops(CROPS)["score"],
            minidome[1].predict_crops(CROPS)["score"],
        )
        server.shutdown()
    assert predictor.load("teacher").input_size == 224, "the second time needs no network"
    (tmp_path / "cache" / "models" / "teacher" / "model.onnx").unlink()
    with pytest.raises(DataError, match="could not be fetched.*cannot be reached"):
        predictor.load("teacher")
