"""All checks on all facts. Pure: the same facts make the same verdict."""

from body4d.doctor.check_machine import check_cuda, check_gpu, check_memory, check_packages
from body4d.doctor.check_pieces import check_codecs, check_drawing, check_gate, check_weights
from body4d.doctor.check_places import check_checkpoint_disk, check_runs, check_space
from body4d.doctor.facts import Facts
from body4d.doctor.verdict import Verdict, judge


def check(facts: Facts, spare_disk_gb: float) -> Verdict:
    """The verdict on a machine. ``spare_disk_gb`` is what downloads leave free (``weights.spare_disk_gb``)."""
    remarks = [
        *check_packages(facts.packages),
        check_gpu(facts.driver, facts.torch, facts.wanted),
        check_cuda(facts.driver, facts.torch, facts.wanted),
        *check_memory(facts.torch, facts.memory_bytes, facts.wanted, facts.settings),
        *check_weights(facts.weights),
        *check_gate(facts.weights),
        check_checkpoint_disk(facts.checkpoints, facts.weights, spare_disk_gb),
        check_codecs(facts.codecs),
        check_drawing(facts.drawing),
        check_runs(facts.runs, facts.settings),
        *check_space(facts.space),
    ]
    return judge(remarks, facts.wanted)
