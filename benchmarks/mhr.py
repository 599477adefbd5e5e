"""How fast is MHR? Times the forward pass batched, with the correctives dense, sparse and left out, and a part of the vertices alone.

    python benchmarks/mhr.py [--device cpu|cuda] [--batches 1 16 64] [--rig mhr_model.pt] [--keep 0.001 ... ] [--json]

Without --rig the body is made up at the published sizes, its correctives as sparse as skin weights make them; how sparse the real ones
are is not known here, so --keep thins or fills them to given shares of non-zeros and tells from which share on dense is quicker.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from body4d.bodies.mhr.correctives import PoseCorrectives, compress, density
from body4d.bodies.mhr.module import MhrBody
from body4d.bodies.mhr.rig_file import read_rig_file
from mhr_files import full_rig, random_inputs, save_script


def seconds(run: Callable[[], object], device: str, min_s: float = 0.5) -> float:
    """Median time of a call, after one to warm up."""

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    run()
    times: list[float] = []
    while sum(times) < min_s or len(times) < 3:
        wait()
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rig", type=Path)
    parser.add_argument("--keep", type=float, nargs="*", default=[])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.rig or save_script(full_rig(), Path(folder) / "made_rig.pt")
        start = time.perf_counter()
        file = read_rig_file(path)
        sparse = MhrBody(file)
        rows = [{"what": "load and convert", "ms": 1e3 * (time.perf_counter() - start)}]
    share = density(file.correctives_cm)
    rows.append({"what": "share of non-zeros in the second corrective layer", "share": share})
    dense = MhrBody(file)
    dense.correctives = PoseCorrectives(sparse.correctives.first, file.correctives_cm)
    part = sparse.subset(torch.arange(0, len(file.rest_vertices_cm), 60))
    bodies = {"as loaded": sparse, "dense correctives": dense, f"{len(part.rest_vertices)} vertices": part}
    for body in bodies.values():
        body.to(args.device)
    for batch in args.batches:
        given = [torch.from_numpy(a).to(args.device) for a in random_inputs(batch)]
        with torch.inference_mode():
            for name, body in bodies.items():
                rows.append({"what": name, "batch": batch, "ms": 1e3 * seconds(lambda: body(*given), args.device)})  # noqa: B023
            plain = seconds(lambda: sparse(*given, with_correctives=False), args.device)  # noqa: B023
            rows.append({"what": "without correctives", "batch": batch, "ms": 1e3 * plain})
            rows.append({"what": "skeleton", "batch": batch, "ms": 1e3 * seconds(lambda: sparse.skeleton(given[1]), args.device)})  # noqa: B023
    for keep in args.keep:
        values = torch.rand(file.correctives_cm.shape)
        thinned = replace(file, correctives_cm=torch.where(values < keep, values, 0.0))
        for name, matrix in (("sparse", compress(thinned.correctives_cm, 1.0)), ("dense", thinned.correctives_cm)):
            layer = PoseCorrectives(sparse.correctives.first.cpu(), matrix).to(args.device)
            for batch in args.batches:
                features = torch.randn(batch, layer.first.shape[1], device=args.device)
                with torch.inference_mode():
                    rows.append(
                        {"what": f"{keep:.1%} kept, {name}", "batch": batch, "ms": 1e3 * seconds(lambda: layer(features), args.device)}  # noqa: B023
                    )
    if args.json:
        print(json.dumps({"device": args.device, "torch": torch.__version__, "threads": torch.get_num_threads(), "rows": rows}))
        return
    for row in rows:
        batch = f"batch {row['batch']:4}" if "batch" in row else ""
        print(f"{row['what']:52} {batch:12}", f"{row['ms']:9.2f} ms" if "ms" in row else f"{row['share']:9.2%}")


if __name__ == "__main__":
    main()
