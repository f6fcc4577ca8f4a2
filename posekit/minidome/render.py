"""The MiniDome's renderer: a camera's exact rays against every shape, nearest first, then light
(chapter 02).

The ray of each pixel undoes the lens distortion (`dome.undistort`), so a joint that
`cameras.project` puts on a pixel is what that pixel sees. A shape is only tried on the pixels of
its own bounding rectangle, exact under distortion.
"""

from dataclasses import dataclass

import numpy as np

from posekit.cameras import Camera
from posekit.minidome import room, solids
from posekit.minidome.dome import undistort
from posekit.minidome.scene import Scene
from posekit.minidome.solids import Solids

NEAR = 5.0
"""Nothing closer to the camera than this is drawn, cm."""


@dataclass(frozen=True)
class RayGrid:
    """A camera's pixels as rays (x, y, 1), and where they meet the room; made once per camera.

    Args:
        camera: the camera.
        x, y: (H, W) float32, undistorted normalised image coordinates.
        dd: (H, W) float32, x^2 + y^2 + 1.
        number: (H, W) int32, index of each pixel in the flattened image.
        col_low, col_high: (W,) smallest and largest x in a column; row_low, row_high: (H,) the same
            of y in a row.
        sheet: fixed-point maps for `cv2.remap`, from `room.look_up`.
    """

    camera: Camera
    x: np.ndarray
    y: np.ndarray
    dd: np.ndarray
    number: np.ndarray
    col_low: np.ndarray
    col_high: np.ndarray
    row_low: np.ndarray
    row_high: np.ndarray
    sheet: tuple[np.ndarray, np.ndarray]


def ray_grid(camera: Camera) -> RayGrid:
    """Cast a camera's rays."""
    import cv2

    w, h = camera.resolution
    px, py = np.meshgrid(np.arange(w, dtype=np.float64), np.arange(h, dtype=np.float64))
    ideal = np.stack(
        [(px - camera.K[0, 2]) / camera.K[0, 0], (py - camera.K[1, 2]) / camera.K[1, 1]], axis=-1
    )
    x, y = np.moveaxis(undistort(ideal, camera.distCoef, iterations=4), -1, 0)
    sheet = room.look_up(camera, np.stack([x, y, np.ones_like(x)], axis=-1))
    maps = cv2.convertMaps(sheet[..., 0], sheet[..., 1], cv2.CV_16SC2)
    x = x.astype(np.float32)
    y = y.astype(np.float32)
    number = np.arange(w * h, dtype=np.int32).reshape(h, w)
    sides = x.min(axis=0), x.max(axis=0), y.min(axis=1), y.max(axis=1)
    return RayGrid(camera, x, y, x * x + y * y + 1, number, *sides, maps)


# ---- which shape a pixel sees --------------------------------------------------------------------


def _extent(centre: np.ndarray, spread: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Range of x/z (axis 0) or y/z (axis 1) over ellipsoids in front of the camera: the two tangent
    planes through its eye.

    An ellipsoid with covariance-like `spread` S touches the plane n . p = 0 when (n . c)^2 = n^T S
    n; n = (1, 0, -u).
    """
    c = centre[:, axis]
    z = centre[:, 2]
    s = spread[:, axis, axis]
    m = spread[:, axis, 2]
    q = spread[:, 2, 2]
    a = z * z - q
    b = c * z - m
    root = np.sqrt(np.maximum(b * b - a * (c * c - s), 0))
    a = np.where(a > 1e-9, a, np.nan)
    return (b - root) / a, (b + root) / a


def rectangles(shapes: Solids, grid: RayGrid) -> np.ndarray:
    """(N + M, 4) int: rows r0:r1 and columns c0:c1 outside of which a shape (in camera coordinates)
    is surely not seen."""
    inverse = np.linalg.inv(shapes.metric) if shapes.num_cones else shapes.metric
    low = []
    high = []
    front = []
    behind = []
    for centre, radius in ((shapes.a, shapes.ra), (shapes.b, shapes.rb)):
        spread = inverse * (radius**2)[:, None, None]
        depth = np.sqrt(spread[:, 2, 2])
        sides = [_extent(centre, spread, axis) for axis in (0, 1)]
        low.append(np.stack([s[0] for s in sides], axis=1))
        high.append(np.stack([s[1] for s in sides], axis=1))
        front.append(centre[:, 2] - depth)
        behind.append(centre[:, 2] + depth)
    corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], np.float64)
    points = shapes.box_centre[:, None] + (corners * shapes.box_half[:, None]) @ shapes.box_axes
    z = points[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = points[..., :2] / np.where(z > NEAR, z, np.nan)[..., None]
    low = np.concatenate([np.minimum(*low), flat.min(axis=1, initial=np.inf)])
    high = np.concatenate([np.maximum(*high), flat.max(axis=1, initial=-np.inf)])
    front = np.concatenate([np.minimum(*front), z.min(axis=1, initial=np.inf)])
    behind = np.concatenate([np.maximum(*behind), z.max(axis=1, initial=-np.inf)])
    out = np.empty((len(low), 4), int)
    out[:, 0] = np.searchsorted(grid.row_high, low[:, 1])
    out[:, 1] = np.searchsorted(grid.row_low, high[:, 1], side="right")
    out[:, 2] = np.searchsorted(grid.col_high, low[:, 0])
    out[:, 3] = np.searchsorted(grid.col_low, high[:, 0], side="right")
    around = (front <= NEAR) | ~np.isfinite(low).all(axis=1) | ~np.isfinite(high).all(axis=1)
    out[around] = 0, len(grid.row_low), 0, len(grid.col_low)
    out[behind <= NEAR] = 0
    return out


def nearest(shapes: Solids, grid: RayGrid) -> tuple[np.ndarray, np.ndarray]:
    """The nearest shape on each pixel.

    Args:
        shapes: in camera coordinates (`solids.to_view`).
        grid: the camera's rays.

    Returns:
        depth (H, W) float32 (z in cm, inf where there is none) and number (H, W) int32 of the
        shape, -1 for none.
    """
    depth = np.full(grid.x.shape, np.inf, np.float32)
    solid_index = np.full(grid.x.shape, -1, np.int32)
    flat_depth = depth.reshape(-1)
    flat_ident = solid_index.reshape(-1)
    flat_x = grid.x.reshape(-1)
    flat_y = grid.y.reshape(-1)
    terms = solids.cone_terms(shapes, np.zeros(3))
    round_balls = np.abs(shapes.metric - np.eye(3)).max(axis=(1, 2), initial=0) < 1e-9
    nearest_z = np.minimum(shapes.a[:, 2] - shapes.ra, shapes.b[:, 2] - shapes.rb)
    rects = rectangles(shapes, grid).tolist()
    exact = terms.cast(np.float64)
    quick = terms.cast(np.float32)
    for i in np.argsort(nearest_z, kind="stable").tolist():
        r0, r1, c0, c1 = rects[i]
        if r1 <= r0 or c1 <= c0:
            continue
        box = np.s_[r0:r1, c0:c1]
        number = grid.number[box]
        # float32 resolves 1e-3 of a hand's radius at 3 m; the few pixels of an eye can afford
        # float64
        kind, term = (
            (np.float64, exact.one(i)) if number.size < 1200 else (np.float32, quick.one(i))
        )
        x = grid.x[box].astype(kind, copy=False)
        y = grid.y[box].astype(kind, copy=False)
        dd = grid.dd[box]
        if not round_balls[i]:
            dd = _quadratic(term.metric, x, y)
        vd = x * term.ray_v[0] + (y * term.ray_v[1] + term.ray_v[2])
        od = x * term.ray_o[0] + (y * term.ray_o[1] + term.ray_o[2])
        seen = solids.cone_silhouette(term, vd, od, dd) >= 0
        at = number[seen]
        if not len(at):
            continue
        t = solids.cone_entry(term, vd[seen], od[seen], dd[seen])
        closer = t < flat_depth[at]
        at = at[closer]
        flat_depth[at] = t[closer]
        flat_ident[at] = i
    for j in range(len(shapes.box_centre)):
        r0, r1, c0, c1 = rects[shapes.num_cones + j]
        if r1 <= r0 or c1 <= c0:
            continue
        at = grid.number[r0:r1, c0:c1].reshape(-1)
        x = flat_x[at]
        y = flat_y[at]
        axes = shapes.box_axes[j].astype(np.float32)
        rd = [x * a[0] + (y * a[1] + a[2]) for a in axes]
        t = solids.box_entry(
            rd,
            -(axes @ shapes.box_centre[j]).astype(np.float32),
            shapes.box_half[j].astype(np.float32),
        )
        closer = (t < flat_depth[at]) & (t > NEAR)
        at = at[closer]
        flat_depth[at] = t[closer]
        flat_ident[at] = shapes.num_cones + j
    return depth, solid_index


def _quadratic(m: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x, y, 1) M (x, y, 1)^T."""
    return x * (m[0, 0] * x + (2 * m[0, 1] * y + 2 * m[0, 2])) + (
        y * (m[1, 1] * y + 2 * m[1, 2]) + m[2, 2]
    )


# ---- light and colour ----------------------------------------------------------------------------


def _along(points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """(P, 3) . (3,), without BLAS: the same bytes on any number of threads."""
    return np.einsum("pi,i->p", points, direction)


def _shade(albedo, normal, toward_eye, shine, scene: Scene, rotation: np.ndarray) -> np.ndarray:
    """Colours 0-255 of surface points: sky light from above, the lamp (wrapped a little), a
    highlight."""
    light = (rotation @ scene.light).astype(np.float32)
    up = (rotation @ [0, -1, 0]).astype(np.float32)
    lamp = np.clip((_along(normal, light) + 0.2) / 1.2, 0, None)
    sky = 0.72 + 0.28 * _along(normal, up)
    facing = np.clip(np.einsum("pi,pi->p", normal, toward_eye), 0, 1)
    energy = scene.ambient * sky * (0.7 + 0.3 * facing) + (1.15 - scene.ambient) * lamp
    half = toward_eye + light
    glint = (
        np.clip(
            np.einsum("pi,pi->p", normal, half) / np.sqrt(np.einsum("pi,pi->p", half, half)), 0, 1
        )
        ** 24
    )
    colour = albedo * energy[:, None] + (0.5 * shine * glint)[:, None]
    return colour * (255 * scene.tint).astype(np.float32)


def _rays_at(grid: RayGrid, depth: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, 3) points seen by the pixels `at`, in camera coordinates, and unit vectors from them to
    the eye."""
    p = np.stack(
        [grid.x.reshape(-1)[at], grid.y.reshape(-1)[at], np.ones(len(at), np.float32)], axis=1
    )
    return p * depth.reshape(-1)[at][:, None], -p / np.sqrt(grid.dd.reshape(-1)[at])[:, None]


def _surface(
    shapes: Solids, grid: RayGrid, depth: np.ndarray, solid_index: np.ndarray, at: np.ndarray
):
    """Albedo, outward normal, direction to the eye and shine of the pixels `at` that see a round
    cone.

    With s, the fraction of the way from a to b (clipped to 0 ... 1), the normal points from a + s
    (b - a) to the surface point, through the metric; s is linear in the point, so each shape needs
    one row of numbers.
    """
    which = solid_index.reshape(-1)[at]
    v = shapes.b - shapes.a
    av = np.einsum("nij,nj->ni", shapes.metric, v)
    vv = np.einsum("ni,ni->n", av, v)
    narrow = shapes.ra - shapes.rb
    slope = vv - narrow**2
    hull = slope > 0  # else one ball holds the other: s is where the larger one is
    slope = np.where(hull, slope, 1)
    s_way = np.where(hull[:, None], av / slope[:, None], 0)
    offset = (-np.einsum("ni,ni->n", av, shapes.a) - shapes.ra * narrow) / slope
    s_at_0 = np.where(hull, offset, shapes.rb > shapes.ra)
    length = np.sqrt(np.einsum("ni,ni->n", v, v))
    a, v, s_way, s_at_0, length, metric, side, materials = (
        np.asarray(values, np.float32)[which]
        for values in (
            shapes.a,
            v,
            s_way,
            s_at_0,
            length,
            shapes.metric,
            shapes.side,
            shapes.material,
        )
    )
    p, toward_eye = _rays_at(grid, depth, at)
    s = np.clip(np.einsum("pi,pi->p", p, s_way) + s_at_0, 0, 1)
    normal = np.einsum("pij,pj->pi", metric, p - a - s[:, None] * v)
    normal /= np.sqrt(np.einsum("pi,pi->p", normal, normal))[:, None]
    albedo = np.where((s > materials[:, 9])[:, None], materials[:, 3:6], materials[:, 0:3])
    dyed = np.flatnonzero((materials[:, [10, 12, 13]].max(axis=1) > 0) & (s <= materials[:, 9]))
    if len(dyed):
        along = (s * length)[dyed]
        across = np.einsum("pi,pi->p", (p - a)[dyed], side[dyed])
        front = np.einsum("pi,pi->p", np.cross(v[dyed], side[dyed]), normal[dyed]) > 0
        albedo[dyed] = _patterned(materials[dyed], along, across, front)
    return albedo, normal, toward_eye, materials[:, 11]


def _patterned(
    materials: np.ndarray, along: np.ndarray, across: np.ndarray, front: np.ndarray
) -> np.ndarray:
    """Stripes, checks and logos: how much of the second colour lies at a point (along, across) of
    its shape, cm."""
    period = materials[:, 10]
    wide = materials[:, 12]
    share = np.zeros_like(along)
    for at, size, other in ((along, period, wide), (across, wide, period)):
        on = (size > 0) & ((at / np.where(size > 0, size, 1)) % 1 < 0.5)
        share += on * np.where(other > 0, 0.5, 1)
    radius = materials[:, 13]
    share = np.where(front & (across**2 + (along - materials[:, 14]) ** 2 < radius**2), 1, share)[
        :, None
    ]
    return materials[:, 0:3] * (1 - share) + materials[:, 6:9] * share


def _box_surface(
    shapes: Solids, grid: RayGrid, depth: np.ndarray, solid_index: np.ndarray, at: np.ndarray
):
    """As `_surface`, for the pixels that see a box."""
    which = solid_index.reshape(-1)[at] - shapes.num_cones
    p, toward_eye = _rays_at(grid, depth, at)
    axes = shapes.box_axes.astype(np.float32)[which]
    local = np.einsum("pij,pj->pi", axes, p - shapes.box_centre.astype(np.float32)[which])
    share = np.abs(local) / shapes.box_half.astype(np.float32)[which]
    face = np.argmax(share, axis=1)
    rows = np.arange(len(at))
    normal = axes[rows, face] * np.sign(local[rows, face])[:, None]
    materials = shapes.box_materials.astype(np.float32)[which]
    albedo = _patterned(materials, local[:, 1], local[:, 0], np.zeros(len(at), bool))
    rim = np.sort(share, axis=1)[:, 1] > 0.985
    albedo[rim] *= 0.8
    return albedo, normal, toward_eye, materials[:, 11]


def _albedo_light(
    shapes: Solids, grid: RayGrid, depth, solid_index, at: np.ndarray, scene: Scene
) -> np.ndarray:
    """(P, 3) float32 colours 0-255 of the pixels `at`, all of which see a shape."""
    out = np.empty((len(at), 3), np.float32)
    is_box = solid_index.reshape(-1)[at] >= shapes.num_cones
    for pick, surface in ((~is_box, _surface), (is_box, _box_surface)):
        pick = np.flatnonzero(pick)
        if len(pick):
            albedo, normal, toward_eye, shine = surface(shapes, grid, depth, solid_index, at[pick])
            out[pick] = _shade(albedo, normal, toward_eye, shine, scene, grid.camera.R)
    return out


def _crevices(depth: np.ndarray) -> np.ndarray:
    """(H, W) uint8, 255 in the open, darker where a surface lies close behind others: light that
    does not get in.

    The depth of a pixel against the mean of its neighbours (Luft, Colditz & Deussen, "Image
    enhancement by unsharp masking the depth buffer", SIGGRAPH 2006); far things behind do not
    count.
    """
    import cv2

    full = depth.shape
    small = np.minimum(depth[::2, ::2], 2000.0)
    solid = (small < 2000).astype(np.float32)
    size = max(3, full[0] // 36) | 1
    weight = cv2.blur(solid, (size, size))
    mean = cv2.blur(small * solid, (size, size)) / np.maximum(weight, 1e-3)
    behind = small - mean
    dark = np.where(
        (behind > 0) & (solid > 0),
        np.minimum(behind / 14, 1) * np.minimum(30 / (behind + 30), 1),
        0,
    )
    soft = cv2.blur(dark, (3, 3)) * 90
    return 255 - cv2.resize(soft, full[::-1]).astype(np.uint8)


def draw(
    scene: Scene,
    shapes: Solids,
    sheet: np.ndarray,
    grid: RayGrid,
    finish_seed,
    photo: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Render one frame from one camera.

    Args:
        scene: light.
        shapes: everything that stands in the room, world coordinates.
        sheet: the painted room, `room.paint`.
        grid: the camera's rays.
        finish_seed: seed of the camera's exposure and noise.
        photo: (H, W, 3) uint8 that stands behind instead of the room; `sheet` then only holds
            shadows.

    Returns:
        image (H, W, 3) uint8 RGB and solid_index (H, W) int32 of the visible solid, -1 for the
        background.
    """
    import cv2

    viewed = solids.to_view(shapes, grid.camera.R, grid.camera.t)
    depth, solid_index = nearest(viewed, grid)
    image = cv2.remap(sheet, *grid.sheet, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if photo is not None:
        image = cv2.multiply(photo, image, scale=1 / 255)
    room_only = image.copy()
    flat = image.reshape(-1, 3)
    at = np.flatnonzero(solid_index.reshape(-1) >= 0)
    if len(at):
        dark = _crevices(depth)
        light = _albedo_light(viewed, grid, depth, solid_index, at, scene)
        flat[at] = np.clip(light * (dark.reshape(-1)[at, None] / np.float32(255)), 0, 255)
        _smooth_edges(image, room_only, dark, viewed, grid, solid_index, scene)
    return _finish(image, scene.grain, np.random.default_rng(finish_seed)), solid_index


def _edges(solid_index: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat numbers of the pixels that see another shape than a neighbour, where that can be seen,
    and what it sees."""
    bright = image[..., 1].astype(np.int16)
    flat = np.arange(solid_index.size).reshape(solid_index.shape)
    columns = (solid_index[:, 1:] != solid_index[:, :-1]) & (
        np.abs(bright[:, 1:] - bright[:, :-1]) > 9
    )
    rows = (solid_index[1:] != solid_index[:-1]) & (np.abs(bright[1:] - bright[:-1]) > 9)
    here = [flat[:, 1:][columns], flat[:, :-1][columns], flat[1:][rows], flat[:-1][rows]]
    there = [flat[:, :-1][columns], flat[:, 1:][columns], flat[:-1][rows], flat[1:][rows]]
    at, first = np.unique(np.concatenate(here), return_index=True)
    return at, solid_index.reshape(-1)[np.concatenate(there)[first]]


def _hits(shapes: Solids, number: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(P,) how far along its ray (x, y, 1) each meets the one shape `number` (-1: none, inf)."""
    out = np.full(len(number), np.inf)
    cone = np.flatnonzero((number >= 0) & (number < shapes.num_cones))
    if len(cone):
        terms = solids.cone_terms(shapes, np.zeros(3))
        at = number[cone]
        metric = np.moveaxis(terms.metric, 0, -1)[..., at]
        vd, od = (
            row[0] * x[cone] + row[1] * y[cone] + row[2]
            for row in (terms.ray_v.T[:, at], terms.ray_o.T[:, at])
        )
        out[cone] = solids.cone_entry(terms.one(at), vd, od, _quadratic(metric, x[cone], y[cone]))
    box = np.flatnonzero(number >= shapes.num_cones)
    if len(box):
        at = number[box] - shapes.num_cones
        axes = np.moveaxis(shapes.box_axes, 0, -1)[..., at]
        centre = shapes.box_centre[at].T
        half = shapes.box_half[at].T
        rd = [row[0] * x[box] + row[1] * y[box] + row[2] for row in axes]
        out[box] = solids.box_entry(rd, -np.einsum("ijp,jp->ip", axes, centre), half)
    return out


def _smooth_edges(
    image, room_only, dark, shapes: Solids, grid: RayGrid, solid_index, scene: Scene
) -> None:
    """Average three rays per pixel where two shapes meet, in place, so that outlines do not look
    like stairs."""
    at, other = _edges(solid_index, image)
    h, w = solid_index.shape
    row, col = np.divmod(at, w)
    sign_x = np.where(col < w - 1, 1, -1)
    sign_y = np.where(row < h - 1, 1, -1)
    across, down = np.array([[-0.35, 0.2], [0.35, -0.2]]).T[..., None]
    x, y = (
        (
            v[at]
            + across * (v[at + sign_x] - v[at]) * sign_x
            + down * (v[at + w * sign_y] - v[at]) * sign_y
        ).reshape(-1)
        for v in (grid.x.reshape(-1).astype(np.float64), grid.y.reshape(-1).astype(np.float64))
    )
    own = np.tile(solid_index.reshape(-1)[at], 2)
    other = np.tile(other, 2)
    depth = _hits(shapes, own, x, y)
    depth_other = _hits(shapes, other, x, y)
    seen = np.where(depth_other < depth, other, own)
    depth = np.minimum(depth, depth_other).astype(np.float32)
    x = x.astype(np.float32)
    y = y.astype(np.float32)
    rays = RayGrid(grid.camera, x, y, x * x + y * y + 1, seen, x, x, y, y, grid.sheet)
    colour = np.tile(room_only.reshape(-1, 3)[at].astype(np.float32), (2, 1))
    hit = np.flatnonzero(np.isfinite(depth))
    shadow = np.tile(dark.reshape(-1)[at, None] / np.float32(255), (2, 1))
    colour[hit] = np.clip(
        _albedo_light(shapes, rays, depth, seen, hit, scene) * shadow[hit], 0, 255
    )
    flat = image.reshape(-1, 3)
    flat[at] = (flat[at] + colour[: len(at)] + colour[len(at) :]) / 3


def _finish(image: np.ndarray, grain: float, rng: np.random.Generator) -> np.ndarray:
    """Add exposure, contrast and sensor noise, as a camera does."""
    import cv2

    gain = rng.uniform(0.9, 1.15)
    gamma = rng.uniform(0.8, 1.1)
    table = np.clip(255 * (gain * (np.arange(256) / 255)) ** gamma, 0, 255).astype(np.uint8)
    out = cv2.LUT(image, table)
    sigma = grain * rng.gamma(2.0, 1.0)
    if sigma > 0.8:
        tile = (128 + sigma * rng.standard_normal((64, 67))).round().astype(np.uint8)
        h, w = out.shape[:2]
        noise = np.tile(tile, (-(-h // 64), -(-w // 67)))[:h, :w]
        out = cv2.addWeighted(out, 1, cv2.merge([noise] * 3), 1, -128)
    return out
