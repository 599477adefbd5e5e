"""``body4d eval``: a run against the truth."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors

if TYPE_CHECKING:
    from body4d.evaluate.score import RunScore
    from body4d.evaluate.world import WorldScore


@handle_errors
def evaluate(
    run: options.Run,
    truth: Annotated[Path, typer.Argument(help="The true scene (.npz) of a synthetic clip, or the folder that holds it.", metavar="TRUTH")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
    verbose: options.Verbose = False,
) -> None:
    """Score a finished run against a clip's exact truth: MPJPE, PA-MPJPE, acceleration error, jitter, mask IoU, identity switches,
    and in the world the camera's path, world MPJPE, walked distance and foot sliding."""
    from body4d.cli.output import print_json
    from body4d.evaluate.score import score_table
    from body4d.evaluate.world import world_table

    score, world = score_run(run, truth)
    if as_json:
        print_json(score_as_json(score) | {"world": score_as_json(world)}, indent=2)
    else:
        typer.echo(f"{score_table(score)}\n\n{world_table(world)}")


def score_run(run: Path, truth: Path) -> "tuple[RunScore, WorldScore]":
    """Score a finished run against ``truth``: a true scene's file, with its masks beside it, or the folder that holds both."""
    from body4d.core.scene_io import load_masks, load_scene
    from body4d.evaluate.score import score_scene
    from body4d.evaluate.world import score_world
    from body4d.run.record import MASKS, finished_scene

    scene, masks = load_scene(finished_scene(run)), load_masks(run / MASKS)
    true_scene = truth / "truth.npz" if truth.is_dir() else truth
    true_masks = true_scene.with_name(f"{true_scene.stem}_masks.npz")
    parts = scene, masks, load_scene(true_scene), load_masks(true_masks)
    return score_scene(*parts), score_world(*parts)


def score_as_json(score: "RunScore | WorldScore") -> dict[str, Any]:
    """A score for machines; what could not be judged is null."""

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: known(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [known(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return known(asdict(score))
