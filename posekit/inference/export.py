"""Export a training run to one ONNX file that needs neither Keras nor this book (chapter 14).

    Keras run -> standard outputs added -> ONNX graph -> weights stored as float16 -> compared with
    Keras -> OUT.onnx

Input: `image` (1, 224, 224, 3) float32, RGB, 0 ... 255. Outputs: `keypoints` (1, 17, 2),
`visibility` (1, 17), `score` (1, 17) and `presence` (1,), as
`posekit.inference.predictor.complete_outputs` defines them. Rescaling of colours and resizing to
the network's input size are in the graph, so that no user has to repeat them. The record of the
training is in the file's metadata.

Batch norms need no step of ours: with frozen statistics a batch norm is a multiplication and an
addition.
The conversion writes it so, folds it into the convolution where one stands directly before it, and
ONNX Runtime folds the rest when it loads the file.
"""

import hashlib
import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

from posekit import __version__, hardware
from posekit.errors import DataError
from posekit.files import atomic_write, local_path, lock_output
from posekit.inference import predictor
from posekit.skeleton import COCO17

SIZE = 224
"""Side of every exported model's input; the graph resizes it to the network's."""
OPSET = 17
"""Version of ONNX' operator set: old enough for any runtime in use."""
OUTPUTS = ("keypoints", "visibility", "score", "presence")
TOLERANCE = 0.01
"""Largest relative difference of an output to Keras with which a file is written; rounding to
float16 has caused up to 0.006, in the released network."""


def add_standard_outputs(loaded: predictor.Predictor):
    """Return a Keras model with the standard input and outputs around a run's network.

    It shares the network's weights. The resizing is bilinear, between pixel centres, as
    `geometry.warp` cuts crops for training; there is none if the sizes agree.

    Args:
        loaded: over a Keras model.
    """
    import keras
    from keras import ops

    image = keras.Input((SIZE, SIZE, 3), batch_size=1, dtype="float32", name="image")
    size = loaded.input_size
    x = image if size == SIZE else keras.layers.Resizing(size, size, name="resize")(image)
    out = predictor.complete_outputs(
        loaded.model(x, training=False), loaded.record.get("calibration"), ops
    )
    return keras.Model(image, {name: out[name] for name in OUTPUTS}, name="contract")


def to_onnx(loaded: predictor.Predictor, float16: bool = True) -> bytes:
    """Return the bytes of an ONNX file, which `output_errors` can then check.

    Args:
        loaded: over a Keras model, on Keras' TensorFlow backend.
        float16: store weights as float16 (see `weights_to_float16`), half the size.

    Raises:
        DataError: for an exported model, or on another Keras backend than TensorFlow.
    """
    if isinstance(loaded.model, predictor.OnnxModel):
        raise DataError("the model", "is an exported one", "give the run that it was made of")
    import keras
    import onnx

    if keras.backend.backend() != "tensorflow":
        raise DataError(
            "KERAS_BACKEND", f"is {keras.backend.backend()}", "export with KERAS_BACKEND=tensorflow"
        )
    model = add_standard_outputs(loaded)
    signature = [keras.InputSpec(shape=(1, SIZE, SIZE, 3), dtype="float32", name="image")]
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory() as scratch,
        hardware.quiet_stderr(),
        warnings.catch_warnings(action="ignore"),
    ):
        file = str(Path(scratch) / "model.onnx")
        model.export(
            file, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET
        )
        graph = onnx.load(file)
    _keep_zero_padding(graph)
    if float16:
        graph = weights_to_float16(graph)
    record = loaded.record
    facts = {
        "posekit": __version__,
        "joints": json.dumps(COCO17.joints),
        "record": json.dumps(record),
        "terms": str(record.get("terms", "")),
    }
    graph.producer_name = f"posekit {__version__}"
    graph.doc_string = "Human pose: one RGB crop to 17 joints."
    onnx.helper.set_model_props(graph, facts)
    onnx.checker.check_model(graph)
    return graph.SerializeToString()


def _keep_zero_padding(graph) -> None:
    """Pad with -0 instead of 0 before a max pooling, in place, so that ONNX Runtime keeps the Pad.

    Its optimizer moves a padding by 0 into the pooling that follows, which pads with minus
    infinity: the result differs where a whole window is below 0. (`pad_fusion.cc` in
    `onnxruntime/core/optimizer` looks for bytes that are all zero, up to version 1.31 at least; -0
    is the same number in other bytes.)
    """
    from onnx import numpy_helper

    pooled = {node.input[0] for node in graph.graph.node if node.op_type == "MaxPool"}
    pads = [node for node in graph.graph.node if node.op_type == "Pad" and node.output[0] in pooled]
    if pads:
        graph.graph.initializer.append(
            numpy_helper.from_array(np.array(-0.0, np.float32), "minus_zero")
        )
    for node in pads:
        node.input[:] = [*node.input[:2], "minus_zero"]


def weights_to_float16(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return an ONNX model that stores its weight matrices as float16.

    A Cast makes each float32 again when the file is loaded: this saves bytes, not time. Biases and
    batch norms stay float32, since they are few.

    Args:
        graph: it is not changed.
    """
    from onnx import TensorProto, helper, numpy_helper

    out = type(graph)()
    out.CopyFrom(graph)
    casts = []
    for tensor in out.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and sum(side > 1 for side in tensor.dims) > 1:
            name = tensor.name
            values = numpy_helper.to_array(tensor)
            with np.errstate(over="ignore"):  # the check finds it
                values = values.astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, f"{name}_half"))
            casts.append(
                helper.make_node(
                    "Cast", [f"{name}_half"], [name], f"{name}_cast", to=TensorProto.FLOAT
                )
            )
    nodes = [*casts, *out.graph.node]
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    return out


def quantize_int8(file: bytes, crops: np.ndarray) -> bytes:
    """Return an exported model that computes in 8-bit integers (static quantisation).

    Weights are quantised per channel, activations by their ranges on calibration images. The
    released models do not use it; chapter 14 measures its gain and its cost.

    Args:
        file: of `to_onnx`, with `float16=False`.
        crops: (N, 224, 224, 3) images to calibrate on, of the kind that the model will see.

    Source:
        Jacob et al., "Quantization and training of neural networks for efficient
        integer-arithmetic-only inference", CVPR 2018.
    """
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):
        def __init__(self):
            self.images = iter(np.asarray(crops, np.float32))

        def get_next(self):
            image = next(self.images, None)
            return None if image is None else {"image": image[None]}

    def silence(_: logging.LogRecord) -> bool:
        return False

    logging.getLogger().addFilter(silence)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings(action="ignore"):
        source = Path(scratch) / "float32.onnx"
        target = Path(scratch) / "int8.onnx"
        source.write_bytes(file)
        try:
            quantization.quantize_static(source, target, Images(), per_channel=True)
        finally:
            logging.getLogger().removeFilter(silence)
        return target.read_bytes()


def output_errors(loaded: predictor.Predictor, file: bytes) -> dict[str, float]:
    """Return the differences between an exported model and the Keras model, on eight noise images.

    Returns:
        Output -> largest difference as a fraction of the largest value; NaN where either has one.
    """
    import keras
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    model = add_standard_outputs(loaded)
    pairs = []
    for _ in range(8):
        coarse = rng.uniform(0, 255, (8, 8, 3))
        image = np.kron(coarse, np.ones((SIZE // 8, SIZE // 8, 1))).astype(np.float32)[None]
        want = keras.tree.map_structure(np.asarray, model.predict_on_batch(image))
        pairs.append(
            (want, dict(zip(OUTPUTS, session.run(OUTPUTS, {"image": image}), strict=True)))
        )
    found = {}
    for name in OUTPUTS:
        want, got = (np.stack([pair[side][name] for pair in pairs]) for side in (0, 1))
        found[name] = float(np.abs(got - want).max() / np.abs(want).max())
    return found


def export(run: str | Path, out: str | Path) -> dict:
    """Write a run as one ONNX file, after comparing it with Keras.

    Args:
        run: a training run's folder, or a name from `predictor.list_models()`.
        out: the file to write (atomically).

    Returns:
        `bytes`, `sha256`, and `errors`, see `output_errors`.

    Raises:
        DataError: when the run cannot be read, `out` exists, cannot be written or is being written
            by another process, or the file's outputs differ from those of Keras.
    """
    out = local_path(out)
    try:
        with lock_output(out):
            return _export(run, out)
    except OSError as error:
        raise DataError(
            out, f"cannot be written: {error.strerror or error}", "choose another folder"
        ) from None


def _export(run: str | Path, out: Path) -> dict:
    """Export while the lock on `out` is held; see `export`."""
    if out.suffix != ".onnx":
        raise DataError(out, "is no name for an ONNX file", "make it end in .onnx")
    if out.exists():
        raise DataError(out, "exists already", "choose another name, or remove it")
    loaded = predictor.load(run)
    file = to_onnx(loaded)
    found = output_errors(loaded, file)
    worst = max(found, key=lambda name: np.nan_to_num(found[name], nan=np.inf))
    if not found[worst] <= TOLERANCE:
        problem = (
            f"{worst} of the exported model is off by {found[worst]:.2g} of its size, "
            f"more than {TOLERANCE}"
        )
        raise DataError(
            run, problem, "nothing was written; are all its weights finite, and below 65,504?"
        )
    atomic_write(out, file)
    return {"bytes": len(file), "sha256": hashlib.sha256(file).hexdigest(), "errors": found}


def package(run: str | Path, name: str) -> dict:
    """Write a run to the package's weights as NAME/model.onnx with record.json, to release it.

    With it goes weights.npz, from which a training can start, if the run has one. A model of that
    name is replaced. The manifest is written, too.

    Args:
        run: see `export`.
        name: the model's name in `predictor.load`.

    Returns, raises: see `export`.
    """
    folder = predictor.weights_folder() / name
    with lock_output(folder):
        return _package(run, folder)


def _package(run: str | Path, folder: Path) -> dict:
    """Package while the lock on `folder` is held; see `package`."""
    record = predictor.load(run).record
    new = folder / "new.onnx"
    new.unlink(missing_ok=True)
    facts = export(run, new)
    atomic_write(folder / "record.json", (json.dumps(record, indent=1) + "\n").encode())
    new.replace(folder / "model.onnx")
    (folder / "model.keras").unlink(missing_ok=True)
    trainable = predictor.locate(run).parent / predictor.WEIGHTS_FILE
    if trainable.is_file():
        atomic_write(folder / predictor.WEIGHTS_FILE, trainable.read_bytes())
    else:
        (folder / predictor.WEIGHTS_FILE).unlink(missing_ok=True)
    write_manifest()
    return facts


def write_manifest() -> None:
    """Write the manifest of the package's weights: SHA-256 and size of every file.

    Entries of files to fetch (`url`) are kept.
    """
    weights = predictor.weights_folder()
    path = weights / "manifest.json"
    listed = json.loads(path.read_bytes()) if path.exists() else {}
    files = {name: want for name, want in listed.items() if "url" in want}
    for file in weights.glob("*/*"):
        data = file.read_bytes()
        name = file.relative_to(weights).as_posix()
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    atomic_write(path, (json.dumps(dict(sorted(files.items())), indent=1) + "\n").encode())
