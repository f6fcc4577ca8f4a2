"""From a trained model to predictions: predict, evaluate, export, and the cascade's later stages.

Submodules are imported when they are first accessed (PEP 562): the predictor needs no TensorFlow.
"""

import importlib

__all__ = ["cascade", "evaluation", "export", "predictor"]


def __getattr__(name: str):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
