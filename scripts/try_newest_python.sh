#!/usr/bin/env bash
# The preset lite on the newest Python of this machine (3.15 to 3.12, from the PATH or pyenv): set-up, import, one short run.
# scripts/try_newest_python.sh [PYTHON]; a folder of its own is made and removed. Where there is only 3.11, it says so and ends with 0.
set -eu -o pipefail
cd "$(dirname "$0")/.."

newest() {
    for version in 3.15 3.14 3.13 3.12; do
        for python in "python$version" "$HOME"/.pyenv/versions/"$version"*/bin/python; do
            "$python" -c "import sys, venv; raise SystemExit(sys.version_info[:2] != tuple(map(int, '$version'.split('.'))))" 2>/dev/null &&
                { echo "$python"; return; }
        done
    done
}

python=${1:-$(newest)}
[ -n "$python" ] || { echo "No Python newer than 3.11 is on this machine, so none was tried."; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
install="$folder/venv/bin/python -m pip --disable-pip-version-check install -qq --no-compile -c constraints.txt"
# As in the Makefile: the CPU build of torch where its index answers.
$install --no-deps --retries 0 --timeout 15 --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" torch 2>/dev/null || $install torch
$install -e '.[lite]'
"$folder/venv/bin/python" -m pip check
cat >"$folder/short_run.py" <<'PYTHON'
import sys
from pathlib import Path

import body4d
from body4d.evaluate.synthetic.clip import make_clip

folder = Path(sys.argv[1])
clip = make_clip("walk", folder, seconds=0.5)
settings = body4d.load_settings(overrides={"preset": "lite", "camera.fov_deg": 60})
scene = body4d.Pipeline.load(settings).run(clip.video, folder / "run")
written = {path.name for path in (folder / "run").iterdir()}
assert len(scene.people) == 1 and {"overlay.mp4", "body.glb", "scene.npz"} <= written, written
print(f"Python {sys.version.split()[0]}: preset lite found the person on {len(scene.people[0].frame_index)} frames and wrote the run folder.")
PYTHON
"$folder/venv/bin/python" "$folder/short_run.py" "$folder"
