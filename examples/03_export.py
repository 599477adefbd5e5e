"""Write a scene in every format, as `body4d export` does.

python examples/03_export.py runs/clip/scene.npz out/
"""

import sys
from pathlib import Path

import body4d
from body4d.core.errors import Body4DError
from body4d.export import FORMATS


def main(path: str, out: str) -> None:
    scene = body4d.load_scene(Path(path))
    for fmt in FORMATS:
        try:
            files = body4d.export_scene(scene, fmt, Path(out) / fmt)
        except Body4DError as error:  # such as a package or a body model that is not there
            print(f"{fmt}: {error.message}")
            continue
        print(f"{fmt}: {len(files)} file(s), first {files[0]}, {sum(file.stat().st_size for file in files) / 1e6:.2f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
