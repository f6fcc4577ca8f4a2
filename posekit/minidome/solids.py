"""Solids and ray intersection: round cones and boxes (shown in chapter 02).

Two shapes are enough. A *round cone* is the hull of two balls (a capsule whose ends may differ):
    limbs, noses, leaves.
Measured with its own metric, x^T A x in place of x . x, the balls become ellipsoids: chests, heads,
hair. A *box* is a table top, a crate, a step. Both are convex and meet a ray in closed form, so a
hit is exact and needs no marching.
"""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Solids:
    """N round cones and M boxes in world coordinates, cm.

    Args:
        a, b: (N, 3) centres of a round cone's two balls; a = b is one ball.
        ra, rb: (N,) their radii, > 0.
        metric: (N, 3, 3) symmetric positive definite A; the identity for true balls.
        owner: (N,) person that the cone belongs to, -1 for things.
        side: (N, 3) unit vector across the cone, from which patterns are measured (a limb's own x).
        material: (N, 15) base, tip and second colour (0-1), then `cut`, `period`, `shine`,
            `across`, `logo`, `logo_at`: the tip colour begins at the share `cut` of the way from a
            to b; stripes of the second colour repeat every `period` cm along it and every `across`
            cm along `side` (0: none; both: checks); a disc of it with radius `logo` cm lies on the
            front, `logo_at` cm along (0: none).
        box_centre, box_half: (M, 3) centre and half sides.
        box_axes: (M, 3, 3) rows are the box's own x, y, z directions.
        box_look: (M, 15) as `material`, stripes along the box's y and x.
    """

    a: np.ndarray
    b: np.ndarray
    ra: np.ndarray
    rb: np.ndarray
    metric: np.ndarray
    owner: np.ndarray
    side: np.ndarray
    material: np.ndarray
    box_centre: np.ndarray
    box_half: np.ndarray
    box_axes: np.ndarray
    box_materials: np.ndarray

    @property
    def num_cones(self) -> int:
        """Number of round cones; the boxes are numbered after them."""
        return len(self.a)

    @property
    def owners(self) -> np.ndarray:
        """(N + M,) owner of every shape, boxes last (-1)."""
        return np.concatenate([self.owner, np.full(len(self.box_centre), -1)])

    def select_cones(self, mask: np.ndarray) -> "Solids":
        """Only the round cones that (N,) `mask` picks, without boxes."""
        names = ("a", "b", "ra", "rb", "metric", "owner", "side", "material")
        return Solids(*(getattr(self, name)[mask] for name in names), *_no_boxes())


MATERIAL_SIZE = 15
"""Length of a row of `Solids.material`."""


def material(
    base, tip=None, second=None, cut=2.0, period=0.0, shine=0.0, across=0.0, logo=0.0, logo_at=0.0
) -> np.ndarray:
    """Return one row of `Solids.material`; colours are RGB 0-1."""
    tip = base if tip is None else tip
    second = base if second is None else second
    return np.concatenate([base, tip, second, [cut, period, shine, across, logo, logo_at]]).astype(
        np.float64
    )


def round_cones(a, b, ra, rb, materials, metric=None, owner=-1, side=None) -> Solids:
    """Round cones from arrays; `metric` None means true balls, `side` None the world's x."""
    a = np.atleast_2d(np.asarray(a, np.float64))
    n = len(a)
    metric = (
        np.broadcast_to(np.eye(3), (n, 3, 3)) if metric is None else np.asarray(metric, np.float64)
    )
    return Solids(
        a,
        np.atleast_2d(np.asarray(b, np.float64)),
        np.broadcast_to(np.asarray(ra, np.float64), (n,)),
        np.broadcast_to(np.asarray(rb, np.float64), (n,)),
        metric,
        np.broadcast_to(np.asarray(owner, np.int64), (n,)),
        np.broadcast_to(
            np.array([1.0, 0, 0]) if side is None else np.asarray(side, np.float64), (n, 3)
        ),
        np.broadcast_to(np.asarray(materials, np.float64), (n, MATERIAL_SIZE)),
        *_no_boxes(),
    )


def boxes(centre, half, yaw, materials) -> Solids:
    """Upright boxes from arrays; `yaw` (M,) turns them about the vertical, degrees."""
    centre = np.atleast_2d(np.asarray(centre, np.float64))
    m = len(centre)
    angle = np.deg2rad(np.broadcast_to(np.asarray(yaw, np.float64), (m,)))
    axes = np.zeros((m, 3, 3))
    axes[:, 0, 0] = np.cos(angle)
    axes[:, 0, 2] = -np.sin(angle)
    axes[:, 1, 1] = 1
    axes[:, 2, 0] = np.sin(angle)
    axes[:, 2, 2] = np.cos(angle)
    return Solids(
        *_no_cones(),
        centre,
        np.broadcast_to(np.asarray(half, np.float64), (m, 3)),
        axes,
        np.broadcast_to(np.asarray(materials, np.float64), (m, MATERIAL_SIZE)),
    )


def _no_cones() -> tuple:
    z = np.zeros
    return (
        z((0, 3)),
        z((0, 3)),
        z(0),
        z(0),
        z((0, 3, 3)),
        z(0, np.int64),
        z((0, 3)),
        z((0, MATERIAL_SIZE)),
    )


def _no_boxes() -> tuple:
    return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros((0, MATERIAL_SIZE))


def no_solids() -> Solids:
    """Return an empty collection."""
    return Solids(*_no_cones(), *_no_boxes())


def merge(parts: list[Solids]) -> Solids:
    """Concatenate several collections, in order."""
    return (
        Solids(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Solids)))
        if parts
        else no_solids()
    )


def to_view(solids: Solids, rotation: np.ndarray, translation: np.ndarray) -> Solids:
    """The same shapes after x -> R x + t (a camera's R and t)."""
    r = np.asarray(rotation, np.float64)
    t = np.asarray(translation, np.float64)
    return Solids(
        solids.a @ r.T + t,
        solids.b @ r.T + t,
        solids.ra,
        solids.rb,
        r @ solids.metric @ r.T,
        solids.owner,
        solids.side @ r.T,
        solids.material,
        solids.box_centre @ r.T + t,
        solids.box_half,
        solids.box_axes @ r.T,
        solids.box_materials,
    )


# ---- where a ray meets a shape -------------------------------------------------------------------


@dataclass(frozen=True)
class ConeTerms:
    """Terms of a ray's entry into a round cone that do not depend on the ray, for rays from one
    origin; `n` shapes or one.

    With d the ray's direction, o = origin - a and v = b - a, all products in the shape's metric:
    `ray_v` . d = v . d and `ray_o` . d = o . d, so that a whole image needs two linear forms per
    shape.
    """

    ray_v: np.ndarray
    ray_o: np.ndarray
    metric: np.ndarray
    vv: np.ndarray
    vo: np.ndarray
    oo: np.ndarray
    ra: np.ndarray
    rb: np.ndarray

    slope: np.ndarray
    """v . v - (ra - rb)^2: > 0 where the hull is more than its larger ball."""

    def cast(self, dtype: type) -> "ConeTerms":
        """The terms in another precision."""
        return ConeTerms(*(getattr(self, f.name).astype(dtype) for f in fields(self)))

    def one(self, i) -> "ConeTerms":
        """The terms of shape `i`; an array picks one for each ray."""
        return ConeTerms(
            *(self.ray_v[i], self.ray_o[i], self.metric[i], self.vv[i], self.vo[i], self.oo[i]),
            *(self.ra[i], self.rb[i], self.slope[i]),
        )


def cone_terms(solids: Solids, origin: np.ndarray) -> ConeTerms:
    """`ConeTerms` of all round cones for rays from `origin` (3,)."""
    v = solids.b - solids.a
    o = np.asarray(origin, np.float64) - solids.a
    av = np.einsum("nij,nj->ni", solids.metric, v)
    ao = np.einsum("nij,nj->ni", solids.metric, o)
    dot = lambda p, q: np.einsum("ni,ni->n", p, q)  # noqa: E731
    vv = dot(av, v)
    slope = vv - (solids.ra - solids.rb) ** 2
    return ConeTerms(av, ao, solids.metric, vv, dot(av, o), dot(ao, o), solids.ra, solids.rb, slope)


def cone_silhouette(terms: ConeTerms, vd: np.ndarray, od: np.ndarray, dd: np.ndarray) -> np.ndarray:
    """>= 0 where a ray's line meets the (endless) cone around the two balls: a cheap first sieve
    that loses no hit."""
    if terms.slope <= 0:
        r = max(terms.ra, terms.rb)
        far = terms.rb > terms.ra
        od = od - vd if far else od
        oo = terms.oo - 2 * terms.vo + terms.vv if far else terms.oo
        return od * od - dd * (oo - r * r)
    k2, k1, k0 = _cone_quadratic(terms, vd, od, dd)
    return k1 * k1 - k0 * k2


def _cone_quadratic(terms, vd, od, dd):
    rr = terms.ra - terms.rb
    d2 = terms.slope
    k2 = d2 * dd - vd * vd
    k1 = d2 * od + (rr * terms.ra - terms.vo) * vd
    k0 = d2 * terms.oo - terms.vo**2 + 2 * terms.vo * rr * terms.ra - terms.vv * terms.ra**2
    return k2, k1, k0


def cone_entry(terms: ConeTerms, vd: np.ndarray, od: np.ndarray, dd: np.ndarray) -> np.ndarray:
    """Compute where rays enter a round cone, as a multiple of their direction; inf where they miss
    or start inside.

    The hull of two balls is the part of their common tangent cone between the circles of contact,
    and the balls. It is convex, so the entry is the one on the cone if it lies between the circles,
    else the nearer entry into a ball (after Inigo Quilez, "rounded cone - intersection",
    iquilezles.org/articles/intersectors; here in any metric and for directions of any length).

    Args:
        terms: the shape (or shapes, broadcasting).
        vd, od: v . d and o . d of the rays, in the shape's metric.
        dd: d . d of the rays, in the shape's metric.
    """
    k2, k1, k0 = _cone_quadratic(terms, vd, od, dd)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (-k1 - np.sqrt(k1 * k1 - k0 * k2)) / k2
        along = terms.vo - terms.ra * (terms.ra - terms.rb) + t * vd
        t_body = np.where((along > 0) & (along < terms.slope) & (t > 0), t, np.inf)
        t_a = (-od - np.sqrt(od * od - dd * (terms.oo - terms.ra**2))) / dd
        # seen from b: o - v in place of o
        bd = od - vd
        bb = terms.oo - 2 * terms.vo + terms.vv
        t_b = (-bd - np.sqrt(bd * bd - dd * (bb - terms.rb**2))) / dd
        t_ball = np.minimum(np.where(t_a > 0, t_a, np.inf), np.where(t_b > 0, t_b, np.inf))
    return np.where(np.isfinite(t_body), t_body, t_ball)


def box_entry(rd: list, ro: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Compute where rays enter a box (slab method), as a multiple of their direction; inf where
    they miss or start inside.

    Args:
        rd: three arrays, the direction's components along the box's axes.
        ro: (3, ...) the origin's components from the box's centre.
        half: (3, ...) half sides.
    """
    near = -np.inf
    far = np.inf
    with np.errstate(invalid="ignore", divide="ignore"):
        for d, o, h in zip(rd, ro, half):
            inverse = 1 / d
            middle = -o * inverse
            reach = h * np.abs(inverse)
            near = np.fmax(near, middle - reach)
            far = np.fmin(far, middle + reach)
    return np.where((near <= far) & (near > 0), near, np.inf)


def first_hits(solids: Solids, origin: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Compute where along origin -> target the first shape is met: (R,) float64, 1 at the target
    itself, inf for none.

    Args:
        solids: the shapes.
        origin: (3,) cm.
        targets: (R, 3) cm.
    """
    d = np.asarray(targets, np.float64) - np.asarray(origin, np.float64)
    hit = np.full(len(d), np.inf)
    if solids.num_cones:
        terms = cone_terms(solids, origin)
        dd = np.einsum("ri,nij,rj->rn", d, solids.metric, d)
        hit = np.minimum(
            hit, cone_entry(terms, d @ terms.ray_v.T, d @ terms.ray_o.T, dd).min(axis=1)
        )
    if len(solids.box_centre):
        rd = np.einsum("mij,rj->irm", solids.box_axes, d)
        ro = np.einsum(
            "mij,mj->im", solids.box_axes, np.asarray(origin, np.float64) - solids.box_centre
        )
        hit = np.minimum(
            hit, box_entry(list(rd), ro[:, None], solids.box_half.T[:, None]).min(axis=1)
        )
    return hit


def clearance(solids: Solids, points: np.ndarray) -> np.ndarray:
    """Signed distance (about: exact for true balls) from points (P, 3) to the nearest round cone,
    (P,) cm; < 0 inside."""
    if not solids.num_cones:
        return np.full(len(points), np.inf)
    v = solids.b - solids.a
    vv = np.maximum(np.einsum("ni,nij,nj->n", v, solids.metric, v), 1e-9)
    p = np.asarray(points, np.float64)[:, None] - solids.a
    mp = np.einsum("nij,pnj->pni", solids.metric, p)
    s = np.clip(np.einsum("pni,ni->pn", mp, v) / vv, 0, 1)
    rest = p - s[..., None] * v
    norm = np.sqrt(np.einsum("pni,nij,pnj->pn", rest, solids.metric, rest))
    return (norm - (solids.ra + s * (solids.rb - solids.ra))).min(axis=1)
