"""What each fact means for the presets: every machine here is written down, none is looked at."""

from dataclasses import replace
from pathlib import Path

import pytest

from body4d.checkpoints.gated_access import SourceAccess, describe_access
from body4d.checkpoints.hub_client import Hub
from body4d.checkpoints.local import LocalCheckpoint, inspect_checkpoints
from body4d.checkpoints.registry import BLAZEPOSE, BLAZEPOSE_HEAVY, CHECKPOINTS, SAM3, SAM3D_BODY
from body4d.config import WeightsSettings
from body4d.doctor.checks import (
    CheckResult,
    check_checkpoint_folder,
    check_cuda,
    check_gates,
    check_gpu,
    check_memory,
    check_space,
    driver_number,
    has_kernels,
)
from body4d.doctor.facts import (
    CODECS,
    REQUIRED_MODULES,
    CheckpointFacts,
    FolderFacts,
    MachineFacts,
    PackageFacts,
    Preset,
    RendererFacts,
    SpaceEnvironment,
)
from body4d.doctor.report import DoctorReport, diagnose_machine, report_of
from body4d.runtime.hardware import NvidiaDriver, TorchInfo, parse_nvidia_smi

EVERYTHING = frozenset(name for names in REQUIRED_MODULES.values() for name in names)
DRIVER = NvidiaDriver("580.95.05", ("NVIDIA L40S",))
L40S = TorchInfo("2.13.0", "13.0", "cuda", "NVIDIA L40S", 48_000_000_000, 47_000_000_000, (8, 9), ("sm_80", "sm_86", "sm_90", "compute_90"))
CPU_TORCH = TorchInfo("2.13.0+cpu")
READY = tuple(LocalCheckpoint(model, "ready", Path("/w") / model.key, 1) for model in CHECKPOINTS)

GOOD = MachineFacts(
    packages=PackageFacts((3, 11), EVERYTHING),
    driver=DRIVER,
    torch=L40S,
    memory_bytes=32_000_000_000,
    checkpoints=CheckpointFacts(READY),
    codecs={name: True for name, _, _ in CODECS},
    renderer=RendererFacts(0.25),
    run_folder=FolderFacts(Path("runs"), 50_000_000_000),
    checkpoint_folder=FolderFacts(Path("/w"), 50_000_000_000),
)


def report(facts: MachineFacts, requested: Preset = "auto") -> DoctorReport:
    return diagnose_machine(facts, requested)


def check_named(found: DoctorReport, name: str) -> tuple[str, CheckResult]:
    return next((level, check) for level, check in found.checks if check.name == name)


def missing(*models: object) -> CheckpointFacts:
    absent = {"state": "absent", "message": "It is not here.", "hint": "fetch it"}
    return CheckpointFacts(tuple(replace(one, **absent) if one.checkpoint in models else one for one in READY))


def test_a_good_machine_takes_sam_and_has_nothing_to_mend() -> None:
    found = report(GOOD)
    assert (found.ready, found.preset) == (True, "sam")
    assert {level for level, _ in found.checks} == {"ok"}
    assert not any(check.hint for _, check in found.checks)


NO_GPU = replace(GOOD, driver=None, torch=CPU_TORCH)
OLD_DRIVER = replace(
    GOOD, driver=NvidiaDriver("550.54.15", ("NVIDIA L40S",)), torch=TorchInfo("2.13.0", "13.0", error="RuntimeError: too old")
)


@pytest.mark.parametrize(
    ("name", "facts", "auto", "sam", "lite", "expected"),
    [
        ("no GPU", NO_GPU, "lite", "sam", "lite", ("GPU", "none found", "--gpus all")),
        ("old driver", OLD_DRIVER, "lite", "sam", "lite", ("CUDA", "needs driver 580.65 or later, found 550.54.15", "update the driver")),
        ("CPU torch", replace(GOOD, torch=CPU_TORCH), "lite", "sam", "lite", ("CUDA", "a build for the CPU", "CUDA build")),
        (
            "no torch",
            replace(GOOD, torch=None, packages=PackageFacts((3, 11), EVERYTHING - {"torch"})),
            "",
            "",
            "",
            ("CUDA", "not installed", "pip install"),
        ),
        (
            "torch broken",
            replace(GOOD, torch=TorchInfo("", error="OSError: libcudart.so.13")),
            "",
            "",
            "",
            ("CUDA", "libcudart.so.13", "install torch"),
        ),
        (
            "too small a GPU",
            replace(GOOD, torch=replace(L40S, total_bytes=4_000_000_000, free_bytes=3_900_000_000)),
            "lite",
            "",
            "lite",
            ("memory for sam", "3.9 of 4.0 GB", "use a GPU with 16 GB"),
        ),
        (
            "GPU held by others",
            replace(GOOD, torch=replace(L40S, free_bytes=2_000_000_000)),
            "lite",
            "",
            "lite",
            ("memory for sam", "2.0 of 48.0 GB", "other programs"),
        ),
        (
            "a GPU smaller than any tried",
            replace(GOOD, torch=replace(L40S, total_bytes=8_600_000_000, free_bytes=6_500_000_000)),
            "sam",
            "sam",
            "lite",
            ("memory for sam", "6.5 of 8.6", "may run out"),
        ),
        (
            "small GPU",
            replace(GOOD, torch=replace(L40S, total_bytes=12_000_000_000, free_bytes=11_000_000_000)),
            "sam",
            "sam",
            "lite",
            ("memory for sam", "11.0 of 12.0", "small batches"),
        ),
        ("no SAM-3", replace(GOOD, checkpoints=missing(SAM3)), "lite", "", "lite", ("checkpoint SAM-3", "not here", "fetch it")),
        ("little memory", replace(GOOD, memory_bytes=1_000_000_000), "sam", "sam", "", ("memory for lite", "only 1.0 GB", "close other")),
        ("no h264", replace(GOOD, codecs={**GOOD.codecs, "h264": False}), "", "", "", ("video codecs", "h264", "pip install")),
        ("no hevc", replace(GOOD, codecs={**GOOD.codecs, "hevc": False}), "sam", "sam", "lite", ("video codecs", "iPhone", "pip install")),
        ("no renderer", replace(GOOD, renderer=RendererFacts(0, "TypingError: x")), "", "", "", ("renderer", "TypingError", "numba")),
        ("wrong picture", replace(GOOD, renderer=RendererFacts(0.9)), "", "", "", ("renderer", "90%", "report")),
        (
            "full disk",
            replace(GOOD, run_folder=FolderFacts(Path("runs"), 1_000_000)),
            "",
            "",
            "",
            ("run folder", "0.00 GB", "delete old runs"),
        ),
        (
            "read-only",
            replace(GOOD, run_folder=FolderFacts(Path("runs"), 0, "Read-only file system")),
            "",
            "",
            "",
            ("run folder", "Read-only", "--out"),
        ),
        (
            "no LiteRT",
            replace(GOOD, packages=PackageFacts((3, 13), EVERYTHING - {"ai_edge_litert"})),
            "sam",
            "sam",
            "",
            ("packages of lite", "ai_edge_litert", "pip install"),
        ),
        (
            "no libGL",
            replace(GOOD, packages=PackageFacts((3, 11), EVERYTHING, "libGL.so.1")),
            "",
            "",
            "",
            ("OpenCV", "libGL.so.1", "headless"),
        ),
        (
            "nothing left for auto",
            replace(NO_GPU, packages=PackageFacts((3, 11), EVERYTHING - {"ai_edge_litert"})),
            "",
            "sam",
            "",
            ("GPU", "none found", "NVIDIA"),
        ),
    ],
)
def test_what_is_wrong(name: str, facts: MachineFacts, auto: str, sam: str, lite: str, expected: tuple[str, str, str]) -> None:
    """The preset that each request ends with, and what the check in question says (its name, a part of its message and of its hint)."""
    assert [report(facts, "auto").preset, report(facts, "sam").preset, report(facts, "lite").preset] == [auto, sam, lite], name
    for requested in ("auto", "sam", "lite"):
        found = report(facts, requested)
        assert found.ready == (not found.failures), "not ready and nothing marked, or the reverse"
        levels = [level for level, _ in found.checks]
        assert levels == sorted(levels, key=["failure", "warning", "ok"].index)
    level, check = check_named(report(facts, "auto"), expected[0])
    assert expected[1] in check.message
    assert expected[2] in check.hint
    assert level == ("warning" if auto else "failure")


def test_a_check_that_blocks_a_preset_must_give_a_hint() -> None:
    with pytest.raises(ValueError, match="gives no hint"):
        CheckResult("x", "broken", blocks=frozenset({"lite"}))


def test_what_blocks_only_the_other_preset_is_a_warning() -> None:
    result = CheckResult("x", "broken", "mend it", frozenset({"sam"}))
    assert [report_of([result], preset).checks[0][0] for preset in ("auto", "lite", "sam")] == ["warning", "warning", "failure"]


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 9), ("sm_80", "sm_86"), True),  # Later minors run kernels of earlier ones.
        ((8, 0), ("sm_86",), False),
        ((12, 0), ("sm_80", "sm_90"), False),
        ((12, 0), ("sm_90", "compute_90"), True),  # The driver compiles the intermediate form.
        ((9, 0), ("sm_90a",), True),
        ((7, 5), ("sm_80", "compute_80"), False),
        ((9, 0), (), True),  # Nothing known is nothing held against it.
        ((10, 3), ("sm_100",), True),
    ],
)
def test_which_kernels_a_gpu_runs(capability: tuple[int, int], architectures: tuple[str, ...], runs: bool) -> None:
    assert has_kernels(capability, architectures) == runs
    torch = replace(L40S, capability=capability, architectures=architectures)
    assert bool(check_cuda(DRIVER, torch, "auto").blocks) != runs


@pytest.mark.parametrize(
    ("version", "cuda", "fits"),
    [
        ("580.65.06", "13.0", True),
        ("575.57.08", "13.0", False),
        ("525.60.13", "12.8", True),
        ("520.61.05", "12.1", False),
        ("", "13.0", True),
        ("580.95.05", "99.0", True),
    ],
)
def test_which_driver_a_cuda_needs(version: str, cuda: str, fits: bool) -> None:
    result = check_cuda(NvidiaDriver(version, ("L40S",)), replace(L40S, cuda=cuda), "auto")
    assert bool(result.hint) != fits


def test_drivers_are_read_from_what_nvidia_smi_prints() -> None:
    text = "NVIDIA L40S, 46068, 45600, 580.95.05\nNVIDIA L40S, 46068, 45600, 580.95.05\n"
    assert parse_nvidia_smi(text) == NvidiaDriver("580.95.05", ("NVIDIA L40S", "NVIDIA L40S"))
    assert parse_nvidia_smi("").error
    assert driver_number("580.95.05") == (580, 95)


def test_a_failing_driver_and_a_failing_gpu_are_told_apart() -> None:
    failing = NvidiaDriver(error="Failed to initialize NVML: Driver/library version mismatch")
    assert "version mismatch" in check_gpu(failing, CPU_TORCH, "auto").message
    hung = replace(L40S, device="cpu", error="RuntimeError: CUDA error: out of memory")
    assert "cannot use the GPU" in check_cuda(DRIVER, hung, "auto").message
    assert "see the line CUDA" in check_gpu(DRIVER, hung, "auto").hint


def test_memory_of_a_cpu_counts_for_sam_only_where_sam_is_requested() -> None:
    assert [r.blocks for r in check_memory(CPU_TORCH, 5_000_000_000, "sam")] == [frozenset(), frozenset({"sam"})]
    assert [r.blocks for r in check_memory(CPU_TORCH, 5_000_000_000, "auto")] == [frozenset()]


def test_checkpoints_that_are_not_required_block_nothing() -> None:
    found = report(replace(GOOD, checkpoints=missing(*CHECKPOINTS[2:6])))
    assert found.preset == "sam"
    assert all(level == "ok" for level, _ in found.checks)


def test_what_lite_lacks_is_fetched_by_its_first_run_unless_that_is_forbidden() -> None:
    lacking = missing(BLAZEPOSE, BLAZEPOSE_HEAVY)
    found = report(replace(GOOD, checkpoints=lacking), "lite")
    assert found.preset == "lite"
    level, check = check_named(found, "checkpoint BlazePose")
    assert (level, check.hint) == ("warning", "`body4d weights download lite` fetches it now")
    assert "the first run fetches it, 36 MB" in check.message
    assert check_gates(lacking)[0].message == "not asked: no checkpoint is missing"
    found = report(replace(GOOD, checkpoints=replace(lacking, offline_variable="HF_HUB_OFFLINE")), "lite")
    assert found.preset == ""
    assert [check.name for check in found.failures] == ["checkpoint BlazePose"]
    assert "HF_HUB_OFFLINE is set" in found.failures[0].message


def test_a_damaged_checkpoint_is_reported_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "sam3").mkdir()
    (tmp_path / "sam3" / "config.json").write_text("{}")
    checkpoints = CheckpointFacts(inspect_checkpoints(WeightsSettings(folder=str(tmp_path))))
    level, check = check_named(report(replace(GOOD, checkpoints=checkpoints), "sam"), "checkpoint SAM-3")
    assert level == "failure"
    assert "no complete checkpoint" in check.message
    assert "body4d weights download sam3" in check.hint


HUB = Hub("https://huggingface.co", "hf_secretsecretsecret", "the token in $HF_TOKEN")


@pytest.mark.parametrize(
    ("state", "word"),
    [("no_token", "token"), ("invalid_token", "token"), ("not_requested", "accept"), ("pending", "waits"), ("token_lacks_gated", "gated")],
)
def test_a_closed_gate_is_named_with_what_to_do(state: str, word: str) -> None:
    answer = describe_access(SAM3.hub_sources[0], state, HUB)  # type: ignore[arg-type]
    result = check_gates(replace(missing(SAM3), access=(answer,), hub_asked=True))[0]
    assert word in result.message + result.hint
    assert result.hint
    assert not result.blocks
    assert "hf_secret" not in result.message + result.hint


def test_one_open_source_is_enough() -> None:
    first, second = (source for source in SAM3D_BODY.hub_sources if source.automatic)
    answers = (describe_access(first, "pending", HUB), SourceAccess(second, "open"))
    result = check_gates(replace(missing(SAM3D_BODY), access=answers, hub_asked=True))[0]
    assert (result.hint, second.repo in result.message) == ("", True)


@pytest.mark.parametrize(("asked", "word"), [(True, "did not answer in time"), (False, "not asked")])
def test_a_hub_that_did_not_answer(asked: bool, word: str) -> None:
    assert word in check_gates(replace(missing(SAM3), hub_asked=asked))[0].message


def test_room_for_what_is_to_be_fetched() -> None:
    small = FolderFacts(Path("/w"), 2_000_000_000)
    assert check_checkpoint_folder(small, CheckpointFacts(READY)).hint == ""
    assert "3.4 GB are to be fetched" in check_checkpoint_folder(small, missing(SAM3)).message
    assert "cannot be written" in check_checkpoint_folder(replace(small, error="Permission denied"), missing(SAM3)).message
    assert check_checkpoint_folder(replace(small, free_bytes=4_600_000_000), missing(SAM3)).hint == ""


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (SpaceEnvironment(), ["not a Space"]),
        (SpaceEnvironment("me/x", True, True, True), ["me/x", "can be written", "(not shown)"]),
        (SpaceEnvironment("me/x"), ["me/x", "nothing is mounted", "not set"]),
        (SpaceEnvironment("me/x", True, False, True), ["me/x", "cannot be written", "(not shown)"]),
    ],
)
def test_a_space(space: SpaceEnvironment, words: list[str]) -> None:
    results = check_space(space)
    assert all(word in result.message for word, result in zip(words, results, strict=True))
    assert not any(result.blocks for result in results)
