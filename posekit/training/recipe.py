"""The settings of a training run."""

from dataclasses import dataclass, field

from posekit import inputs, losses
from posekit.errors import DataError
from posekit.skeleton import COCO17, COCO19
from posekit.training.network import OPTIMIZERS

INPUT_PIPELINES = ("auto", "tfdata", "device")


@dataclass(frozen=True)
class Recipe:
    """Settings of a run, everything except its data.

    Args:
        backbone: a name in `posekit.models.BACKBONES`.
        head: a name in `posekit.models.HEADS`; the default won the comparison at equal time.
        base_channels: channels of the backbone's first stage; the default learns most in a few
            minutes on two cores.
        input_size: side of the input in pixels.
        input_downsample: n: the image is first averaged over n x n pixels (`posekit.models.build`).
        epochs: passes over the data; a run of epochs is repeatable for its seed. Give either
            `epochs` or `minutes`.
        minutes: wall-clock time from the call on. The clock drives the learning rate, so the run is
            not repeatable.
        batch_size: people per step.
        learning_rate: the peak, after warm-up.
        weight_decay: of the optimizer, see `make_optimizer`.
        warmup: fraction of the run, 0 ... 1, in which the learning rate rises to its peak.
        decay: fraction of the run, 0 ... 1, at its end, in which a cosine takes the learning rate
            down to 0; between the two it stays at its peak. 1: everything after the warm-up. 0:
            never, for a run that another one continues.
        visibility_weight: weight of the visibility loss, added to the keypoint loss.
        augment: ranges of the augmentation.
        dtype: "float32", "mixed_bfloat16", or "auto": bfloat16 if the processor supports it and
            it is faster there, which it is not for a network in `models.DEPTHWISE` on a CPU.
        seed: of weights, order and augmentation.
        loss: of the keypoints, a name in `posekit.losses.LOSSES`.
        optimizer: "adamw", or "sgd" (with Nesterov momentum 0.9; needs a peak about 30 times as
            high).
        ema_momentum: momentum of the averaged weights, 0 ... 1, which are then scored and saved;
            0: no averaging.
        clip_norm: largest norm of the gradient, see `make_optimizer`; 0: no clipping.
        input_pipeline: "tfdata" (`inputs.make_batches`), "device" (`inputs.on_device`: no
            TensorFlow, images in the accelerator's memory), or "auto" (`on_device.resolve_input`).
            Each is repeatable; they shuffle differently.
        devices: number that share each batch; 0: all accelerators on JAX, else one
            (`parallel.devices_for`).
        num_joints: 17, or 19: the network also learns neck and head top from records that hold
            them; the saved model has 17.
        frozen_stages: number of first stages of an EfficientNet that are not trained, see `freeze`;
            a step then costs less. 0: everything is trained.
        epoch_people: people per epoch, after which the run is scored and a checkpoint is written;
            0: one pass over the data.

    Raises:
        DataError: for an unknown loss, optimizer or input pipeline, and for numbers out of range.
        ValueError: for both or neither of `epochs` and `minutes`.
    """

    backbone: str = "resnet18v2"
    head: str = "votes"
    base_channels: int = 16
    input_size: int = 224
    input_downsample: int = 2
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    visibility_weight: float = 0.02
    augment: inputs.Augmentation = field(default_factory=inputs.Augmentation)
    dtype: str = "auto"
    seed: int = 0
    loss: str = "l1"
    optimizer: str = "adamw"
    ema_momentum: float = 0.0
    clip_norm: float = 0.0
    input_pipeline: str = "auto"
    devices: int = 0
    num_joints: int = 17
    decay: float = 1.0
    frozen_stages: int = 0
    epoch_people: int = 0

    def __post_init__(self):
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("give either epochs or minutes")
        for name in ("epochs", "minutes", "batch_size"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise DataError(name, f"is {value}", "expected more than 0")
        choices = {
            "loss": losses.LOSSES,
            "optimizer": OPTIMIZERS,
            "input_pipeline": INPUT_PIPELINES,
        }
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                raise DataError(f"{name} {value!r}", "unknown", f"choose one of {', '.join(known)}")
        if self.num_joints not in (len(COCO17), len(COCO19)):
            hint = f"expected {len(COCO17)} or {len(COCO19)}"
            raise DataError("num_joints", f"is {self.num_joints}", hint)
        if not 0 <= self.decay <= 1:
            problem = f"is {self.decay}"
            raise DataError("decay", problem, "expected a fraction of the run from 0 to 1")
        for name in ("frozen_stages", "epoch_people"):
            if getattr(self, name) < 0:
                raise DataError(name, f"is {getattr(self, name)}", "expected 0 or more")
        if not 0 <= self.ema_momentum < 1:
            problem = f"is {self.ema_momentum}"
            raise DataError("ema_momentum", problem, "expected a momentum from 0 to below 1")
