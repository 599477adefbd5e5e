"""Use a running app from a program: `body4d app` serves the page and, behind it, the endpoint /run.

    python examples/04_use_the_app.py CLIP.mp4 FOLDER [http://localhost:7860/]

Downloads everything of the run into FOLDER. Where the app asks for a password (BODY4D_AUTH=user:password), set the same variable here.
"""

import contextlib
import json
import os
import sys
import time
from base64 import b64encode
from pathlib import Path
from typing import Any, cast

import httpx
from gradio_client import Client, handle_file


def main(clip: str, folder: str, url: str = "http://localhost:7860/") -> None:
    user, _, password = os.environ.get("BODY4D_AUTH", "").partition(":")
    headers = {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()} if user else {}
    app = Client(url, headers=headers, verbose=False)

    # Clicks are pixels of a frame: prompts=[{"frame": 0, "point_px": [640, 360]}] follows whoever stands there.
    job = app.submit(handle_file(clip), people="main", prompts=[], api_name="/run")
    result = followed(job, url.rstrip("/"), headers)
    if result.get("state") != "done":
        error = result.get("error", {"code": "", "message": str(job.exception() or "The run did not finish."), "hint": ""})
        raise SystemExit(f"{error['message']} {error['hint']} [{error['code']}]")

    save(result, Path(folder), url.rstrip("/"), headers)


def followed(job: Any, url: str, headers: dict[str, str]) -> dict[str, Any]:
    """The run's last answer. What works meanwhile is printed."""
    result: dict[str, Any] = {}
    for answer in job:
        result = cast(dict[str, Any], answer)
        working = [name for name, stage in result.get("stages", {}).items() if stage["state"] == "working"]
        print(result["state"], *working, file=sys.stderr)
    while result.get("state") in ("interrupted", "waiting", "working"):
        # The server was restarted, or the connection broke: the run goes on there, and its state can be asked for.
        time.sleep(2)
        with contextlib.suppress(httpx.TransportError):
            result = httpx.get(f"{url}/{result['state_at']}", headers=headers, timeout=60).json()
    return result


def save(result: dict[str, Any], out: Path, url: str, headers: dict[str, str]) -> None:
    """Everything a run made, into the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(result, indent=1))
    for name, address in result["files"].items():
        answer = httpx.get(f"{url}/{address}", headers=headers, timeout=60)
        answer.raise_for_status()
        (out / name).write_bytes(answer.content)
        print(out / name)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
