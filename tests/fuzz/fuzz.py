"""Feed damaged files and messages to every parser of posekit: `make fuzz`.

Valid inputs are mutated: bytes are changed, cut, repeated and spliced; in JSON keys and values are
changed, too.
Each input must be read, or refused by a `DataError` whose message is one line, in at most `SECONDS`
and with at most `EXTRA_MEMORY` of memory. Anything else is a finding: it is printed with the input
that caused it, and the exit code is 1. The process needs Linux or macOS.

    python tests/fuzz/fuzz.py --seconds 20 --parser csv --seed 1
"""

import argparse
import base64
import copy
import faulthandler
import gzip
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "helpers")]

import tiny_data  # noqa: E402
from square_predictor import SquarePredictor  # noqa: E402

from posekit.errors import DataError  # noqa: E402

SECONDS = 10.0
"""Processor time: an input that takes longer is a finding."""
EXTRA_MEMORY = 3 << 30
"""Bytes of address space that the process may take beyond what its libraries need."""
SHOWN = 2000
"""Bytes of an input that are printed with a finding."""
RUNTIME = ("onnx", "keras", "npz", "torch")
"""Parsers of whole models, which are slower: `COUNTS`."""
COUNTS = {True: 1_000, False: 100_000}
"""Inputs per parser that `make fuzz` tries: of models, and of everything else."""

Rng = random.Random

# ---- mutations -----------------------------------------------------------------------------------

ODD_NUMBERS = (0, -1, 1, 2, 3, 255, 256, 257, 2**31 - 1, 2**31, 2**63, -(2**63), 2**64, 10**400)
ODD_VALUES = (
    *(None, True, False, "", "a", "1", "nan", "\0", "\ud800", "../../a", "/etc/passwd", "é" * 300),
    *(float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 1e-308, 0.5, -0.0, 1.5),
    *([], {}, [[]], [{}], {"a": {}}, [None], [1, [2]], *ODD_NUMBERS),
)
TOKENS = (
    *(
        b"\0",
        b"\xff",
        b"\xff" * 8,
        b"\x7f\xff\xff\xff",
        b"\0" * 16,
        b"\n",
        b"\r\n",
        b'"',
        b",",
        b"{",
    ),
    *(
        b"[" * 50,
        b"nan",
        b"1e999",
        b"-1",
        b"\xef\xbb\xbf",
        b"PK\x05\x06",
        b"\x89PNG",
        b"\xff\xd8\xff",
    ),
)


def mutate_bytes(rng: Rng, data: bytes, others: list[bytes]) -> bytes:
    """Change, insert, remove, repeat or splice bytes, one to four times."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 1, 2, 4, 8, 64)))
        match rng.randrange(8):
            case 0 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at % len(out)] = rng.randrange(256)
            case 2:
                out[at:at] = rng.choice(TOKENS)
            case 3:
                out[at:end] = rng.choice(TOKENS)
            case 4:
                del out[at:end]
            case 5:
                del out[at:]
            case 6:
                out[at:at] = out[at:end]
            case 7:
                other = rng.choice(others)
                out[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(out)


def mutate_value(rng: Rng, root: object) -> object:
    """Change one to three places of a JSON value: another value, no value, twice the value."""
    root = copy.deepcopy(root)
    for _ in range(rng.choice((1, 1, 2, 3))):
        node: object = root
        parent: object = None
        key: object = None
        while isinstance(node, dict | list) and node and (parent is None or rng.random() < 0.85):
            parent = node
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            node = node[key]
        if parent is None:
            return rng.choice(ODD_VALUES)
        choice = rng.randrange(8)
        if choice < 4:
            parent[key] = copy.deepcopy(rng.choice(ODD_VALUES))
        elif choice == 4:
            del parent[key]
        elif choice == 5 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(node))
        elif choice == 6 and isinstance(parent, dict):
            parent[rng.choice(("id", "name", "x", str(key) * 2))] = parent.pop(key)
        elif isinstance(node, int | float) and abs(node) < 2**64:
            parent[key] = rng.choice((node + 1, -node, node + 0.5, str(node), [node]))
    return root


def mutate_json(rng: Rng, data: bytes, others: list[bytes]) -> bytes:
    """Change the value of a JSON text, or now and then its bytes."""
    if rng.random() < 0.2:
        return mutate_bytes(rng, data, others)
    return json.dumps(mutate_value(rng, json.loads(data))).encode()


def mutate_lines(rng: Rng, data: bytes, others: list[bytes]) -> bytes:
    """Change the cells and lines of a table, or now and then its bytes."""
    if rng.random() < 0.4:
        return mutate_bytes(rng, data, others)
    rows = [line.split(b",") for line in data.split(b"\n")]
    for _ in range(rng.choice((1, 1, 2, 3))):
        row = rng.choice(rows)
        at = rng.randrange(len(row))
        odd = str(rng.choice(ODD_VALUES)).encode(errors="surrogatepass")
        match rng.randrange(4):
            case 0 | 1:
                row[at] = odd
            case 2:
                row.insert(at, odd)
            case 3:
                rows.insert(rng.randrange(len(rows)), list(row))
    return b"\n".join(b",".join(row) for row in rows)


def mutate_zip(change: dict[str, Callable]) -> Callable:
    """Return a mutation of a ZIP archive's members by suffix, or now and then of its bytes."""

    def mutate(rng: Rng, data: bytes, others: list[bytes]) -> bytes:
        if rng.random() < 0.4:
            return mutate_bytes(rng, data, others)
        out = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(data)) as old,
            zipfile.ZipFile(out, "w") as new,
            warnings.catch_warnings(action="ignore"),
        ):
            names = old.namelist()
            chosen = rng.choice(names)
            for name in names:
                content = old.read(name)
                if name == chosen:
                    how = change.get(Path(name).suffix, mutate_bytes)
                    content = how(rng, content, [content])
                    if rng.random() < 0.1:
                        continue
                new.writestr(name, content)
        return out.getvalue()

    return mutate


# ---- parsers -------------------------------------------------------------------------------------


@dataclass
class Parser:
    """A parser with the valid inputs that are mutated.

    Args:
        seeds: valid inputs.
        run: reads an input; an AssertionError is a finding, too.
        mutate: makes an input from a valid one.
    """

    seeds: list[bytes]
    run: Callable[[bytes], object]
    mutate: Callable[[Rng, bytes, list[bytes]], bytes] = mutate_bytes


def coco_parser(folder: Path) -> Parser:
    """COCO's JSON, read with `posekit.datasets.coco.read`."""
    from posekit.datasets import coco

    path, data = tiny_data.coco(folder, photos=2, people=1)
    path.write_text(json.dumps(data))
    images = folder / "train2017"

    def run(content: bytes) -> None:
        path.write_bytes(content)
        list(coco.read(path, images, notes=[]))

    named = copy.deepcopy(data)
    named["categories"][0] |= {"keypoints": list(tiny_data.COCO17.joints), "skeleton": [[1, 2]]}
    return Parser([json.dumps(d).encode() for d in (data, named)], run, mutate_json)


def results_parser(folder: Path) -> Parser:
    """COCO results, checked as `posekit evaluate --results` does before it scores them."""
    from posekit.datasets import coco_json, read_json
    from posekit.metrics import coco

    path, data = tiny_data.coco(folder, photos=2, people=1)
    file = coco_json.parse(path)
    results = [
        {"image_id": a["image_id"], "category_id": 1, "keypoints": a["keypoints"], "score": 0.5}
        for a in data["annotations"]
    ]
    boxed = [r | {"bbox": [1.0, 2, 30, 40], "id": i} for i, r in enumerate(results)]
    target = folder / "results.json"

    def run(content: bytes) -> None:
        target.write_bytes(content)
        coco.checked_results(read_json(target), file, target)

    return Parser([json.dumps(r).encode() for r in (results, boxed)], run, mutate_json)


def calibration_parser(folder: Path) -> Parser:
    """Calibration files of Panoptic."""
    from posekit.datasets import panoptic

    tiny_data.panoptic(folder / "seq", frames=1)
    path = folder / "seq" / "calibration_seq.json"
    seed = path.read_bytes()

    def run(content: bytes) -> None:
        path.write_bytes(content)
        panoptic.read_calibration(path)

    return Parser([seed], run, mutate_json)


def poses_parser(folder: Path) -> Parser:
    """Pose files of Panoptic, projected into the cameras."""
    from posekit.datasets import panoptic

    tiny_data.panoptic(folder / "seq", frames=1, bodies=1)
    path = folder / "seq" / "hdPose3d_stage1_coco19" / "body3DScene_00000000.json"
    seed = path.read_bytes()
    cameras = panoptic.read_calibration(folder / "seq" / "calibration_seq.json")
    camera = next(iter(cameras.values()))

    def run(content: bytes) -> None:
        path.write_bytes(content)
        bodies = panoptic.read_poses(path)
        if bodies:
            joints = np.stack([body for _, body in bodies])
            panoptic.hidden(joints, camera)

    return Parser([seed], run, mutate_json)


def mat_parser(folder: Path) -> Parser:
    """`joints.mat` of LSP, with and without compression."""
    import scipy.io

    from posekit.datasets import lsp

    joints = tiny_data.lsp(folder, range(1, 3))
    path = folder / "joints.mat"
    packed = io.BytesIO()
    scipy.io.savemat(packed, {"joints": joints.transpose(2, 1, 0)}, do_compression=True)
    old = io.BytesIO()
    scipy.io.savemat(old, {"joints": np.zeros((3, 14))}, format="4")
    seeds = [path.read_bytes(), packed.getvalue(), old.getvalue()]

    def run(content: bytes) -> None:
        path.write_bytes(content)
        list(lsp.read(folder, None))

    return Parser(seeds, run)


def mpii_parser(folder: Path) -> Parser:
    """MPII's JSON conversion."""
    from posekit.datasets import mpii

    entries = [tiny_data.mpii_entry(folder, "a.jpg"), tiny_data.mpii_entry(folder, "b.jpg", 1)]
    path = folder / "train.json"

    def run(content: bytes) -> None:
        path.write_bytes(content)
        list(mpii.read(folder, "train"))

    return Parser([json.dumps(entries).encode()], run, mutate_json)


def csv_parser(folder: Path) -> Parser:
    """`keypoints.csv` of your own images."""
    from posekit.datasets import custom

    tiny_data.write_photo(folder / "images" / "a.jpg")
    tiny_data.write_photo(folder / "images" / "b.png")
    lines = ["image,person,joint,x,y,v"]
    lines += [f"a.jpg,1,{joint},{10 + i},{20.5},2" for i, joint in enumerate(("nose", "left_hip"))]
    lines += ["b.png,,left_knee,3,4,1", "b.png,,right_knee,,,0"]
    path = folder / "keypoints.csv"
    texts = ["\n".join(lines), "\n".join(lines).replace(",", ";")]

    def run(content: bytes) -> None:
        path.write_bytes(content)
        list(custom.read(folder, notes=[]))

    return Parser([text.encode() for text in texts], run, mutate_lines)


def person_payload() -> bytes:
    """Return the payload of a valid record."""
    from posekit.images import encode_jpeg
    from posekit.records import tfrecord

    jpeg = encode_jpeg(np.zeros((8, 8, 3), np.uint8), 90)
    return tfrecord.encode_example(
        {
            "image/encoded": jpeg,
            "image/height": 8,
            "image/width": 8,
            "image/source_id": "a",
            "person/keypoints": np.ones((17, 2)),
            "person/keypoints_visible": np.full(17, 2),
            "person/joint_known": np.ones(17, bool),
            "person/bbox": np.ones(4),
            "person/area": 3.0,
            "person/crop_to_image": np.eye(2, 3),
            "person/id": "a/1",
            "dataset": "own",
            "person/extra": np.ones((2, 3)),
        }
    )


def tfrecord_parser(folder: Path) -> Parser:
    """TFRecord framing, and records in it."""
    from posekit.records import schema, tfrecord

    path = folder / "a.tfrecord"
    framed = tfrecord.frame_record(person_payload())

    def run(content: bytes) -> None:
        path.write_bytes(content)
        for payload in tfrecord.read_payloads(path):
            schema.decode_person(payload, path)

    return Parser([framed, framed * 2], run)


def example_parser(_: Path) -> Parser:
    """tf.train.Example behind checksums that fit, and the image in it."""
    from posekit.images import decode_image
    from posekit.records import schema

    def run(content: bytes) -> None:
        decode_image(schema.decode_person(content, "record").encoded, "record")

    return Parser([person_payload()], run)


def manifest_parser(folder: Path) -> Parser:
    """`manifest.json` of a record folder, with `check` and `shard_paths`."""
    from posekit import inputs, records
    from posekit.records import reader, tfrecord

    shard = folder / "a.tfrecord-00000-of-00001"
    shard.write_bytes(tfrecord.frame_record(person_payload()))
    about = {"file": shard.name, "bytes": shard.stat().st_size, "people": 1, "sha256": "0" * 64}
    manifest = {
        "schema_version": reader.SCHEMA_VERSION,
        **{"box_px": 6, "stored_px": 8, "people": 1, "box": "annotation", "shards": [about]},
    }
    path = folder / reader.MANIFEST

    def run(content: bytes) -> None:
        path.write_bytes(content)
        refused = []
        for read in (records.shard_paths, records.check, lambda d: inputs.stored_sizes([d])):
            try:
                read(folder)
            except DataError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    return Parser([json.dumps(manifest).encode()], run, mutate_json)


def downloads_parser(folder: Path) -> Parser:
    """`downloads.json` of a folder of downloads."""
    from posekit.datasets.download.manifest import Manifest

    entry = {"url": "https://a.test/b", "bytes": 3, "sha256": "0" * 64, "date": "2025-01-01"}

    def run(content: bytes) -> None:
        (folder / "downloads.json").write_bytes(content)
        Manifest(folder).get(folder / "b")

    seed = json.dumps({"version": 1, "files": {"b": entry}}).encode()
    return Parser([seed], run, mutate_json)


def image_parser(_: Path) -> Parser:
    """Bytes of images, as stored and as displayed."""
    from PIL import Image

    from posekit.images import decode_image

    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    seeds = []
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"):
        opaque = kind in ("JPEG", "BMP")
        file = io.BytesIO()
        image = Image.fromarray(pixels[..., : 3 if opaque else 4])
        image.save(file, kind, **({} if kind in ("BMP", "GIF") else {"exif": exif}))
        seeds.append(file.getvalue())

    def run(content: bytes) -> None:
        image = decode_image(content, "an image", as_displayed=bool(len(content) % 2))
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3

    return Parser(seeds, run)


def archive_parser(folder: Path) -> Parser:
    """Downloaded archives: all of one is unpacked, or nothing."""
    from posekit.datasets.download import archives

    names = ("a/b.txt", "a/c.txt", "d.json")
    seeds = []
    for mode in ("w", "w:gz", "w:xz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as opened:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = 5
                opened.addfile(info, io.BytesIO(b"hello"))
        seeds.append(file.getvalue())
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as opened:
            for name in names:
                opened.writestr(name, b"hello")
        seeds.append(file.getvalue())
    path = folder / "archive"
    out = folder / "into" / "out"
    out.parent.mkdir()

    def run(content: bytes) -> None:
        path.write_bytes(content)
        try:
            archives.extract(path, out, progress=False)
        except DataError:
            assert not any(out.parent.iterdir()), "a part of it was left behind"
            raise
        finally:
            shutil.rmtree(out.parent)
            out.parent.mkdir()
        assert {entry.name for entry in folder.iterdir()} == {"archive", "into"}

    def mutate(rng: Rng, data: bytes, others: list[bytes]) -> bytes:
        if data[:2] == b"\x1f\x8b" and rng.random() < 0.7:
            return gzip.compress(mutate_bytes(rng, gzip.decompress(data), others), 1)
        return mutate_bytes(rng, data, others)

    return Parser(seeds, run, mutate)


class Standing(SquarePredictor):
    """A network that predicts the same pose for each crop, quickly."""

    def predict_crops(self, images: np.ndarray, flip: bool = False) -> dict[str, np.ndarray]:
        n = len(images)
        score = np.full((n, 17), 0.9, np.float32)
        return {
            "keypoints": np.tile(np.linspace(-0.3, 0.3, 34, dtype=np.float32), n).reshape(n, 17, 2),
            "visibility": score,
            "score": score,
            "presence": np.full(n, 0.9, np.float32),
        }


def widget_parser(_: Path) -> Parser:
    """Messages of the browser to the camera widget: a JSON value, and a JPEG in base 64.

    A frame of the session must be answered, and no message may raise an exception.
    """
    from posekit.images import encode_jpeg
    from posekit.live import widget

    jpeg = base64.b64encode(encode_jpeg(np.zeros((12, 16, 3), np.uint8), 90)).decode()
    webcam = widget.Webcam(Standing())
    sent: list = []
    webcam.camera_widget.send = sent.append
    messages = [
        {"content": {"kind": "start", "session": "s"}, "buffers": []},
        {
            "content": {"kind": "frame", "session": "s", "id": 3, "seconds": 0.5},
            "buffers": [jpeg],
        },
        {"content": {"kind": "stop", "session": "s"}, "buffers": []},
    ]
    opening = messages[0]["content"]

    def mutate(rng: Rng, data: bytes, _: list[bytes]) -> bytes:
        message = json.loads(data)
        if rng.random() < 0.7 or not message["buffers"]:
            message["content"] = mutate_value(rng, message["content"])
        if message["buffers"] and rng.random() < 0.4:
            changed = mutate_bytes(rng, base64.b64decode(message["buffers"][0]), [b"\xff\xd9"])
            message["buffers"] = [base64.b64encode(changed).decode()] * rng.randrange(3)
        message["buffers"] = list(message["buffers"])
        return json.dumps(message).encode()

    def run(data: bytes) -> None:
        webcam._receive(None, opening, [])
        sent.clear()
        message = json.loads(data)
        content = message["content"]
        buffers = [memoryview(base64.b64decode(buffer)) for buffer in message["buffers"]]
        webcam._receive(None, content, buffers)
        if isinstance(content, dict) and content.get("kind") == "frame":
            assert sent or content.get("session", "") != "s", "a frame was not answered"
        for answer in sent:
            json.dumps(answer, allow_nan=False)

    return Parser([json.dumps(m).encode() for m in messages], run, mutate)


class Wire:
    """A connection that holds a request, and collects the answer."""

    def __init__(self, request: bytes):
        self.request = request
        self.answer = bytearray()

    def makefile(self, *_) -> io.BytesIO:
        return io.BytesIO(self.request)

    def sendall(self, data: bytes) -> None:
        self.answer += data

    def settimeout(self, _: float) -> None:
        pass


def server_parser(_: Path) -> Parser:
    """Requests to the local server of the page.

    Each gets no answer or one that starts with a status; a file of the page is sent only where the
    host is this computer, and nothing but the page is sent.
    """
    from posekit.live import server

    with server.server() as one:
        handler = one.RequestHandlerClass
        port = one.server_port
    page = {path.read_bytes() for path in server.WEB.rglob("*") if path.is_file()}
    page.add(server.model_file().read_bytes())
    host = f"127.0.0.1:{port}"
    heads = (
        f"GET /tracker.js HTTP/1.1\r\nHost: {host}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://{host}\r\nAccept: */*\r\n\r\n",
        f"HEAD /tracker.js?a=b HTTP/1.0\r\nHost: {host}\r\n\r\n",
        f"GET /../server.py HTTP/1.1\r\nHost: {host}\r\n\r\n",
        f"GET /%2e%2e/server.py HTTP/1.1\r\nHost: {host}\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello",
        f"GET http://{host}/tracker.js HTTP/1.1\r\nHost: {host}\r\n\r\n",
    )

    class Server:
        server_port = port

    def run(request: bytes) -> None:
        wire = Wire(request)
        handler(wire, ("127.0.0.1", 1), Server())
        head, _, body = bytes(wire.answer).partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.") and b" 200 " in head.split(b"\r\n", 1)[0] and body:
            assert body in page, "something else than a file of the page was sent"
            local = (b"127.0.0.1", b"localhost", b"[::1]")
            assert any(name in request.lower() for name in local), "sent to another host"

    return Parser([head.encode() for head in heads], run)


def onnx_parser(folder: Path) -> Parser:
    """Exported models: loaded, and run once where they load."""
    import onnx
    from onnx import TensorProto, helper

    import posekit
    from posekit.inference import predictor

    constants, nodes = [], []
    shapes = dict(predictor.SIGNATURE)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shapes.pop("image"))
    nodes.append(helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0))
    for name, shape in shapes.items():
        value = np.full(shape, 0.5, np.float32)
        constants.append(onnx.numpy_helper.from_array(value, f"{name}_0"))
        nodes.append(helper.make_node("Mul", [f"{name}_0", "mean"], [name]))
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    graph = helper.make_graph(nodes, "pose", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"record": json.dumps({"input_size": 224})})
    path = folder / "model.onnx"
    crop = np.zeros((1, 224, 224, 3), np.float32)

    def run(content: bytes) -> None:
        path.write_bytes(content)
        with redirect_stdout(io.StringIO()):  # ONNX Runtime prints its errors
            posekit.load(path, threads=1).predict_crops(crop)

    return Parser([model.SerializeToString()], run)


def keras_parser(folder: Path) -> Parser:
    """`model.keras` of a training run, which Keras opens in its safe mode."""
    from posekit import hardware

    hardware.load_keras()
    import keras

    from posekit.inference import predictor

    record = {"mean_pose": [[0.0, 0.0]] * 17, "mean_visibility": [0.5] * 17}
    (folder / "record.json").write_text(json.dumps(record))
    path = folder / "model.keras"
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3)(image)
    x = keras.layers.BatchNormalization()(x)
    keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x))).save(path)
    seed = path.read_bytes()

    def run(content: bytes) -> None:
        path.write_bytes(content)
        predictor.load(folder)
        keras.backend.clear_session()

    return Parser([seed], run, mutate_zip({".json": mutate_json}))


def npz_parser(folder: Path) -> Parser:
    """`weights.npz`, which must not hold pickles."""
    from posekit.training import weights_file

    packed, plain = io.BytesIO(), io.BytesIO()
    facts = np.array(json.dumps({"input_size": 224}))
    arrays = {"a/kernel": np.ones((3, 3), np.float16), "a/bias": np.ones(3, np.float32)}
    np.savez_compressed(packed, facts=facts, **arrays)
    np.savez(plain, facts=facts, **arrays)
    path = folder / "weights.npz"

    def run(content: bytes) -> None:
        path.write_bytes(content)
        weights_file.read(path)

    return Parser([packed.getvalue(), plain.getvalue()], run, mutate_zip({}))


def torch_parser(folder: Path) -> Parser:
    """PyTorch's legacy `.pth`: two small tensors, written without PyTorch."""
    import pickle

    from posekit.models import torch_checkpoint

    # c: the global, (: mark, t: tuple, Q: persistent id, R: call
    storage = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQ"
    view = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"I0\n(I2\nI2\nt(I2\nI1\ntI00\n(dtR"
    state = b"\x80\x02}(S'a.weight'\n" + view + b"u."
    head = [torch_checkpoint.MAGIC, torch_checkpoint.VERSION, {"little_endian": True}]
    content = b"".join(pickle.dumps(value, 2) for value in head) + state + pickle.dumps(["0"], 2)
    content += (4).to_bytes(8, "little") + np.ones(4, "<f4").tobytes()
    path = folder / "a.pth"

    def run(content: bytes) -> None:
        path.write_bytes(content)
        torch_checkpoint.read_state_dict(path)

    return Parser([content], run)


PARSERS: dict[str, Callable[[Path], Parser]] = {
    "coco": coco_parser,
    "results": results_parser,
    "calibration": calibration_parser,
    "poses": poses_parser,
    "mat": mat_parser,
    "mpii": mpii_parser,
    "csv": csv_parser,
    "tfrecord": tfrecord_parser,
    "example": example_parser,
    "manifest": manifest_parser,
    "downloads": downloads_parser,
    "image": image_parser,
    "archive": archive_parser,
    "widget": widget_parser,
    "server": server_parser,
    "onnx": onnx_parser,
    "keras": keras_parser,
    "npz": npz_parser,
    "torch": torch_parser,
}


# ---- one parser, many inputs ---------------------------------------------------------------------


def _quiet() -> io.TextIOBase:
    """Drop what libraries write about damaged images, and return the real standard error."""
    kept = os.fdopen(os.dup(2), "w")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    return kept


class TooSlow(BaseException):
    """An input took longer than `SECONDS`; no `except Exception` of a parser hides it."""


def _too_slow(*_) -> None:
    raise TooSlow(f"longer than {SECONDS} s")


def _limit_memory() -> None:
    """Limit this process to what it has now and `EXTRA_MEMORY`: beyond is a MemoryError."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + EXTRA_MEMORY, hard))


def fuzz(name: str, seed: int, inputs: int, seconds: float, stderr: io.TextIOBase) -> dict:
    """Try inputs on one parser until a limit is reached.

    Args:
        name: one of `PARSERS`.
        seed: of the mutations.
        inputs: the largest number of inputs.
        seconds: the longest time, without the preparation.
        stderr: gets the stack of an input that hangs, or that kills the process.

    Returns:
        `parser`, `inputs`, `read`, `refused`, `seconds`, `slowest_ms` and `findings`: one per kind,
        with its traceback and the first input that caused it, in base 64.
    """
    rng = Rng(f"{seed}/{name}")
    counts = {"read": 0, "refused": 0}
    findings: dict[str, dict] = {}
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    slowest = 0.0
    with (
        tempfile.TemporaryDirectory(dir=memory) as scratch,
        warnings.catch_warnings(action="ignore"),
    ):
        parser = PARSERS[name](Path(scratch))
        for valid in parser.seeds:
            with suppress(DataError):
                parser.run(valid)
        _limit_memory()
        signal.signal(signal.SIGPROF, _too_slow)
        begin = now = time.perf_counter()
        tried = 0
        while tried < inputs and now - begin < seconds:
            content = parser.mutate(rng, rng.choice(parser.seeds), parser.seeds)
            faulthandler.dump_traceback_later(6 * SECONDS, exit=True, file=stderr)  # for a C loop
            start = time.perf_counter()
            try:
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                try:
                    parser.run(content)
                    counts["read"] += 1
                finally:
                    signal.setitimer(signal.ITIMER_PROF, 0)
            except DataError as error:
                counts["refused"] += 1
                if len(str(error).splitlines()) != 1 or not str(error).encode():
                    frames = traceback.extract_tb(error.__traceback__)
                    _note(findings, "message of more than one line", frames, repr(error), content)
            except (Exception, TooSlow) as error:
                frames = traceback.extract_tb(error.__traceback__)
                _note(findings, type(error).__name__, frames, traceback.format_exc(), content)
            tried += 1
            now = time.perf_counter()
            slowest = max(slowest, now - start)
        faulthandler.cancel_dump_traceback_later()
    return {
        "parser": name,
        "inputs": tried,
        **counts,
        "seconds": round(now - begin, 1),
        "slowest_ms": round(1000 * slowest, 1),
        "findings": list(findings.values()),
    }


def _note(findings: dict, kind: str, frames: list, text: str, content: bytes) -> None:
    """Keep the first input of each kind of finding: the exception and the line of posekit."""
    ours = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "posekit" in f.filename]
    where = f"{kind} at {ours[-1] if ours else 'the test'}"
    entry = findings.setdefault(
        where,
        {"kind": where, "count": 0, "text": text, "input": base64.b64encode(content).decode()},
    )
    entry["count"] += 1


def _in_own_process(name: str, seed: int, inputs: int, stderr: io.TextIOBase) -> dict:
    """Run `fuzz` in a process of its own, so that a crash is a finding and ends one parser only."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "rows.json")
        options = ["--parser", name, "--inputs", str(inputs), "--seed", str(seed), "--out", out]
        done = subprocess.run(
            [sys.executable, __file__, *options], stdout=subprocess.DEVNULL, stderr=stderr
        )
        if out.is_file():
            return json.loads(out.read_text())["parsers"][0]
    kind = f"the process ended with exit code {done.returncode}"
    finding = {"kind": kind, "count": 1, "text": "its stack is printed above", "input": ""}
    counts = dict.fromkeys(("inputs", "read", "refused", "seconds", "slowest_ms"), 0)
    return {"parser": name, **counts, "findings": [finding]}


def _print_row(row: dict) -> None:
    """Print a row of `fuzz`, and its findings below it."""
    found = sum(entry["count"] for entry in row["findings"])
    print(
        f"{row['parser']:12}{row['inputs']:9,}{row['read']:9,}{row['refused']:9,}"
        f"{row['seconds']:8}{row['slowest_ms']:12}  {found}",
        flush=True,
    )
    for entry in row["findings"]:
        content = base64.b64decode(entry["input"])
        print(f"\n{entry['kind']}, {entry['count']} times\n{entry['text']}\n{content[:SHOWN]}\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 1 if there is a finding."""
    parse = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parse.add_argument("--parser", nargs="+", choices=PARSERS, default=list(PARSERS))
    parse.add_argument("--inputs", type=int, help="per parser; 100,000, and 1,000 of models")
    parse.add_argument("--seconds", type=float, help="for all parsers together; default: no limit")
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--out", type=Path, help="JSON file for the counts and findings")
    args = parse.parse_args(argv)
    rows = []
    stderr = _quiet()
    faulthandler.enable(stderr)
    print(
        f"{'parser':12}{'inputs':>9}{'read':>9}{'refused':>9}{'s':>8}{'slowest ms':>12}  findings"
    )
    for name in args.parser:
        inputs = args.inputs or COUNTS[name in RUNTIME]
        if args.seconds or len(args.parser) == 1:
            share = args.seconds / len(args.parser) if args.seconds else float("inf")
            row = fuzz(name, args.seed, inputs, share, stderr)
        else:
            row = _in_own_process(name, args.seed, inputs, stderr)
        rows.append(row)
        _print_row(row)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"seed": args.seed, "parsers": rows}, indent=1))
    return int(any(row["findings"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
