"""Cost of a trained network: milliseconds per image by engine and threads, bytes, multiply-adds;
and the accuracy after each step of export.

Every network gets one 224x224 image at a time, as from a camera, in a process of its own. The
engines take turns in an order that changes from round to round, so that other work of the machine
affects all alike: read ratios within one run. On one thread `ms` is processor time, the median
over the rounds: the wall-clock time on an idle machine, and nearly the same on a busy one. On two
threads it is the fastest tenth of wall-clock times, which a busy machine still lengthens. Keras
gets one thread: it reads the number only when it starts.

Accuracy is strict PCP and PCK@0.2 on MiniDome's validation people, of the packaged model, the only
trained one here. Int8 is calibrated on training people only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NETWORKS = {
    "stage1": "the released model: EfficientNet-Lite0 with a feature pyramid",
    "minidome": "the small packaged model: ResNet-18 v2 of width 16 that sees 112x112",
    "resnet18v2_w64": "ResNet-18 v2, width 64",
    "resnet50v2_w64": "ResNet-50 v2, width 64",
    "densenet121_w64": "DenseNet-121, growth 32",
    "deeppose2014": "DeepPose's own network of 2014, two hidden layers of 4096",
}
INT8_UP_TO = 50_000_000
"""Parameters: the quantiser is written in Python and takes its time with more."""


def predictor(name: str):
    """The trained model of the package, or a network with random weights, which are as fast."""
    from posekit import models, training
    from posekit.inference import predictor

    if name == "stage1":
        return predictor.Predictor(training.load_network(name), predictor.load(name).record)
    if name in predictor.list_models():
        return predictor.load(name)
    backbone, _, width = name.partition("_w")
    head = "votes" if width else "deeppose2014"
    model = models.build(
        backbone if width else "deeppose_cnn",
        head=head,
        base_channels=int(width or 64),
        input_downsample=1,
    )
    return predictor.Predictor(model, {})


def calibration(count: int = 100):
    """(count, 224, 224, 3) crops of training people."""
    import numpy as np

    from posekit import minidome
    from posekit.inputs import on_device

    batches = on_device.iterate_center_crops(minidome.dataset().train_records, 50)
    return np.concatenate([next(batches)[0] for _ in range(count // 50)])


def callables(name: str, folder: Path) -> tuple[dict, dict]:
    """Return the functions to time, by engine and threads, and facts that do not depend on time."""
    import keras
    import numpy as np
    import onnx
    import tensorflow as tf

    from posekit import hardware, models
    from posekit.inference import export

    asked = predictor(name)
    contract = export.add_standard_outputs(asked)
    image = (
        np.random.default_rng(0)
        .uniform(0, 255, (1, export.SIZE, export.SIZE, 3))
        .astype(np.float32)
    )
    files = {"float32": export.to_onnx(asked, float16=False)}
    files["float16"] = export.weights_to_float16(
        onnx.load_from_string(files["float32"])
    ).SerializeToString()
    if asked.model.count_params() < INT8_UP_TO:
        files["int8"] = export.quantize_int8(
            files["float32"], calibration(50)[:10]
        )  # as fast as with more
    lite = folder / "model.tflite"
    with hardware.quiet_stderr(), warnings.catch_warnings(action="ignore"):
        contract.export(str(lite), format="litert", verbose=False)
    facts = {
        "what": NETWORKS[name],
        "parameters": asked.model.count_params(),
        "gmac": round(sum(models.multiply_adds(asked.model).values()) / 1e9, 3),
        "bytes": {kind: len(data) for kind, data in files.items()}
        | {"litert": lite.stat().st_size},
    }
    function = tf.function(lambda x: contract(x, training=False))
    tensor = tf.constant(image)
    calls = {
        ("predict", 1): lambda: contract.predict(image, verbose=0),
        ("predict_on_batch", 1): lambda: contract.predict_on_batch(image),
        ("tf.function", 1): lambda: keras.tree.map_structure(lambda v: v.numpy(), function(tensor)),
    }
    for threads in (1, 2):
        for engine, kind in (("onnxruntime", "float16"), ("onnxruntime int8", "int8")):
            if kind in files:
                runtime = session(files[kind], threads)
                calls[engine, threads] = lambda runtime=runtime: runtime.run(None, {"image": image})
        calls["litert", threads] = litert(lite, threads, image)
    return calls, facts


def litert(file: Path, threads: int, image):
    """Return a function that runs TensorFlow's LiteRT interpreter."""
    import tensorflow as tf

    from posekit import hardware

    with hardware.quiet_stderr(), warnings.catch_warnings(action="ignore"):
        interpreter = tf.lite.Interpreter(str(file), num_threads=threads)
        interpreter.allocate_tensors()

    def call():
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        return [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()]

    return call


def session(file: bytes, threads: int):
    """Return an ONNX Runtime session with this many threads, which sleep between two calls as the
    others' do."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def latency(name: str, rounds: int) -> dict:
    """Milliseconds of each engine in this process, and the facts."""
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        calls, facts = callables(name, Path(folder))
        names = list(calls)
        times = {key: [] for key in calls}
        for i in range(rounds + 1):
            for key in names[i % len(names) :] + names[: i % len(names)]:
                many = 1 if facts["gmac"] > 1 or key[0] == "predict" else 4
                begin = time.perf_counter(), time.process_time()
                for _ in range(many):
                    calls[key]()
                times[key].append(
                    [
                        1e3 * (time.perf_counter() - begin[0]) / many,
                        1e3 * (time.process_time() - begin[1]) / many,
                    ]
                )
    facts["ms"] = {"1": {}, "2": {}}
    for (engine, threads), values in times.items():
        clock, processor = np.array(values[1:]).T  # the first round warms up
        fast = float(np.quantile(clock, 0.1))
        median = float(np.median(clock))
        busy = float(np.median(processor))
        facts["ms"][str(threads)][engine] = {
            "ms": round(busy if threads == 1 else fast, 3),
            "clock_fastest_tenth": round(fast, 3),
            "clock_median": round(median, 3),
            "clock_p95": round(float(np.quantile(clock, 0.95)), 3),
        }
    return facts


def accuracy(file: bytes | None) -> dict:
    """PCP and PCK@0.2 of the packaged model in Keras (None), or as a file."""
    from posekit import minidome
    from posekit.inference import evaluation, predictor

    asked = predictor.load("minidome")
    if file is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.onnx"
            path.write_bytes(file)
            asked = predictor.load(path)
    answers = evaluation.predict_records(asked, minidome.dataset().val_records, flip=False)
    scores = evaluation.scores(answers)
    keep = {
        "pcp": scores["pcp"]["mean"],
        "pcp_lower_arm": scores["pcp"]["lower_arm"],
        "pck@0.2": scores["pck@0.2"],
    }
    keep = {name: round(value, 4) for name, value in keep.items()}
    return keep | {
        "pcp_interval": [round(v, 4) for v in scores["intervals"]["pcp"]],
        "points": answers.crop_keypoints,
    }


def steps() -> dict:
    """Each step of export: size, accuracy, and how far its joints are from Keras', in fractions of
    the crop's side."""
    import numpy as np

    from posekit.inference import export, predictor

    whole = export.to_onnx(predictor.load("minidome"), float16=False)
    people = calibration()
    files = {
        "Keras": None,
        "ONNX float32": whole,
        "ONNX, weights float16": export.to_onnx(predictor.load("minidome")),
        "int8, calibrated on 100": export.quantize_int8(whole, people),
        "int8, calibrated on 1": export.quantize_int8(whole, people[:1]),
        "int8, calibrated on noise": export.quantize_int8(
            whole, np.random.default_rng(0).uniform(0, 255, people[:20].shape)
        ),
    }
    result = {name: accuracy(file) for name, file in files.items()}
    reference = result["Keras"]["points"]
    for name, scores in result.items():
        moved = np.abs(scores.pop("points") - reference)
        scores |= {"bytes": len(files[name] or b"") or None}
        scores |= {
            "moved_mean": round(float(moved.mean()), 6),
            "moved_most": round(float(moved.max()), 6),
        }
    return result


def measured(what: str, rounds: int) -> dict:
    """A part in a process of its own."""
    command = [sys.executable, __file__, "--only", what, "--rounds", str(rounds), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{what}: {done.stderr[-800:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Measure, print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--only", choices=["steps", *NETWORKS], help="one part, in this process")
    parser.add_argument("--json", action="store_true", help="print one JSON object (else lines)")
    parser.add_argument("--record", action="store_true", help="also write book/runs/deploy")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(steps() if args.only == "steps" else latency(args.only, args.rounds)))
        return 0
    result = {"rounds": args.rounds}
    result["networks"] = {name: measured(name, args.rounds) for name in args.networks}
    result["steps"] = measured("steps", 1)
    if args.record:
        from posekit.notebook import runs

        about = (
            "milliseconds per image by network, engine and threads; the accuracy after each step "
            "of export"
        )
        rows = [
            [f"{name}, {engine}", threads, *values.values()]
            for name, facts in result["networks"].items()
            for threads, engines in facts["ms"].items()
            for engine, values in engines.items()
        ]
        header = ["run", "threads", "ms", "clock_fastest_tenth", "clock_median", "clock_p95"]
        runs.write("deploy", about, "python benchmarks/deploy.py --record", result, header, rows)
    print(json.dumps(result) if args.json else "\n".join(f"{k} {v}" for k, v in result.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
