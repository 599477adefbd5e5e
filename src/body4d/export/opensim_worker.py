"""OpenSim's scaling and inverse kinematics on a TRC: its text is run by a Python that has ``opensim``, which need not have body4d.

    python -c "$(cat opensim_worker.py)" TRC MOT SETUP_FOLDER halpe26

SETUP_FOLDER holds Pose2Sim's model, markers and setups (BSD-3): the folder ``OpenSim_Setup`` of its package. The last line printed is a
JSON object: marker errors in metres, number of frames, version.
"""

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SETUPS = {
    "halpe26": ("Markers_Halpe26.xml", "Scaling_Setup_Pose2Sim_Halpe26.xml", "IK_Setup_Pose2Sim_Halpe26.xml"),
    "opencap": ("Markers_LSTM.xml", "Scaling_Setup_Pose2Sim_LSTM.xml", "IK_Setup_Pose2Sim_withoutHands_LSTM.xml"),
}
MODEL = "Model_Pose2Sim_simple.osim"


def _by_own_names(scaling: str, markers: str) -> str:
    """Pose2Sim measures trunk and arms of OpenCap's markers between its own shoulders and elbows; OpenCap has markers there, too."""
    if markers == "halpe26":
        return scaling
    pairs = {
        f"{R}{joint}": f"{r}_{marker}_study" for R, r in ("Rr", "LL") for joint, marker in (("Shoulder", "shoulder"), ("Elbow", "lelbow"))
    }
    for theirs, ours in pairs.items():
        scaling = re.sub(rf"\b{theirs}\b", ours, scaling)
    return scaling


def main(trc: Path, mot: Path, setup: Path, markers: str) -> dict[str, object]:
    """Scale the model to the markers, solve the inverse kinematics into ``mot``, and say how far markers are off."""
    opensim: Any = import_module("opensim")

    opensim.Logger.setLevelString("warn")
    marker_file, scale_file, ik_file = (str(setup / name) for name in SETUPS[markers])
    table = opensim.TimeSeriesTableVec3(str(trc))
    times = table.getIndependentColumn()
    with TemporaryDirectory() as folder:
        generic, scaled = (str(Path(folder) / name) for name in ("generic.osim", "scaled.osim"))
        model = opensim.Model(str(setup / MODEL))
        model.set_MarkerSet(opensim.MarkerSet(marker_file))
        model.initSystem()
        model.printToXML(generic)
        span = opensim.ArrayDouble()
        span.append(times[0])
        span.append(times[-1])
        named = Path(folder) / "scale.xml"
        named.write_text(_by_own_names(Path(scale_file).read_text(), markers))
        tool = opensim.ScaleTool(str(named))
        tool.setPathToSubject("")
        tool.getGenericModelMaker().setModelFileName(generic)
        tool.getGenericModelMaker().setMarkerSetFileName("Unassigned")
        scaler = tool.getModelScaler()
        scaler.setMarkerFileName(str(trc))
        scaler.setTimeRange(span)
        scaler.setOutputModelFileName(scaled)
        tool.getMarkerPlacer().setApply(False)
        scaler.processModel(model, "", tool.getSubjectMass())
        # The skeleton's markers and scale are whole even where the tool complains of a pair that it does not find.
        ik = opensim.InverseKinematicsTool(ik_file)
        ik.set_model_file(scaled)
        ik.set_marker_file(str(trc))
        ik.setStartTime(times[0])
        ik.setEndTime(times[-1])
        ik.setOutputMotionFileName(str(mot))
        ik.setResultsDir(folder)
        ik.set_report_errors(True)
        ik.run()
        errors = opensim.TimeSeriesTable(next(str(path) for path in Path(folder).glob("*marker_errors.sto")))
        rms, worst = ([float(v) for v in errors.getDependentColumn(name).to_numpy()] for name in ("marker_error_RMS", "marker_error_max"))
    return {
        "frames": len(rms),
        "marker_rms_m": round(sum(rms) / len(rms), 5),
        "marker_rms_worst_frame_m": round(max(rms), 5),
        "marker_worst_m": round(max(worst), 5),
        "opensim": opensim.GetVersion(),
    }


if __name__ == "__main__":
    trc, mot, setup, markers = sys.argv[1:]
    result = main(Path(trc).resolve(), Path(mot).resolve(), Path(setup).resolve(), markers)
    print(json.dumps(result))
