"""posekit: the helper package of the tutorial book on 2D human pose estimation.

`import posekit` is cheap: every room (module) is imported when it is first touched (PEP 562), so TensorFlow and OpenCV
load only where they are used. The rooms follow the one way that a person goes through the project:

    sources -> geometry -> records -> pipeline -> models, losses, training -> predict -> metrics
"""

import importlib

__version__ = "0.1.0"

_ROOMS = (
    "beam",
    "cascade",
    "checks",
    "cli",
    "device",
    "downloads",
    "errors",
    "evaluation",
    "experiments",
    "export",
    "gadgets",
    "geometry",
    "images",
    "live",
    "losses",
    "metrics",
    "minidome",
    "models",
    "pipeline",
    "predict",
    "profile",
    "records",
    "schema",
    "skeleton",
    "sources",
    "tfrecord",
    "training",
    "turntable",
    "viz",
)
_FROM_ROOM = {"load": "predict", "DataError": "errors"}

__all__ = [*_ROOMS, *_FROM_ROOM, "__version__"]


def __getattr__(name: str):
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _FROM_ROOM:
        return getattr(importlib.import_module(f"{__name__}.{_FROM_ROOM[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
