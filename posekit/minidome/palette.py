"""The colours of the MiniDome's people, clothes and rooms: small palettes that look well together
(chapter 02)."""

import colorsys

import numpy as np

SKIN = (
    "#f6dcc4",
    "#f1c9a5",
    "#e6b48c",
    "#d39c71",
    "#bd8257",
    "#a06a42",
    "#845233",
    "#683f28",
    "#4e2f20",
    "#3a2318",
)
HAIR = (
    "#17120f",
    "#2a1c14",
    "#3f2a1a",
    "#5a3b22",
    "#7a5230",
    "#a67b44",
    "#cfae72",
    "#8a3c1f",
    "#8d8d8d",
    "#d8d6d0",
)
CLOTH = (
    *(
        "#f4f1ea",
        "#e9e4d8",
        "#22252b",
        "#3b3f46",
        "#8a8f98",
        "#1f2f4d",
        "#2f5d8a",
        "#5b8fbf",
        "#9cc3dd",
        "#2e6b5e",
    ),
    *(
        "#5b8a5a",
        "#a3b18a",
        "#7b7a3a",
        "#d9a441",
        "#e07a4b",
        "#c8553d",
        "#b23a48",
        "#7d2e46",
        "#e8a0a0",
        "#8a6fa8",
    ),
)
TROUSERS = (
    "#2b3a55",
    "#3d5478",
    "#6f8bb0",
    "#22252b",
    "#4a4a4f",
    "#8c8c8c",
    "#b8a483",
    "#7a6248",
    "#54593f",
    "#e4dfd3",
)
SHOES = ("#1e1c1b", "#f3f1ec", "#6b4a32", "#38506e", "#a33b3b", "#8f8f8f")
WALL = (
    "#efe9dd",
    "#e3dccb",
    "#dfe3e4",
    "#c9d3cf",
    "#b9c7b4",
    "#a9bccb",
    "#d9c0b0",
    "#cdb7a6",
    "#8fa3a0",
    "#c58f72",
)
WALL += ("#6f8391", "#e8d9a8")
FLOOR = (
    "#b98d5f",
    "#8f6844",
    "#d1ae82",
    "#6d5240",
    "#a8a29a",
    "#7f8489",
    "#c9c2b4",
    "#566473",
    "#7d8b78",
    "#9c6f63",
)
FURNITURE = (
    "#8a6242",
    "#b58a5c",
    "#5a4636",
    "#e9e5dd",
    "#3f4852",
    "#6d8a96",
    "#93a57f",
    "#c98f5a",
    "#a5554a",
    "#cfc3ae",
)


def rgb(code: str) -> np.ndarray:
    """`"#rrggbb"` -> (3,) 0-1."""
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def pick(palette: tuple[str, ...], rng: np.random.Generator, odd: float = 0.08) -> np.ndarray:
    """A colour near one of a palette's, RGB 0-1; with the chance `odd` any colour at all."""
    if rng.random() < odd:
        return np.array(
            colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.08, 0.55), rng.uniform(0.3, 0.9))
        )
    return np.clip(
        rgb(palette[rng.integers(len(palette))]) * rng.uniform(0.88, 1.1) + rng.normal(0, 0.015, 3),
        0.02,
        1,
    )
