"""Metrics in plain numpy, one module per question (chapters 09 and 11).

`joints`: PCP, PDJ, PCK, pixel error, collapse ratio; `oks`: COCO's similarity and kinds of errors;
`visibility`: ranking and calibration of the visibility output; `bootstrap`: confidence intervals;
`coco`: AP and AR, through pycocotools.

Every function takes predictions and targets of N people as arrays and changes neither. Where
nothing can be scored the result is NaN, never 0 and never a warning.
"""

from posekit.body_size import torso_length
from posekit.metrics.bootstrap import bootstrap_ci, paired_bootstrap
from posekit.metrics.coco import coco_scores
from posekit.metrics.joints import (
    LIMBS,
    collapse_ratio,
    mean_pixel_error,
    pck,
    pck_hits,
    pckh,
    pcp,
    pcp_hits,
    pdj,
)
from posekit.metrics.oks import ERRORS, error_types, keypoint_similarity, oks, oks_matrix
from posekit.metrics.visibility import (
    auroc,
    average_precision,
    expected_calibration_error,
    reliability,
    visibility_accuracy,
)

__all__ = [
    "ERRORS",
    "LIMBS",
    "auroc",
    "average_precision",
    "bootstrap_ci",
    "coco_scores",
    "collapse_ratio",
    "error_types",
    "expected_calibration_error",
    "keypoint_similarity",
    "mean_pixel_error",
    "oks",
    "oks_matrix",
    "paired_bootstrap",
    "pck",
    "pck_hits",
    "pckh",
    "pcp",
    "pcp_hits",
    "pdj",
    "reliability",
    "torso_length",
    "visibility_accuracy",
]
