"""USD (UsdSkel): everybody in one file, rigged, skinned and animated, with the clip's camera. Structure: docs/files.md."""

import shutil
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from body4d.core.files import atomic_file
from body4d.core.types import Scene
from body4d.export.camera_motion import SENSOR_MM, CameraMotion
from body4d.export.character import Character, make_character
from body4d.export.frame_grid import frame_grid
from body4d.export.glb import ROUGHNESS, gltf_normals, visibility_keys
from body4d.export.options import ExportOptions
from body4d.render.shading import srgb_to_linear
from body4d.render.style import person_colour

_ROOT = "/body4d"

_SAVE_EVERY = 2048
"""Frames after which what was written goes to the disk, so that memory does not grow with the clip."""


def write_usd(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write ``scene`` to ``path``, whose ending says how: .usdc (or .usd) binary, .usda text, .usdz a package for telephones.

    Time code k is clip frame k, or where the clip's steps are uneven the moment k · frame time. Raises OutputError, SettingsError.
    """
    (UsdUtils,) = _pxr("UsdUtils")

    ending = path.suffix.lower()
    with TemporaryDirectory() as folder:
        made = Path(folder) / ("body.usda" if ending == ".usda" else "body.usdc")
        _write_stage(scene, made, options)
        if ending == ".usdz":
            package = made.with_suffix(".usdz")
            UsdUtils.CreateNewUsdzPackage(str(made), str(package))
            made = package
        with atomic_file(path) as file, made.open("rb") as content:
            shutil.copyfileobj(content, file)


def _write_stage(scene: Scene, path: Path, options: ExportOptions) -> None:
    Usd, UsdGeom = _pxr("Usd", "UsdGeom")

    at_s, step_s = frame_grid(scene.clip, options.fps)
    stage: Any = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(1 / step_s)
    stage.SetFramesPerSecond(1 / step_s)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(len(at_s) - 1)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, _ROOT).GetPrim())
    for index, track in enumerate(scene.people):
        _add_person(stage, make_character(scene, track, options, at_s), at_s, index)
    if options.camera:
        _add_camera(stage, scene, at_s)
    stage.Save()


def _add_person(stage: Any, character: Character, at_s: np.ndarray, index: int) -> None:
    """SkelRoot, skeleton, animation, mesh and material of one person."""
    Gf, Sdf, UsdGeom, UsdShade, UsdSkel, Vt = _pxr("Gf", "Sdf", "UsdGeom", "UsdShade", "UsdSkel", "Vt")

    prim = f"{_ROOT}/{character.name}"
    root, plan = UsdSkel.Root.Define(stage, prim), character.plan
    track = character.track
    names = [_identifier(name) for name in plan.names]
    paths: list[str] = []
    for name, parent in zip(names, plan.parents, strict=True):
        paths.append(f"{paths[parent]}/{name}" if parent >= 0 else name)
    joints = Vt.TokenArray(paths)

    def places(at_m: np.ndarray) -> Any:
        return Vt.Matrix4dArray([Gf.Matrix4d().SetTranslate(Gf.Vec3d(*map(float, place))) for place in at_m])

    skeleton = UsdSkel.Skeleton.Define(stage, f"{prim}/skeleton")
    skeleton.CreateJointsAttr(joints)
    skeleton.CreateBindTransformsAttr(places(plan.rest_m))
    skeleton.CreateRestTransformsAttr(places(character.offsets_m))

    mesh = UsdGeom.Mesh.Define(stage, f"{prim}/body")
    faces = np.ascontiguousarray(character.rig.faces, np.int32)
    vertices = np.ascontiguousarray(character.vertices_m, np.float32)
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(vertices))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.reshape(-1)))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(gltf_normals(vertices, faces)))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1))
    influences = character.skin_indices.shape[1]
    for attribute, values in (
        (binding.CreateJointIndicesPrimvar(False, influences), Vt.IntArray.FromNumpy(character.skin_indices.astype(np.int32).reshape(-1))),
        (binding.CreateJointWeightsPrimvar(False, influences), Vt.FloatArray.FromNumpy(character.skin_weights.reshape(-1))),
    ):
        attribute.Set(values)

    colour = srgb_to_linear(np.array(person_colour(index)) / 255)
    material = UsdShade.Material.Define(stage, f"{prim}/material")
    shader = UsdShade.Shader.Define(stage, f"{prim}/material/surface")
    shader.CreateIdAttr("UsdPreviewSurface")
    shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set(Gf.Vec3f(*map(float, colour)))
    shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(ROUGHNESS)
    material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
    mesh.CreateDisplayColorAttr([Gf.Vec3f(*map(float, colour))])

    animation = UsdSkel.Animation.Define(stage, f"{prim}/movement")
    animation.CreateJointsAttr(joints)
    UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets([animation.GetPath()])
    _animate(stage, animation, character, at_s)
    frames, visible = visibility_keys(track, len(character.scene.clip))
    if not visible.all():
        codes = np.searchsorted(at_s, character.scene.clip.times_s[frames] - 1e-6)
        for code, seen in zip(codes, visible, strict=True):
            root.CreateVisibilityAttr().Set(UsdGeom.Tokens.inherited if seen else UsdGeom.Tokens.invisible, int(code))


def _animate(stage: Any, animation: Any, character: Character, at_s: np.ndarray) -> None:
    """All bones at every time code: readers take an animation for whole."""
    (Vt,) = _pxr("Vt")

    turns, places = animation.CreateRotationsAttr(), animation.CreateTranslationsAttr()
    animation.CreateScalesAttr(Vt.Vec3hArray.FromNumpy(np.ones((len(character.plan.names), 3), np.float16)))
    local_m = character.offsets_m.astype(np.float32)
    with TemporaryDirectory() as folder:
        movement = character.movement(at_s, Path(folder))
        for code in range(len(at_s)):
            local_m[0] = movement.root_m[code]
            for k, place in movement.places_m.items():
                local_m[k] = place[code]
            turns.Set(Vt.QuatfArray.FromNumpy(np.array(movement.quats[code])), code)
            places.Set(Vt.Vec3fArray.FromNumpy(local_m), code)
            if code % _SAVE_EVERY == _SAVE_EVERY - 1:
                stage.Save()


def _add_camera(stage: Any, scene: Scene, at_s: np.ndarray) -> None:
    """The clip's camera, with a sample at every time code where it moves. USD's cameras look along -z with y up, as glTF's do; lengths of
    the lens are tenths of the stage's unit."""
    Gf, UsdGeom = _pxr("Gf", "UsdGeom")

    camera, motion = scene.camera, CameraMotion.at(scene, at_s)
    out = UsdGeom.Camera.Define(stage, f"{_ROOT}/camera")
    # Tenths of a unit, which is the metre here: a film 36 mm wide is 0.36 of them.
    per_px = SENSOR_MM / 100 / camera.width_px
    out.CreateHorizontalApertureAttr(camera.width_px * per_px)
    out.CreateVerticalApertureAttr(camera.height_px * per_px)
    focal = out.CreateFocalLengthAttr(camera.focal_px * per_px)
    out.CreateHorizontalApertureOffsetAttr((camera.width_px / 2 - camera.cx_px) * per_px)
    out.CreateVerticalApertureOffsetAttr((camera.cy_px - camera.height_px / 2) * per_px)
    out.CreateClippingRangeAttr(Gf.Vec2f(0.01, 1000.0))
    matrices = np.tile(np.eye(4), (len(at_s), 1, 1))
    matrices[:, :3, :3], matrices[:, 3, :3] = np.swapaxes(motion.y_up_rotations, 1, 2), motion.place_m  # USD multiplies rows from the left
    place = out.AddTransformOp()
    if camera.path is None:
        place.Set(Gf.Matrix4d(matrices[0].tolist()))
        return
    for code, matrix in enumerate(matrices):
        place.Set(Gf.Matrix4d(matrix.tolist()), code)
        if motion.zooms:
            focal.Set(float(motion.focal_px[code]) * per_px, code)


def _pxr(*names: str) -> list[Any]:
    """Modules of usd-core, which is installed where USD is written and nowhere else."""
    return [import_module(f"pxr.{name}") for name in names]


def _identifier(name: str) -> str:
    """A joint's name as USD allows it in a path: ``upperarm01.L`` is ``upperarm01_L``."""
    (Tf,) = _pxr("Tf")

    return Tf.MakeValidIdentifier(name)
