"""What does the app do when many visitors come at once?

    python benchmarks/app_load.py [--visitors 50] [--megabytes 1] [--worker stand-in|lite] [--limit-s 300] [--json]

Starts the app on this machine, on a port and in a folder of its own, and sends it so many visitors, each from an address of theirs: all
upload a clip of their own at the same moment, open it, find the people on its first frame and ask for a run; five more than may wait. One
more visitor uploads more clips than an hour allows. Then it is asked whether every run bears its own visitor's name and words and no answer
to anybody holds another's token or name, whether runs ended in the order in which they were asked for, what those read who were refused,
how long others waited for an answer meanwhile, how much memory the server took, and what is left on the disk once all have deleted theirs.

``stand-in`` (tests/app_stub.py) answers instead of the processes that compute: it is the server that is measured. With ``lite`` the clips
are films of half a second and the processes compute; use few visitors. Exits with 1 where anything is wrong.
"""

import argparse
import asyncio
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from app_served import free_port, start
from app_stub import RESULT
from body4d.app.tasks import ARCHIVE
from body4d.evaluate.synthetic.clip import make_clip

MORE_THAN_MAY_WAIT = 5
UPLOADS_PER_HOUR = 3
HEALTH_EVERY_S = 0.05


@dataclass
class Visitor:
    """One visitor: their clip, what they were told, and their token once they have one."""

    number: int
    clip: bytes
    token: str = ""
    told: list[str] = field(default_factory=list)
    refused: str = ""

    @property
    def name(self) -> str:
        return f"visitor-{self.number:03}.mp4"

    @property
    def words(self) -> str:
        return f"words of visitor {self.number:03}"


class Load:
    """The visitors' requests, and what was noted of the server meanwhile."""

    def __init__(self, client: httpx.AsyncClient, server: psutil.Process, folder: Path, *, says_words: bool) -> None:
        self._client, self._server, self._folder, self._says_words = client, server, folder, says_words
        self.peak_mb = 0.0
        self.answered_ms: list[float] = []
        self.upload_s: list[float] = []

    async def watch(self) -> None:
        """Asks the server for a sign of life again and again, and looks at its memory."""
        while True:
            begun = time.perf_counter()
            assert (await self._client.get("health")).status_code == 200
            self.answered_ms.append(1000 * (time.perf_counter() - begun))
            self.peak_mb = max(self.peak_mb, self.memory_mb())
            await asyncio.sleep(HEALTH_EVERY_S)

    def memory_mb(self) -> float:
        """Of the server itself, without the processes that compute."""
        return self._server.memory_info().rss / 1e6

    def disk_bytes(self) -> int:
        """What visitors' work and uploads take; a file with two names once."""
        files = [path.stat() for place in ("runs", "uploads") for path in (self._folder / place).rglob("*") if path.is_file()]
        return sum({file.st_ino: file.st_size for file in files}.values())

    async def _asked(self, visitor: Visitor, method: str, address: str, **sent: Any) -> dict[str, Any] | None:
        """The answer, None where it is a refusal, whose sentence is kept."""
        answer = await self._client.request(method, address, headers={"x-forwarded-for": address_of(visitor)}, **sent)
        visitor.told.append(answer.text)
        if answer.status_code == 200:
            return answer.json()
        told = answer.json()
        visitor.refused = f"{answer.status_code}: {told.get('message') or told.get('detail') or told}"
        return None

    async def _page(self, visitor: Visitor, action: str, **fields: Any) -> dict[str, Any] | None:
        return await self._asked(visitor, "POST", f"page/{action}", json={"token": visitor.token, **fields})

    async def upload(self, visitor: Visitor) -> str | None:
        """The server's name of the clip, None where it was refused."""
        begun = time.perf_counter()
        answer = await self._asked(visitor, "POST", "gradio_api/upload", files={"files": (visitor.name, visitor.clip)})
        self.upload_s.append(time.perf_counter() - begun)
        return str(answer[0]) if answer else None

    async def visit(self, visitor: Visitor) -> None:
        """From the upload to the run that was asked for."""
        path = await self.upload(visitor)
        opened = await self._page(visitor, "open", path=path, name=visitor.name) if path else None
        if not opened:
            return
        visitor.token = opened["token"]
        steps = [("choice", {})] + ([("describe", {"text": visitor.words})] if self._says_words else []) + [("run", {})]
        for action, fields in steps:
            if await self._page(visitor, action, **fields) is None:
                return

    async def state(self, visitor: Visitor) -> str:
        answer = await self._asked(visitor, "GET", f"runs/{visitor.token}/state")
        return str(answer["state"]) if answer else "gone"

    async def wait_until_done(self, visitors: list[Visitor]) -> None:
        """Until none of their runs waits or works."""
        for visitor in visitors:
            while await self.state(visitor) in ("waiting", "working"):
                await asyncio.sleep(0.1)

    async def result(self, visitor: Visitor) -> bytes:
        answer = await self._client.get(f"runs/{visitor.token}/overlay.mp4")
        return answer.content if answer.status_code == 200 else b""

    async def delete(self, visitor: Visitor) -> None:
        await self._asked(visitor, "DELETE", f"runs/{visitor.token}")


def address_of(visitor: Visitor) -> str:
    """A public address for each visitor, as a proxy would tell it."""
    return f"8.8.{visitor.number // 250}.{visitor.number % 250 + 1}"


def in_order(folder: Path, visitors: list[Visitor]) -> bool:
    """Whether runs were finished in the order in which the server had noted them."""
    asked, ended = {}, {}
    for visitor in visitors:
        session = folder / "runs" / hashlib.sha256(visitor.token.encode()).hexdigest()[:32]
        asked[visitor.number] = json.loads((session / "asked.json").read_text())["asked_s"]
        ended[visitor.number] = (session / "run" / ARCHIVE).stat().st_mtime_ns
    return sorted(asked, key=asked.__getitem__) == sorted(ended, key=ended.__getitem__)


def sees_others(visitor: Visitor, visitors: list[Visitor]) -> bool:
    """Whether anything that a visitor was told holds the token, the clip's name or the words of another."""
    text = "\n".join(visitor.told)
    return any(
        other is not visitor and any(secret and secret in text for secret in (other.token, other.name, other.words)) for other in visitors
    )


async def load(url: str, server: psutil.Process, folder: Path, clips: list[bytes], worker: str) -> dict[str, Any]:
    """The figures and, under ``wrong``, what is not as it should be."""
    stand_in = worker == "stand-in"
    *visitors, greedy = [Visitor(number, clip) for number, clip in enumerate(clips)]
    limits = httpx.Limits(max_connections=len(clips) + 10)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        work = Load(client, server, folder, says_words=stand_in)
        before_mb = work.memory_mb()
        watching = asyncio.create_task(work.watch())
        begun = time.perf_counter()
        await asyncio.gather(*(work.visit(visitor) for visitor in visitors))
        asked_s = time.perf_counter() - begun
        for _ in range(UPLOADS_PER_HOUR + 1):
            await work.upload(greedy)
        accepted = [visitor for visitor in visitors if not visitor.refused]
        turned_away = sorted({visitor.refused for visitor in visitors if visitor.refused})
        (folder.parent / "finish").touch()  # The stand-in's runs may end.
        await work.wait_until_done(accepted)
        full_bytes = work.disk_bytes()
        states = {visitor.number: await work.state(visitor) for visitor in accepted}
        mixed = [visitor.name for visitor in accepted if stand_in and await work.result(visitor) != RESULT + visitor.words.encode()]
        ordered = in_order(folder, accepted)
        for visitor in visitors:
            if visitor.token:
                await work.delete(visitor)
        watching.cancel()
    wrong = [f"{number}: {state}" for number, state in states.items() if state != "done"]
    wrong += [f"{visitor.name} was told of others" for visitor in visitors if sees_others(visitor, visitors)]
    wrong += [f"{name} got the result of another" for name in mixed]
    wrong += [] if ordered else ["runs did not end in the order in which they were asked for"]
    wrong += [] if len(accepted) == len(visitors) - MORE_THAN_MAY_WAIT else [f"{len(accepted)} runs were accepted"]
    left = work.disk_bytes() - len(greedy.clip)  # The same clip three times is one file; what nobody opens goes with the hour.
    wrong += [f"{left} bytes are left on the disk"] if left > 0 else []
    wrong += [] if greedy.refused.startswith("429") else ["nobody stopped the greedy visitor"]
    answered = sorted(work.answered_ms)
    return {
        "visitors": len(visitors),
        "worker": worker,
        "megabytes_sent": round(sum(len(visitor.clip) for visitor in visitors) / 1e6, 1),
        "accepted": len(accepted),
        "turned_away": turned_away,
        "greedy": greedy.refused,
        "all_asked_for_s": round(asked_s, 2),
        "slowest_upload_s": round(max(work.upload_s), 2),
        "others_answered_ms": {"median": round(answered[len(answered) // 2], 1), "longest": round(answered[-1], 1)},
        "server_memory_mb": {"before": round(before_mb), "most": round(work.peak_mb), "after": round(work.memory_mb())},
        "disk_mb": {"full": round(full_bytes / 1e6, 1), "after_deletion": round(left / 1e6, 3)},
        "in_order": ordered,
        "wrong": wrong,
    }


def clips_of(count: int, megabytes: float, worker: str, folder: Path) -> list[bytes]:
    """A clip of their own for each visitor: the same film with other bytes at the end, where players look at none."""
    if worker == "stand-in":
        return [f"clip of {number:03}".encode().ljust(int(megabytes * 1e6), b"-") for number in range(count)]
    film = make_clip("walk", folder, seconds=0.5, rate=15, size=(320, 240)).video.read_bytes()
    return [film + (16).to_bytes(4, "big") + b"free" + f"{number:08}".encode() for number in range(count)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--megabytes", type=float, default=1.0, help="of each clip; the stand-in's alone")
    parser.add_argument("--worker", choices=("stand-in", "lite"), default="stand-in")
    parser.add_argument("--limit-s", type=float, default=300.0, help="give up after this long")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.visitors <= MORE_THAN_MAY_WAIT + 1:
        parser.error(f"--visitors must be more than {MORE_THAN_MAY_WAIT + 1}")
    # The run at work does not wait.
    limits = {"max_waiting": args.visitors - MORE_THAN_MAY_WAIT - 1, "max_uploads_per_hour": UPLOADS_PER_HOUR}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clips = clips_of(args.visitors + 1, args.megabytes, args.worker, folder / "film")
        if args.worker == "lite":
            settings = [part for name, value in limits.items() for part in ("--set", f"app.{name}={value}")]
            process, app = start(folder, *settings)
            url = app.url
        else:
            port = free_port()
            stub = Path(__file__).parents[1] / "tests" / "app_stub.py"
            process = subprocess.Popen([sys.executable, str(stub), str(folder), str(port), json.dumps(limits)])
            url = f"http://127.0.0.1:{port}/"
            wait_for(url, process)
        try:
            figures = asyncio.run(within(args.limit_s, load(url, psutil.Process(process.pid), folder / "root", clips, args.worker)))
        except TimeoutError:
            print(f"The app had not done it all within {args.limit_s:.0f} s.", file=sys.stderr)
            return 1
        finally:
            process.terminate()
            process.wait(30)
    print(json.dumps(figures, indent=1) if args.json else "\n".join(f"{name:20} {value}" for name, value in figures.items()))
    return 1 if figures["wrong"] else 0


async def within(seconds: float, work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Raises TimeoutError."""
    return await asyncio.wait_for(work, seconds)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the app answers."""
    until = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{url}health", timeout=1)
            return
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the app does not answer") from None
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
