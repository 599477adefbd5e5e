"""How a Space stands, told from its stage, its error message and the ends of its two logs. Pure."""

import re
from dataclasses import dataclass
from typing import Literal

from body4d.deploy.log_markers import Mark, read_marks

State = Literal[
    "empty", "misconfigured", "building", "build_failed", "starting", "downloading", "out_of_memory", "gated", "lite", "running",
    "crashed", "asleep", "unknown",
]  # fmt: skip

UNDER_WAY: frozenset[State] = frozenset({"building", "starting", "downloading"})
"""States that pass by themselves."""
HEALTHY: frozenset[State] = frozenset({*UNDER_WAY, "running", "lite", "gated", "asleep"})
"""States in which a visitor is, or soon will be, served; in ``gated`` and ``lite`` by the preset lite."""

BUILD_STAGES = frozenset({"BUILDING", "RUNNING_BUILDING", "BUILD_ERROR"})
RUN_STAGES = frozenset({"APP_STARTING", "RUNNING_APP_STARTING", "RUNNING", "RUNTIME_ERROR"})
"""Stages that the image's log, or the container's, says more about."""

_GPU_FULL = re.compile(r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
_MEMORY_FULL = re.compile(r"memory limit exceeded|OOMKilled|exit code:? 137|Cannot allocate memory|\bMemoryError\b", re.IGNORECASE)
_DISK_FULL = re.compile(r"storage limit exceeded|No space left on device", re.IGNORECASE)
_NO_HARDWARE = re.compile(r"not enough hardware capacity|scheduling failure", re.IGNORECASE)
_FAULT = re.compile(r"\berror\b|\bfailed\b|not found|no matching distribution|exit code", re.IGNORECASE)
_MOST = 240


@dataclass(frozen=True)
class Facts:
    """What the Hub tells of a Space. ``stage`` as in huggingface_hub's SpaceStage; ``message`` its error message; logs by line."""

    stage: str
    message: str = ""
    build_log: tuple[str, ...] = ()
    run_log: tuple[str, ...] = ()
    hardware: str = ""


@dataclass(frozen=True)
class Condition:
    """How it stands: a sentence for people and what to do (empty: nothing)."""

    state: State
    said: str
    remedy: str = ""


def judge(facts: Facts) -> Condition:
    """The condition of a Space."""
    stage, marks = facts.stage, read_marks(facts.run_log)
    if stage == "NO_APP_FILE":
        return Condition("empty", "There is nothing in it yet.", "`body4d space push` sends the app.")
    if stage == "CONFIG_ERROR":
        said = f"Its README's head or Dockerfile is not accepted: {facts.message or 'no reason is given'}."
        return Condition("misconfigured", said, "`body4d space check`, then push again.")
    if stage == "BUILD_ERROR":
        return _build_failed(facts)
    if stage in ("BUILDING", "RUNNING_BUILDING"):
        running = " The version before goes on running." if stage == "RUNNING_BUILDING" else ""
        return Condition("building", f"The image is being built: {_last(facts.build_log) or 'no line in its log yet'}.{running}")
    if stage in ("PAUSED", "STOPPED", "SLEEPING"):
        return Condition(
            "asleep", f"It is {stage.lower()} and costs nothing.", "A visit wakes one that sleeps, `body4d space restart` any."
        )
    if stage == "RUNTIME_ERROR":
        return _ended(facts)
    if stage in ("APP_STARTING", "RUNNING_APP_STARTING"):
        return _starting(marks)
    if stage == "RUNNING":
        return _running(facts, marks)
    return Condition("unknown", f"The Hub calls its stage {stage!r}, which is not known here.", "Look at its page, or ask again.")


def _build_failed(facts: Facts) -> Condition:
    why = next((line for line in reversed(facts.build_log) if _FAULT.search(line)), "") or facts.message or _last(facts.build_log)
    if _DISK_FULL.search(why):
        return Condition(
            "build_failed", f"The image could not be built, for want of disk: {_short(why)}.", "`body4d space restart --factory`."
        )
    return Condition(
        "build_failed",
        f"The image could not be built: {_short(why) or 'the log says nothing'}.",
        "`body4d space logs --build` shows all of it; `body4d space check` what is wrong here.",
    )


def _ended(facts: Facts) -> Condition:
    """Why a container that ran is gone."""
    tail = "\n".join(facts.run_log[-20:])
    if full := _out_of_memory(facts, f"{facts.message}\n{tail}"):
        return full
    if _NO_HARDWARE.search(facts.message):
        said = f"HuggingFace has no {facts.hardware or 'hardware of this kind'} free just now."
        return Condition("crashed", said, "`body4d space restart` later, or `body4d space create --hardware` with another kind.")
    if _DISK_FULL.search(f"{facts.message}\n{tail}"):
        return Condition("crashed", "Its disk is full.", "Mount a bucket at /data (`body4d space create --bucket OWNER/NAME`) and restart.")
    failed = next((mark.said for mark in reversed(read_marks(facts.run_log)) if mark.word == "failed"), "")
    why = failed or next((line for line in reversed(facts.run_log) if _FAULT.search(line)), "") or facts.message or _last(facts.run_log)
    return Condition("crashed", f"It ended: {_short(why) or 'the log says nothing'}.", "`body4d space logs` shows what came before.")


def _out_of_memory(facts: Facts, text: str) -> Condition | None:
    where = facts.hardware or "its hardware"
    if found := _GPU_FULL.search(text):
        said = f"The GPU's memory ran out on {where} ({found[0]})."
        return Condition(
            "out_of_memory", said, "A GPU with more memory (`body4d space create --hardware`), or shorter clips and fewer people."
        )
    if found := _MEMORY_FULL.search(text):
        said = f"Memory ran out on {where} ({found[0]})."
        return Condition("out_of_memory", said, "Hardware with more memory (`body4d space create --hardware`), then restart.")
    return None


def _starting(marks: tuple[Mark, ...]) -> Condition:
    if marks and marks[-1].word == "downloading":
        return Condition("downloading", f"Checkpoints are being fetched: {marks[-1].said}")
    said = marks[-1].said if marks else "the container starts."
    return Condition("starting", f"It is starting: {said}")


def _running(facts: Facts, marks: tuple[Mark, ...]) -> Condition:
    """A running container: how far its own lines say it is."""
    since = facts.run_log[_last_start(facts.run_log) :]
    if full := _out_of_memory(facts, "\n".join(since)):
        return full
    if not marks:
        return Condition("running", "It is running.")
    last = marks[-1]
    if last.word == "starting":
        return Condition("starting", f"It is starting: {last.said}")
    if last.word == "downloading":
        return Condition("downloading", f"Checkpoints are being fetched: {last.said}")
    if last.word == "failed":
        return Condition("crashed", f"The app did not come up: {last.said}", "`body4d space logs` shows what came before.")
    gate = next((mark for mark in reversed(marks) if mark.word == "gated"), None)
    if gate:
        return Condition("gated", f"It runs with the preset lite, as a gate is shut: {gate.said}", "Then `body4d space restart`.")
    lite = next((mark for mark in reversed(marks) if mark.word == "lite"), None)
    if lite:
        return Condition("lite", f"It runs with the preset lite: {lite.said}")
    return Condition("running", f"It is running: {last.said}")


def _last_start(lines: tuple[str, ...]) -> int:
    """Index of the last start in a log; 0 where it is not in it."""
    return max((index for index, line in enumerate(lines) if "body4d-space: starting:" in line), default=0)


def _last(lines: tuple[str, ...]) -> str:
    return _short(next((line for line in reversed(lines) if line.strip()), ""))


def _short(line: str) -> str:
    """A line of a log without its colours, on one line, not longer than a sentence may be, without its full stop."""
    plain = " ".join(re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).split()).rstrip(".")
    return plain if len(plain) <= _MOST else f"{plain[:_MOST]}…"
