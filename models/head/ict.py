"""ICT-FaceKit (USC Institute for Creative Technologies, MIT licence) as a head model, from the user's own copy.

Read are an .npz of the kit (arrays vertices, faces, uv, faces_uv, expr_names, expr_delta, id_delta) and the kit's own
folder of OBJ files (FaceXModel: generic_neutral_mesh.obj, identity*.obj, one OBJ per expression), of which only the
released topology of 26,719 vertices is supported. The first 20 identity modes are used.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.arkit import ARKIT_INDEX, ARKIT_NAMES, mirrored_name
from models.errors import UserError
from models.head.rig import HeadRig
from models.head.rigged import RiggedHead
from models.head.visavis_head import default_head

Array = NDArray[np.float64]
Index = NDArray[np.int64]
N_VERTICES, N_FACES, N_IDENTITIES = 26_719, 26_384, 20
MAX_OBJ_BYTES = 64 << 20
EAR_CENTER = np.array([0.0, 1.8, -0.2])  # midway between the ears, ICT cm: the head frame's origin
NECK_PIVOT = np.array([0.0, -8.0, -3.0])
# first and last vertex, first and last face
PARTS: dict[str, tuple[int, int, int, int]] = {
    "face": (0, 9409, 0, 9230),
    "head_neck": (9409, 11248, 9230, 11144),
    "mouth_socket": (11248, 13294, 11144, 13226),
    "eye_socket_L": (13294, 13678, 13226, 13630),
    "eye_socket_R": (13678, 14062, 13630, 14034),
    "gums_tongue": (14062, 17039, 14034, 17006),
    "teeth": (17039, 21451, 17006, 21496),
    "eyeball_L": (21451, 23021, 21496, 23094),
    "eyeball_R": (23021, 24591, 23094, 24692),
    "lacrimal_L": (24591, 24795, 24692, 24855),
    "lacrimal_R": (24795, 24999, 24855, 25018),
    "eyeblend_L": (24999, 25023, 25018, 25033),
    "eyeblend_R": (25023, 25047, 25033, 25048),
    "eyeocc_L": (25047, 25199, 25048, 25176),
    "eyeocc_R": (25199, 25351, 25176, 25304),
    "eyelash_L": (25351, 26035, 25304, 25844),
    "eyelash_R": (26035, 26719, 25844, 26384),
}
_SCLERA_VERTICES = 770  # of each eyeball come first; the iris shell follows
# where a part's uv tile goes in the atlas: left, bottom, side
_TILES: dict[str, tuple[float, float, float]] = {
    "face": (0.0, 0.4, 0.6), "head_neck": (0.6, 0.6, 0.4), "sclera_L": (0.6, 0.4, 0.2), "sclera_R": (0.8, 0.4, 0.2),
    "iris_L": (0.0, 0.2, 0.2), "iris_R": (0.2, 0.2, 0.2), "teeth": (0.4, 0.2, 0.2), "gums_tongue": (0.6, 0.2, 0.2),
    "eyelash": (0.8, 0.2, 0.2), "lacrimal_L": (0.0, 0.0, 0.2), "lacrimal_R": (0.2, 0.0, 0.2),
    "eyeblend": (0.4, 0.0, 0.2), "eyeocc": (0.6, 0.0, 0.2),
}  # fmt: skip
_TILE_MARGIN = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class FaceKit:
    """The kit's arrays. vertices: [N, 3] cm; faces, faces_uv: [F, 4], -1 for the fourth corner of a triangle;
    uv: [U, 2]; expressions: [52, N, 3] cm in ARKit's order (the kit's left and right halves of browInnerUp and
    cheekPuff merged; it has no tongueOut: zero); identities: [20, N, 3] cm."""

    vertices: Array
    faces: Index
    uv: Array
    faces_uv: Index
    expressions: Array
    identities: Array


def read_facekit(path: Path) -> FaceKit:
    """Read the .npz or the folder. Raises UserError for anything that is not the released ICT-FaceKit."""
    try:
        kit = _read_folder(path) if path.is_dir() else _read_npz(path)
    except FileNotFoundError as error:
        raise UserError(f"ICT-FaceKit {error.filename} does not exist; check the path") from error
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} can't be read as ICT-FaceKit ({error}); give its FaceXModel folder or npz") from error
    shapes = (kit.vertices.shape, kit.faces.shape, kit.faces_uv.shape, kit.expressions.shape, kit.identities.shape)
    expected = ((N_VERTICES, 3), (N_FACES, 4), (N_FACES, 4), (52, N_VERTICES, 3), (N_IDENTITIES, N_VERTICES, 3))
    fits = shapes == expected and kit.uv.ndim == 2 and kit.uv.shape[1] == 2
    if fits:
        fits = bool(
            kit.faces.min() >= -1 and kit.faces.max() < N_VERTICES and kit.faces_uv.min() >= -1
            and kit.faces_uv.max() < len(kit.uv) and (kit.faces[:, :3] >= 0).all()
            and ((kit.faces < 0) == (kit.faces_uv < 0)).all()
            and all(np.isfinite(a).all() for a in (kit.vertices, kit.uv, kit.expressions, kit.identities))
        )  # fmt: skip
    if not fits:
        raise UserError(f"{path} is not ICT-FaceKit's topology of {N_VERTICES} vertices; get the kit unchanged")
    return kit


def _kit_names(arkit_name: str) -> tuple[str, ...]:
    """The kit's shape(s) behind an ARKit name: _L is the subject's left, as ARKit's Left."""
    if arkit_name == mirrored_name(arkit_name):
        return (arkit_name + "_L", arkit_name + "_R") if arkit_name in ("browInnerUp", "cheekPuff") else (arkit_name,)
    if arkit_name.startswith(("jaw", "mouthLeft", "mouthRight")):
        return (arkit_name,)
    side = "Left" if arkit_name.endswith("Left") else "Right"
    return (arkit_name.removesuffix(side) + "_" + side[0],)


def _read_npz(path: Path) -> FaceKit:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):  # np.load would take it for a pickle, or for a lone array
            raise ValueError("it is no npz, or not a whole one")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        names = [str(n) for n in data["expr_names"]]
        deltas = data["expr_delta"].astype(np.float64)
        expressions = np.zeros((52, *deltas.shape[1:]))
        for i, name in enumerate(ARKIT_NAMES):
            if name != "tongueOut":
                expressions[i] = sum(deltas[names.index(n)] for n in _kit_names(name))
        return FaceKit(
            data["vertices"].astype(np.float64), data["faces"].astype(np.int64), data["uv"].astype(np.float64),
            data["faces_uv"].astype(np.int64), expressions, data["id_delta"][:N_IDENTITIES].astype(np.float64),
        )  # fmt: skip


def _obj_lines(path: Path) -> list[str]:
    if path.stat().st_size > MAX_OBJ_BYTES:
        raise ValueError(f"{path.name} is too large")
    return path.read_text(encoding="utf-8", errors="strict").splitlines()


def _obj_vertices(lines: list[str], path: Path) -> Array:
    rows = [line for line in lines if line.startswith("v ")]
    if len(rows) != N_VERTICES:
        raise ValueError(f"{path.name} has {len(rows)} vertices, not {N_VERTICES}")
    return np.loadtxt(rows, usecols=(1, 2, 3), comments=None)


def _read_folder(folder: Path) -> FaceKit:
    if (folder / "FaceXModel").is_dir():
        folder = folder / "FaceXModel"
    neutral = folder / "generic_neutral_mesh.obj"
    lines = _obj_lines(neutral)
    vertices = _obj_vertices(lines, neutral)
    uv = np.array([line.split()[1:3] for line in lines if line.startswith("vt ")], dtype=np.float64)
    faces = np.full((2, sum(line.startswith("f ") for line in lines), 4), -1)
    for i, line in enumerate(line for line in lines if line.startswith("f ")):
        corners = [corner.split("/") for corner in line.split()[1:]]
        faces[0, i, : len(corners)] = [int(c[0]) - 1 for c in corners]
        faces[1, i, : len(corners)] = [int(c[1]) - 1 for c in corners]

    def delta(name: str) -> Array:
        path = folder / f"{name}.obj"
        return _obj_vertices(_obj_lines(path), path) - vertices

    expressions = np.zeros((52, *vertices.shape))
    for i, name in enumerate(ARKIT_NAMES):
        if name != "tongueOut":
            expressions[i] = sum(delta(n) for n in _kit_names(name))
    identities = np.stack([delta(f"identity{i:03d}") for i in range(N_IDENTITIES)])
    return FaceKit(vertices, faces[0], uv, faces[1], expressions, identities)


def part_triangles(faces: Index, *parts: str) -> Index:
    """[T, 3] of these parts, quads split."""
    chosen = np.vstack([faces[PARTS[p][2] : PARTS[p][3]] for p in parts])
    quads = chosen[chosen[:, 3] >= 0]
    return np.vstack([chosen[:, :3], quads[:, [0, 2, 3]]])


def _atlas(kit: FaceKit) -> Array:
    """[U, 2]: the kit's texture coordinates in one packed atlas. A vertex where parts are welded belongs to one part,
    its texture coordinates to the part whose faces use them."""
    out = np.zeros_like(kit.uv)
    for part, (first, _, first_face, last_face) in PARTS.items():
        faces, faces_uv = kit.faces[first_face:last_face], kit.faces_uv[first_face:last_face]
        kind = part.split("_")[0]
        if kind == "eyeball":
            sclera = faces.max(1) < first + _SCLERA_VERTICES
            chosen = {f"sclera_{part[-1]}": faces_uv[sclera], f"iris_{part[-1]}": faces_uv[~sclera]}
        elif part in ("mouth_socket", "eye_socket_L", "eye_socket_R"):  # textured with the back of the head
            chosen = {"head_neck": faces_uv}
        else:
            chosen = {part if part in _TILES else kind: faces_uv}
        for tile, corners in chosen.items():
            index = np.unique(corners[corners >= 0])
            left, bottom, side = _TILES[tile]
            inside = np.clip(kit.uv[index] - np.floor(kit.uv[index].min(0)), 0, 1)
            out[index] = np.array([left, bottom]) + side * (_TILE_MARGIN + (1 - 2 * _TILE_MARGIN) * inside)
    return out


def _regions(source: Index, head_weight: Array) -> dict[str, NDArray[np.int32]]:
    def vertices(*parts: str) -> NDArray[np.bool_]:
        return np.any([(source >= PARTS[p][0]) & (source < PARTS[p][1]) for p in parts], axis=0)

    skin, weight = vertices("face", "head_neck"), head_weight
    masks = {
        "face": vertices("face") & (weight == 1),
        "cranium": vertices("head_neck") & (weight == 1),
        "neck": skin & (weight < 1) & (weight > 0.2),
        "shoulders": skin & (weight <= 0.2),
        "mouth": vertices("mouth_socket", "gums_tongue", "teeth"),
        **{
            f"eye_{side}": vertices(*(p for p in PARTS if p.endswith(s) and not p.startswith("gums")))
            for side, s in (("left", "_L"), ("right", "_R"))
        },
    }
    return {name: np.flatnonzero(mask).astype(np.int32) for name, mask in masks.items()}


class IctHead(RiggedHead):
    """The whole kit: 28,911 vertices after splitting the texture's seams. Gaze turns the eyeballs."""

    def __init__(self, path: Path) -> None:
        kit = read_facekit(path)
        quads, quads_uv = (part_triangles(f, *PARTS) for f in (kit.faces, kit.faces_uv))
        pairs, corner = np.unique(np.stack([quads.ravel(), quads_uv.ravel()], 1), axis=0, return_inverse=True)
        source = pairs[:, 0]
        rest = kit.vertices[source]
        t = np.clip((rest[:, 1] + 0.35 * np.maximum(rest[:, 2], 0) + 14.5) / 8.5, 0, 1)
        head_weight = np.where(source < PARTS["head_neck"][1], t * t * (3 - 2 * t), 1.0)
        eye_weight = np.zeros((2, len(source)))
        centers, drift = np.zeros((2, 3)), np.zeros((N_IDENTITIES, 2, 3))
        for side, part in enumerate(("eyeball_L", "eyeball_R")):
            first, last = PARTS[part][:2]
            eye_weight[side] = (source >= first) & (source < last)
            iris = kit.vertices[first + _SCLERA_VERTICES : last]
            centers[side] = (iris.min(0) + iris.max(0)) / 2
            drift[:, side] = kit.identities[:, first:last].mean(1)
        neutral = ((rest - EAR_CENTER) / 100).astype(np.float32)
        visible = np.flatnonzero((source < PARTS["face"][1]) | eye_weight.any(0))
        expressions = (kit.expressions[:, source] / 100).astype(np.float32)
        ours = default_head().mean  # the same mean head in the same frame, with the landmarks as vertices
        jaw = ARKIT_INDEX["jawOpen"]  # with closed lips alone, upper and lower would be mixed up
        ours_at = np.hstack([ours.neutral, 0.5 * ours.expression_deltas[jaw]])[ours.landmark_vertices]
        kit_at = np.hstack([neutral, 0.5 * expressions[jaw]])[visible]
        nearest = [visible[((kit_at - p) ** 2).sum(1).argmin()] for p in ours_at]
        mean = HeadRig(
            name="ict",
            triangles=corner.reshape(-1, 3).astype(np.int32),
            uv=_atlas(kit)[pairs[:, 1]].astype(np.float32),
            neutral=neutral,
            expression_deltas=expressions,
            eye_centers=((centers - EAR_CENTER) / 100).astype(np.float32),
            eye_weight=eye_weight.astype(np.float32),
            head_weight=head_weight.astype(np.float32),
            neck_pivot=((NECK_PIVOT - EAR_CENTER) / 100).astype(np.float32),
            regions=_regions(source, head_weight),
            landmark_vertices=np.array(nearest, np.int32),
        )
        super().__init__(mean, (kit.identities[:, source] / 100).astype(np.float32), (drift / 100).astype(np.float32))
