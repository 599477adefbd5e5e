"""What the doctor makes of facts: every machine here is written down, none is looked at."""

from dataclasses import replace
from pathlib import Path

import pytest

from body4d.checkpoints.gated_access import Access, explain
from body4d.checkpoints.hub_client import Hub
from body4d.checkpoints.local import Found, look
from body4d.checkpoints.registry import CHECKPOINTS, SAM3, SAM3D_BODY
from body4d.config import DoctorSettings, WeightsSettings
from body4d.doctor.check_machine import NEEDED, check_cuda, check_gpu, check_memory, check_packages, driver_number, has_kernels
from body4d.doctor.check_pieces import CODECS, check_codecs, check_drawing, check_gate
from body4d.doctor.check_places import check_checkpoint_disk, check_runs, check_space
from body4d.doctor.facts import Drawing, Facts, Packages, Place, Space, Weights
from body4d.doctor.report import check
from body4d.doctor.verdict import Line, Preset, Remark, Verdict, judge
from body4d.runtime.hardware import NvidiaDriver, TorchInfo, parse_nvidia_smi

SETTINGS = DoctorSettings()
EVERYTHING = frozenset(name for names in NEEDED.values() for name in names)
DRIVER = NvidiaDriver("580.95.05", ("NVIDIA L40S",))
L40S = TorchInfo("2.13.0", "13.0", "cuda", "NVIDIA L40S", 48_000_000_000, 47_000_000_000, (8, 9), ("sm_80", "sm_86", "sm_90", "compute_90"))
CPU_TORCH = TorchInfo("2.13.0+cpu")
READY = tuple(Found(model, "ready", Path("/w") / model.key, 1) for model in CHECKPOINTS)

GOOD = Facts(
    wanted="auto",
    packages=Packages((3, 11), EVERYTHING),
    driver=DRIVER,
    torch=L40S,
    memory_bytes=32_000_000_000,
    weights=Weights(READY),
    codecs={name: True for name, _, _ in CODECS},
    drawing=Drawing(0.25),
    runs=Place(Path("runs"), 50_000_000_000),
    checkpoints=Place(Path("/w"), 50_000_000_000),
)


def verdict(facts: Facts, wanted: Preset = "auto") -> Verdict:
    return check(replace(facts, wanted=wanted), 1.0)


def line(found: Verdict, name: str) -> Line:
    return next(line for line in found.lines if line.name == name)


def lacking(*models: object) -> Weights:
    absent = "It is not here: fetch it."
    return Weights(tuple(Found(one.model, "absent", sentence=absent) if one.model in models else one for one in READY))


def test_a_good_machine_takes_sam_and_has_nothing_to_mend() -> None:
    found = verdict(GOOD)
    assert (found.ready, found.runs) == (True, "sam")
    assert {line.level for line in found.lines} == {"ok"}
    assert not any(line.remedy for line in found.lines)


NO_GPU = replace(GOOD, driver=None, torch=CPU_TORCH)
OLD_DRIVER = replace(
    GOOD, driver=NvidiaDriver("550.54.15", ("NVIDIA L40S",)), torch=TorchInfo("2.13.0", "13.0", error="RuntimeError: too old")
)


@pytest.mark.parametrize(
    ("name", "facts", "auto", "sam", "lite", "said"),
    [
        ("no GPU", NO_GPU, "lite", "sam", "lite", ("GPU", "none found", "--gpus all")),
        ("old driver", OLD_DRIVER, "lite", "sam", "lite", ("CUDA", "wants driver 580.65 or later, found 550.54.15", "update the driver")),
        ("CPU torch", replace(GOOD, torch=CPU_TORCH), "lite", "sam", "lite", ("CUDA", "a build for the CPU", "CUDA build")),
        (
            "no torch",
            replace(GOOD, torch=None, packages=Packages((3, 11), EVERYTHING - {"torch"})),
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
            ("memory for sam", "3.9 of 4.0 GB", "take a GPU with 16 GB"),
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
            "small GPU",
            replace(GOOD, torch=replace(L40S, total_bytes=12_000_000_000, free_bytes=11_000_000_000)),
            "sam",
            "sam",
            "lite",
            ("memory for sam", "11.0 of 12.0", "small batches"),
        ),
        ("no SAM-3", replace(GOOD, weights=lacking(SAM3)), "lite", "", "lite", ("checkpoint SAM-3", "not here", "fetch it")),
        ("little memory", replace(GOOD, memory_bytes=1_000_000_000), "sam", "sam", "", ("memory for lite", "only 1.0 GB", "close other")),
        ("no h264", replace(GOOD, codecs={**GOOD.codecs, "h264": False}), "", "", "", ("video codecs", "h264", "pip install")),
        ("no hevc", replace(GOOD, codecs={**GOOD.codecs, "hevc": False}), "sam", "sam", "lite", ("video codecs", "iPhone", "pip install")),
        ("no renderer", replace(GOOD, drawing=Drawing(0, "TypingError: x")), "", "", "", ("renderer", "TypingError", "numba")),
        ("wrong picture", replace(GOOD, drawing=Drawing(0.9)), "", "", "", ("renderer", "90%", "report")),
        ("full disk", replace(GOOD, runs=Place(Path("runs"), 1_000_000)), "", "", "", ("run folder", "0.00 GB", "delete old runs")),
        (
            "read-only",
            replace(GOOD, runs=Place(Path("runs"), 0, "Read-only file system")),
            "",
            "",
            "",
            ("run folder", "Read-only", "--out"),
        ),
        (
            "Python 3.13",
            replace(GOOD, packages=Packages((3, 13), EVERYTHING - {"mediapipe"})),
            "sam",
            "sam",
            "",
            ("packages of lite", "mediapipe", "python3.11"),
        ),
        ("no libGL", replace(GOOD, packages=Packages((3, 11), EVERYTHING, "libGL.so.1")), "", "", "", ("OpenCV", "libGL.so.1", "headless")),
        (
            "nothing left for auto",
            replace(NO_GPU, packages=Packages((3, 11), EVERYTHING - {"mediapipe"})),
            "",
            "sam",
            "",
            ("GPU", "none found", "NVIDIA"),
        ),
    ],
)
def test_what_is_amiss(name: str, facts: Facts, auto: str, sam: str, lite: str, said: tuple[str, str, str]) -> None:
    """Which preset each wish ends with, and what the line in question says."""
    assert [verdict(facts, "auto").runs, verdict(facts, "sam").runs, verdict(facts, "lite").runs] == [auto, sam, lite], name
    for wanted in ("auto", "sam", "lite"):
        found = verdict(facts, wanted)
        assert found.ready == (not found.failures), "not ready and nothing marked, or the reverse"
        levels = [line.level for line in found.lines]
        assert levels == sorted(levels, key=["failure", "warning", "ok"].index)
    about = line(verdict(facts, "auto"), said[0])
    assert said[1] in about.found
    assert said[2] in about.remedy
    assert about.level == ("warning" if auto else "failure")


def test_a_remark_that_stops_something_must_say_a_remedy() -> None:
    with pytest.raises(ValueError, match="says no remedy"):
        Remark("x", "broken", stops=frozenset({"lite"}))


def test_what_stops_only_the_other_preset_is_a_warning() -> None:
    remark = Remark("x", "broken", "mend it", frozenset({"sam"}))
    assert [judge([remark], wanted).lines[0].level for wanted in ("auto", "lite", "sam")] == ["warning", "warning", "failure"]


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
    assert bool(check_cuda(DRIVER, torch, "auto").stops) != runs


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
def test_which_driver_a_cuda_wants(version: str, cuda: str, fits: bool) -> None:
    remark = check_cuda(NvidiaDriver(version, ("L40S",)), replace(L40S, cuda=cuda), "auto")
    assert bool(remark.remedy) != fits


def test_drivers_are_read_from_what_nvidia_smi_prints() -> None:
    text = "NVIDIA L40S, 46068, 45600, 580.95.05\nNVIDIA L40S, 46068, 45600, 580.95.05\n"
    assert parse_nvidia_smi(text) == NvidiaDriver("580.95.05", ("NVIDIA L40S", "NVIDIA L40S"))
    assert parse_nvidia_smi("").error
    assert driver_number(NvidiaDriver("580.95.05")) == (580, 95)


def test_a_sick_driver_and_a_sick_gpu_are_told_apart() -> None:
    sick = NvidiaDriver(error="Failed to initialize NVML: Driver/library version mismatch")
    assert "version mismatch" in check_gpu(sick, CPU_TORCH, "auto").found
    hung = replace(L40S, device="cpu", error="RuntimeError: CUDA error: out of memory")
    assert "cannot use the GPU" in check_cuda(DRIVER, hung, "auto").found
    assert "see the line CUDA" in check_gpu(DRIVER, hung, "auto").remedy


def test_memory_of_a_cpu_counts_for_sam_only_where_it_is_asked_for() -> None:
    assert [r.stops for r in check_memory(CPU_TORCH, 5_000_000_000, "sam", SETTINGS)] == [frozenset(), frozenset({"sam"})]
    assert [r.stops for r in check_memory(CPU_TORCH, 5_000_000_000, "auto", SETTINGS)] == [frozenset()]


def test_checkpoints_only_of_use_at_times_stop_nothing() -> None:
    found = verdict(replace(GOOD, weights=lacking(*CHECKPOINTS[2:])))
    assert found.runs == "sam"
    assert all(line.level == "ok" for line in found.lines)


def test_a_damaged_checkpoint_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "sam3").mkdir()
    (tmp_path / "sam3" / "config.json").write_text("{}")
    weights = Weights(look(WeightsSettings(folder=str(tmp_path))))
    about = line(verdict(replace(GOOD, weights=weights), "sam"), "checkpoint SAM-3")
    assert about.level == "failure"
    assert "no complete checkpoint" in about.found
    assert "body4d weights download sam3" in about.remedy


HUB = Hub("https://huggingface.co", "hf_secretsecretsecret", "the token in $HF_TOKEN")


@pytest.mark.parametrize(
    ("state", "word"),
    [("no_token", "token"), ("invalid_token", "token"), ("not_requested", "accept"), ("pending", "waits"), ("token_lacks_gated", "gated")],
)
def test_a_shut_gate_is_named_with_what_to_do(state: str, word: str) -> None:
    answer = explain(SAM3.sources[0], state, HUB)  # type: ignore[arg-type]
    remark = check_gate(replace(lacking(SAM3), access=(answer,), asked=True))[0]
    assert word in remark.found + remark.remedy
    assert remark.remedy
    assert not remark.stops
    assert "hf_secret" not in remark.found + remark.remedy


def test_one_open_source_is_enough() -> None:
    first, second = (source for source in SAM3D_BODY.sources if source.automatic)
    answers = (explain(first, "pending", HUB), Access(second, "open"))
    remark = check_gate(replace(lacking(SAM3D_BODY), access=answers, asked=True))[0]
    assert (remark.remedy, second.repo in remark.found) == ("", True)


@pytest.mark.parametrize(("asked", "word"), [(True, "did not say in time"), (False, "not asked")])
def test_a_hub_that_was_not_heard(asked: bool, word: str) -> None:
    assert word in check_gate(replace(lacking(SAM3), asked=asked))[0].found


def test_room_for_what_is_to_be_fetched() -> None:
    small = Place(Path("/w"), 2_000_000_000)
    assert check_checkpoint_disk(small, Weights(READY), 1.0).remedy == ""
    assert "3.4 GB are to go there" in check_checkpoint_disk(small, lacking(SAM3), 1.0).found
    assert "cannot be written" in check_checkpoint_disk(replace(small, error="Permission denied"), lacking(SAM3), 1.0).found
    assert check_checkpoint_disk(replace(small, free_bytes=4_600_000_000), lacking(SAM3), 1.0).remedy == ""


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Space(), ["this is none"]),
        (Space("me/x", True, True, True), ["me/x", "can be written", "(not shown)"]),
        (Space("me/x"), ["me/x", "nothing is mounted", "not set"]),
        (Space("me/x", True, False, True), ["me/x", "cannot be written", "(not shown)"]),
    ],
)
def test_a_space(space: Space, words: list[str]) -> None:
    remarks = check_space(space)
    assert all(word in remark.found for word, remark in zip(words, remarks, strict=True))
    assert not any(remark.stops for remark in remarks)


def test_single_checks_are_ok_on_what_is_well() -> None:
    assert not check_runs(GOOD.runs, SETTINGS).remedy
    assert not check_codecs(GOOD.codecs).remedy
    assert not check_drawing(GOOD.drawing).remedy
    assert not any(remark.remedy for remark in check_packages(GOOD.packages))
