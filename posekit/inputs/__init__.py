"""From record folders to training batches: augmentation, targets, input pipelines (chapter 03).

`tfdata` decodes and crops on the CPU with OpenCV; `on_device` crops on the accelerator and needs no
TensorFlow (import it by name: it needs Keras). Both make the same targets.
"""

from posekit.inputs.augment import FAR_ZOOM, Augmentation, AugmentParams, half_body_square
from posekit.inputs.targets import (
    crop_person,
    encode_targets,
    input_affine,
    input_affines,
    locate_in_crop,
    photo_mask,
    render_crop,
)
from posekit.inputs.tfdata import make_batches, parse_records, stored_sizes

__all__ = [
    "FAR_ZOOM",
    "AugmentParams",
    "Augmentation",
    "crop_person",
    "encode_targets",
    "half_body_square",
    "input_affine",
    "input_affines",
    "locate_in_crop",
    "make_batches",
    "parse_records",
    "photo_mask",
    "render_crop",
    "stored_sizes",
]
