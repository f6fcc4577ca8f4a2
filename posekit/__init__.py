"""posekit: the helper package of the tutorial book on 2D human pose estimation.

`import posekit` is cheap: a submodule is imported when it is first accessed (PEP 562), so that
TensorFlow and OpenCV load only where they are used. The submodules are the stages of one pipeline:

    datasets -> records -> inputs -> models, losses, training -> inference -> metrics -> live

This file keeps to the syntax of Python 3.6, for `posekit doctor`.
"""

import importlib

__version__ = "0.1.0"

_MODULES = (
    "body_size",
    "cameras",
    "cli",
    "datasets",
    "doctor",
    "errors",
    "files",
    "geometry",
    "hardware",
    "images",
    "inference",
    "inputs",
    "live",
    "losses",
    "metrics",
    "minidome",
    "models",
    "notebook",
    "records",
    "skeleton",
    "training",
    "viz",
)
_EXPORTS = {"load": "inference.predictor", "DataError": "errors"}

__all__ = [*_MODULES, *_EXPORTS, "__version__"]


def __getattr__(name):
    if name not in _MODULES and name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _EXPORTS.get(name, name)
    try:
        found = importlib.import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == __name__:
            raise
        from posekit import doctor

        raise ModuleNotFoundError(doctor.missing_package(error), name=error.name) from None
    return getattr(found, name) if name in _EXPORTS else found


def __dir__():
    return sorted(__all__)
