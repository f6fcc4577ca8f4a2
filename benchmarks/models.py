"""Speed of our networks compared with keras.applications'. The claim: time ratio <= 1.00 for a
training step and for inference, equal memory.

ResNet-50 v1 and v2 and DenseNet-121, the same batch, both networks in one process, taking turns;
the median ratio of pairs. Ours are laid out as theirs are, from our units and with their strides
and biases (tests/models/test_parity.py holds the outputs equal), so that both do the same
arithmetic; the additional work of our own layouts is reported in multiply-adds. Memory is the peak
of a process of its own that trains one network. Where TensorFlow sees a GPU, also bfloat16 with XLA
and the fraction of the matrix-multiply ceiling.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from posekit import models

PAIRS = {"resnet50": "ResNet50", "resnet50v2": "ResNet50V2", "densenet121": "DenseNet121"}
CLAIM_RATIO = 1.0


def resnet50(image):
    """ResNet-50 v1 with the first 1x1 striding and with biases, as keras.applications has it."""
    units = models.resnet.UNITS[50]
    return models.resnet.resnet_v1(
        image, units, bottleneck=True, stride_in="conv1", use_bias=True, epsilon=1.001e-5
    )


def resnet50v2(image):
    """ResNet-50 v2 that strides in a stage's last unit, as keras.applications has it: the test's,
    from our pieces."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "models"))
    from test_parity import resnet50v2_of_keras

    return resnet50v2_of_keras(image)


LAYOUTS = {"resnet50": resnet50, "resnet50v2": resnet50v2, "densenet121": models.densenet.densenet}


def network(name: str, ours: bool, size: int, jit: bool) -> keras.Model:
    """A backbone with one small dense layer, compiled for regression."""
    keras.utils.set_random_seed(0)
    image = keras.Input((size, size, 3))
    if ours:
        features = LAYOUTS[name](image)
    else:
        features = getattr(keras.applications, PAIRS[name])(
            include_top=False, weights=None, input_tensor=image
        ).output
    x = keras.layers.GlobalAveragePooling2D()(features)
    model = keras.Model(image, keras.layers.Dense(34, dtype="float32")(x))
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "mean_absolute_error", jit_compile=jit)
    return model


def own_work(name: str, size: int) -> int:
    """Multiply-adds of the backbone as posekit lays it out."""
    image = keras.Input((size, size, 3))
    return sum(
        models.multiply_adds(
            keras.Model(image, models.BACKBONES[name](image, base_channels=64))
        ).values()
    )


def data(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(batch, size, size, 3)).astype(np.float32), rng.normal(
        size=(batch, 34)
    ).astype(np.float32)


def seconds(function) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def compare(name: str, args, jit: bool) -> dict:
    """Both networks taking turns, the order of each pair reversed every other time."""
    both = {side: network(name, side == "ours", args.size, jit) for side in ("ours", "theirs")}
    x, y = data(args.batch, args.size)
    calls = {
        "train": {side: (lambda m=model: m.train_on_batch(x, y)) for side, model in both.items()},
        "infer": {side: (lambda m=model: m.predict_on_batch(x)) for side, model in both.items()},
    }
    work = {side: sum(models.multiply_adds(model).values()) / 1e9 for side, model in both.items()}
    result = {
        "parameters": {side: model.count_params() for side, model in both.items()},
        "gmac": {side: round(value, 3) for side, value in work.items()},
        "gmac_of_our_layout": round(own_work(name, args.size) / 1e9, 3),
    }
    for kind, sides in calls.items():
        for call in sides.values():
            call(), call()
        times = {"ours": [], "theirs": []}
        for i in range(args.repeats):
            for side in ("ours", "theirs") if i % 2 else ("theirs", "ours"):
                times[side].append(seconds(sides[side]))
        ratios = [a / b for a, b in zip(times["ours"], times["theirs"], strict=True)]
        result[kind] = {
            "ms_ours": round(1e3 * statistics.median(times["ours"]), 1),
            "ms_theirs": round(1e3 * statistics.median(times["theirs"]), 1),
            "ratio": round(statistics.median(ratios), 3),
            "ratio_quartiles": [round(float(q), 3) for q in np.quantile(ratios, [0.25, 0.75])],
        }
    result["images_per_second_train"] = round(args.batch / result["train"]["ms_ours"] * 1e3, 1)
    return result


def peak_mib(name: str, side: str, args) -> float:
    """Peak memory of a process that makes one network and trains it for three steps."""
    code = (
        "import sys, resource; sys.path.insert(0, sys.argv[1]); import models as benchmark; m = "
        "benchmark.network(sys.argv[2], sys.argv[3] == 'ours', int(sys.argv[5]), False); x, y = "
        "benchmark.data(int(sys.argv[4]), int(sys.argv[5])); [m.train_on_batch(x, y) for _ in "
        "range(3)]; unit = 1 if sys.platform == 'darwin' else 1024; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)"
    )
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    command = [sys.executable, "-c", code, folder, name, side, str(args.batch), str(args.size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def ceiling_tflops(dtype: str) -> float:
    """Measure a large matrix product on this machine, in 10^12 operations per second."""
    a = keras.ops.cast(keras.random.normal((8192, 8192)), dtype)

    def multiply():
        return keras.ops.convert_to_numpy(keras.ops.matmul(a, a)[0, 0])

    multiply()
    return 2 * 8192**3 / min(seconds(multiply) for _ in range(5)) / 1e12


def write_record(result: dict, names: list[str]) -> None:
    """book/runs/models."""
    from posekit.notebook import runs

    about = "a training step and inference of our networks and of keras.applications', taking turns"
    rows = [
        [
            name,
            kind,
            result[name][kind]["ms_ours"],
            result[name][kind]["ms_theirs"],
            result[name][kind]["ratio"],
        ]
        for name in names
        for kind in ("train", "infer")
    ]
    header = ["run", "kind", "ms_ours", "ms_theirs", "ratio"]
    runs.write("models", about, "python benchmarks/models.py --record", result, header, rows)


def main() -> int:
    """Compare, print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--models", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--json", action="store_true", help="print one JSON object (else lines)")
    parser.add_argument("--record", action="store_true", help="also write book/runs/models")
    args = parser.parse_args()
    gpu = False
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpu = bool(tf.config.list_physical_devices("GPU"))
    result = {
        "batch": args.batch,
        "size": args.size,
        "cores": os.cpu_count(),
        "gpu": gpu,
        "claim_ratio": CLAIM_RATIO,
    }
    for name in args.models:
        result[name] = compare(name, args, jit=False)
        memory = {side: round(peak_mib(name, side, args), 1) for side in ("ours", "theirs")}
        result[name]["peak_mib"] = {**memory, "ratio": round(memory["ours"] / memory["theirs"], 3)}
    if gpu:
        keras.config.set_dtype_policy("mixed_bfloat16")
        top = ceiling_tflops("bfloat16")
        result["matmul_tflops_bfloat16"] = round(top, 1)
        for name in args.models:
            fast = compare(name, args, jit=True)
            work = 6 * sum(
                models.multiply_adds(network(name, True, args.size, True)).values()
            )  # forward, and twice for the backward pass
            fast["share_of_matmul_ceiling"] = round(
                fast["images_per_second_train"] * work / 1e12 / top, 3
            )
            result[f"{name}_bfloat16_xla"] = fast
    result["ratio_worst"] = max(
        result[name][kind]["ratio"] for name in args.models for kind in ("train", "infer")
    )
    if args.record:
        write_record(result, args.models)
    print(json.dumps(result) if args.json else "\n".join(f"{k} {v}" for k, v in result.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
