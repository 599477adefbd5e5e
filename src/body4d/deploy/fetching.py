"""Fetching what a starting Space lacks, a checkpoint at a time; what cannot be had is told, and the others are fetched all the same."""

from collections.abc import Callable

from body4d.checkpoints.download import download
from body4d.checkpoints.gated_access import diagnose
from body4d.checkpoints.hub_client import Hub, hub_here
from body4d.checkpoints.sources import Checkpoint
from body4d.config import Settings
from body4d.core.errors import Body4DError, Cancelled
from body4d.core.progress import Event
from body4d.deploy.board import Board, Row


def fetch(models: tuple[Checkpoint, ...], settings: Settings, board: Board, stopped: Callable[[], bool]) -> dict[str, tuple[str, bool]]:
    """Bring ``models`` here. Those refused by their key: the sentence, and whether a gate was the matter. Raises Cancelled."""

    def listen(event: Event) -> None:
        if stopped():
            raise Cancelled("The Space is being stopped; what was fetched is kept.")
        board.hear(event)

    hub = hub_here(settings.weights.answer_most_s)
    board.rows(tuple(Row(model.key, model.name, total=(model.sources[0].size_bytes or 0) // 1_000_000) for model in models))
    refused: dict[str, tuple[str, bool]] = {}
    for model in models:
        board.tell("downloading", f"Fetching {model.name}, {1 + models.index(model)} of {len(models)} checkpoints.")
        try:
            download((model,), settings.weights, hub, listen)
        except Cancelled:
            raise
        except Body4DError as error:
            refused[model.key] = (str(error), _gate_is_shut(model, hub))
            board.row(model.key, state="refused", note=str(error))
            board.note(str(error))
    return refused


def _gate_is_shut(model: Checkpoint, hub: Hub) -> bool:
    """Whether a gate, or the lack of a token for it, keeps every source of ``model`` away; a silent Hub or a full disk is none."""
    answers = [diagnose(source, hub) for source in model.sources if source.automatic]
    return not any(one.granted or one.state in ("unreachable", "busy") for one in answers)
