"""Training runs that can be repeated and resumed: `python -m posekit train` (chapter 06).

Chapter 06 shows `compile` and `fit`; this package adds what a long run needs. `recipe`: settings
of a run; `run`: the steps of `train`; `network`: model with loss, optimizer; `callbacks`:
learning rate, averaged weights, validation scores, checkpoints; `record`: what record.json holds;
`weights_file`: weights alone in a small file; `start`: the weights that a run starts from;
`refiner`: training of the cascade's refiners (chapter 13).
"""

from posekit.training.callbacks import (
    Checkpoint,
    FinishFile,
    ValidationLogger,
    WarmupCosine,
    WeightEMA,
)
from posekit.training.network import (
    OPTIMIZERS,
    PoseTrainer,
    adamw,
    make_optimizer,
)
from posekit.training.progress import Progress
from posekit.training.recipe import INPUT_PIPELINES, Recipe
from posekit.training.record import bfloat16_pays, command, mean_targets, pack, provenance
from posekit.training.refiner import train_refiner
from posekit.training.run import (
    FINISH_FILE,
    build_network,
    freeze,
    train,
)
from posekit.training.start import (
    IMAGENET,
    architecture,
    first_joints,
    load_network,
    load_weights,
)
from posekit.training.tensorboard import TensorBoard

__all__ = [
    "FINISH_FILE",
    "IMAGENET",
    "INPUT_PIPELINES",
    "OPTIMIZERS",
    "Checkpoint",
    "FinishFile",
    "PoseTrainer",
    "Progress",
    "Recipe",
    "TensorBoard",
    "ValidationLogger",
    "WarmupCosine",
    "WeightEMA",
    "adamw",
    "architecture",
    "bfloat16_pays",
    "build_network",
    "command",
    "first_joints",
    "freeze",
    "load_network",
    "load_weights",
    "make_optimizer",
    "mean_targets",
    "pack",
    "provenance",
    "train",
    "train_refiner",
]
