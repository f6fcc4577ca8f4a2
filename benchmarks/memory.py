"""Peak memory of training per image.

The claim: DenseNet-121 needs more than ResNet-50, and recomputing its dense layers repairs that.

One process per network and batch size builds the network and trains it for two steps. The growth of
its peak memory from the small batch to the large one, divided by the difference in images, is the
memory per image. Weights, libraries and the program itself cancel.
"""

import argparse
import json
import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from posekit import models
from posekit.models import densenet

NETWORKS = ("resnet50", "densenet121", "densenet121_recomputed")
DENSE_LAYER = densenet.dense_layer


class Recomputed(keras.layers.Layer):
    """A part of a network whose inside is not kept for the backward pass but computed a second
    time.

    Args:
        part: a model of one input and one output.
    """

    def __init__(self, part: keras.Model):
        super().__init__()
        self.part = part

    def call(self, x):
        return keras.remat(self.part)(x)


def recomputed_layer(
    x, growth: int, *, bottleneck: int | None = 4, name: str, epsilon: float = 1e-5
):
    """`densenet.dense_layer` of which only the new channels are kept (Pleiss et al. 2017)."""
    inside = keras.Input(x.shape[1:])
    joined = DENSE_LAYER(inside, growth, bottleneck=bottleneck, name=name, epsilon=epsilon)
    new = joined._keras_history.operation.input[1]
    return keras.layers.Concatenate()([x, Recomputed(keras.Model(inside, new))(x)])


def network(name: str, size: int) -> keras.Model:
    """A backbone as in the papers with one small dense layer, compiled for regression."""
    keras.utils.set_random_seed(0)
    image = keras.Input((size, size, 3))
    densenet.dense_layer = recomputed_layer if name.endswith("_recomputed") else DENSE_LAYER
    features = models.BACKBONES[name.removesuffix("_recomputed")](image, base_channels=64)
    model = keras.Model(
        image, keras.layers.Dense(34)(keras.layers.GlobalAveragePooling2D()(features))
    )
    model.compile(keras.optimizers.SGD(1e-3), "mean_absolute_error", jit_compile=False)
    return model


def peak_mib(name: str, size: int, batch: int) -> float:
    """Peak memory of this process after two steps."""
    import resource

    model = network(name, size)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, size, size, 3)).astype("float32")
    y = rng.normal(size=(batch, 34)).astype("float32")
    for _ in range(2):
        model.train_on_batch(x, y)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def measured(name: str, size: int, batch: int) -> float:
    """`peak_mib` in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--only",
        name,
        "--size",
        str(size),
        "--batches",
        str(batch),
        str(batch),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> int:
    """Measure, print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument(
        "--batches", type=int, nargs=2, default=[4, 20], help="the small and the large batch"
    )
    parser.add_argument(
        "--only", choices=NETWORKS, help="print the peak of one network at the small batch"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object (else lines)")
    parser.add_argument("--record", action="store_true", help="also write book/runs/memory")
    args = parser.parse_args()
    small, large = args.batches
    if args.only:
        print(peak_mib(args.only, args.size, small))
        return 0
    result = {"size": args.size, "batches": args.batches}
    rows = []
    for name in NETWORKS:
        low, high = (measured(name, args.size, batch) for batch in args.batches)
        result[name] = {"mib_per_image": round((high - low) / (large - small), 2)}
        rows += [[name, small, round(low, 1)], [name, large, round(high, 1)]]
    computed = {
        name: models.activation_bytes(network(name, args.size)) / 2**20 for name in NETWORKS[:2]
    }
    for name, mib in computed.items():
        result[name]["computed_mib_per_image"] = round(mib, 2)
    if args.record:
        from posekit.notebook import runs

        about = "memory that one more image in the batch adds to the peak of a training step"
        command = "python benchmarks/memory.py --record"
        runs.write("memory", about, command, result, ["run", "batch", "peak_mib"], rows)
    print(json.dumps(result) if args.json else "\n".join(f"{k} {v}" for k, v in result.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
