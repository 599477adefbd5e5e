"""Folders of visitors, the queue, the process that computes, the guard: with stand-ins, without a browser."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from body4d.app.auth import COOKIE, Guard
from body4d.app.queue import DIED, FAULT, Job, Queue
from body4d.app.sessions import Visits
from body4d.app.tasks import EVERYTHING, Look, Sight, Task, Warm
from body4d.app.worker import Worker, WorkerDied
from body4d.config import AppSettings, Settings
from body4d.core.errors import Body4DError, InputError, SettingsError
from body4d.core.progress import Event, EventListener

TASK = Warm()


@pytest.fixture
def visits(tmp_path: Path) -> Visits:
    return Visits(AppSettings(folder=str(tmp_path / "root")))


def upload(tmp_path: Path, name: str = "a.mp4") -> Path:
    path = tmp_path / name
    path.write_bytes(b"video")
    return path


def test_a_token_opens_its_own_folder_alone(visits: Visits, tmp_path: Path) -> None:
    mine, theirs = visits.take(upload(tmp_path), "../../mine.mp4"), visits.take(upload(tmp_path), "theirs.mp4")
    assert mine.token != theirs.token
    assert mine.token not in str(mine.folder)
    found = visits.find(mine.token)
    assert found is not None
    assert (found.about.name, found.video.read_bytes()) == ("mine.mp4", b"video")
    for wrong in ("", "..", "../" + theirs.key, theirs.key, mine.token[:-1] + "!", mine.token[:-1], "a" * 32):
        assert visits.find(wrong) is None


def test_two_visitors_may_send_the_same_file(visits: Visits, tmp_path: Path) -> None:
    same = upload(tmp_path)
    first, second = visits.take(same, "a.mp4"), visits.take(same, "a.mp4")
    visits.drop(first)
    assert second.video.read_bytes() == b"video"


def test_only_results_are_served(visits: Visits, tmp_path: Path) -> None:
    visit = visits.take(upload(tmp_path), "a.mp4")
    visit.run.mkdir()
    for name in ("overlay.mp4", "person_1.bvh", "run.json", "masks.npz", ".lock"):
        (visit.run / name).write_text("x")
    (visit.run / "body.glb").symlink_to("/etc/passwd")
    assert visit.served("overlay.mp4") == visit.run / "overlay.mp4"
    assert visit.served("person_1.bvh") == visit.run / "person_1.bvh"
    for name in (
        "run.json",
        "masks.npz",
        ".lock",
        "clip.mp4",
        "visit.json",
        "../visit.json",
        "body.glb",
        "person_1.bvh/..",
        "views.mp4",
        "",
    ):
        assert visit.served(name) is None
    assert visit.files() == ["overlay.mp4", "body.glb", "person_1.bvh"]
    assert not visit.finished
    (visit.run / EVERYTHING).write_text("x")
    assert visit.finished


def test_the_sweep_deletes_what_was_not_opened(visits: Visits, tmp_path: Path) -> None:
    old, opened, busy = (visits.take(upload(tmp_path), f"{name}.mp4") for name in ("old", "opened", "busy"))
    for visit in (old, opened, busy):
        os.utime(visit.folder, (1000, 1000))
    assert visits.find(opened.token) is not None
    left = visits.uploads / "abc" / "left.mp4"
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (1000, 1000))
    assert visits.sweep({busy.key}) == [old.key]
    assert not left.exists()
    assert visits.find(old.token) is None
    assert visits.find(opened.token) is not None


class StandIn:
    """A worker that does what a test says, until it is ended."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.ended = threading.Event()
        self.ends = 0
        self.error: Exception | None = None

    def do(self, task: Task, listener: EventListener) -> Sight | None:
        self.ended.clear()
        listener(Event("bodies", "working", 1, 2))
        while not self.gate.wait(0.01):
            if self.ended.is_set():
                raise WorkerDied("ended")
        if self.error:
            raise self.error
        return None

    def end(self) -> None:
        self.ends += 1
        self.ended.set()


def queue_of(worker: StandIn, most: int = 5) -> Queue:
    return Queue(worker, most, 0.5, 60)  # type: ignore[arg-type]


def until_working(job: Job) -> None:
    while job.state == "waiting":
        time.sleep(0.005)


def test_jobs_wait_in_order_with_place_and_estimate() -> None:
    worker = StandIn()
    queue = queue_of(worker)
    first, second, third = (queue.submit(name, TASK, frames) for name, frames in (("a", 100), ("b", 20), ("c", 10)))
    until_working(first)
    assert (queue.place(second).ahead, queue.place(third).ahead) == (1, 2)
    assert queue.place(third).begins_s == pytest.approx(60, abs=5)
    assert queue.place(third).takes_s == pytest.approx(5)
    assert queue.live() == {"a", "b", "c"}
    worker.gate.set()
    assert third.ended.wait(10)
    assert [job.state for job in (first, second, third)] == ["done"] * 3
    assert first.stages["bodies"].done == 1
    queue.close()


def test_cancelling_ends_the_process_of_the_one_at_work_only() -> None:
    worker = StandIn()
    queue = queue_of(worker)
    first, second, third = (queue.submit(name, TASK) for name in "abc")
    until_working(first)
    assert queue.cancel("b")
    assert (second.state, worker.ends) == ("cancelled", 0)
    assert queue.cancel("a")
    assert first.state == "cancelled"
    assert worker.ends >= 1
    worker.gate.set()
    assert third.ended.wait(10)
    assert third.state == "done"
    assert not queue.cancel("nobody")
    queue.close()


def test_a_newer_look_lets_the_one_at_work_finish() -> None:
    worker = StandIn()
    queue = queue_of(worker)
    first = queue.submit("a", TASK)
    until_working(first)
    second, third = queue.submit("a", TASK, end_older=False), queue.submit("a", TASK, end_older=False)
    assert second.state == "cancelled"
    worker.gate.set()
    assert third.ended.wait(10)
    assert (first.state, third.state, worker.ends) == ("done", "done", 0)
    queue.close()


@pytest.mark.parametrize(
    ("error", "state", "sentence"),
    [(InputError("No."), "refused", "No."), (WorkerDied("x"), "failed", DIED), (RuntimeError("Traceback /secret"), "failed", FAULT)],
)
def test_errors_become_one_sentence(error: Exception, state: str, sentence: str) -> None:
    worker = StandIn()
    worker.error = error
    worker.gate.set()
    queue = queue_of(worker)
    job = queue.submit("a", TASK)
    assert job.ended.wait(10)
    assert (job.state, job.sentence) == (state, sentence)
    queue.close()


def test_a_full_queue_says_so() -> None:
    worker = StandIn()
    queue = queue_of(worker, most=1)
    queue.submit("a", TASK)
    queue.submit("b", TASK)
    with pytest.raises(SettingsError, match="2 runs are waiting already"):
        queue.submit("c", TASK)
    queue.close()


def test_a_process_answers_is_refused_and_can_be_ended(tmp_path: Path) -> None:
    worker = Worker(Settings(preset="lite"), "test")
    assert worker.pid is None
    with pytest.raises(Body4DError, match="empty"):
        worker.do(Look(upload_empty(tmp_path), tmp_path / "people.jpg"), lambda event: None)
    process = worker.pid
    assert process is not None
    # Ended from another thread while it works: the one who waits is told, and nothing of it is left.
    threading.Timer(0.3, worker.end).start()
    with pytest.raises(WorkerDied):
        worker.do(EndlessTask(), lambda event: None)  # type: ignore[arg-type]
    worker.end()
    assert worker.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


class EndlessTask:
    """Keeps the process that receives it busy, without a word."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return time.sleep, (600,)


SERVER_THAT_DIES = """
import os, threading, time
from body4d.app.worker import Worker
from body4d.config import Settings

class Silent:
    "Keeps the process that receives it busy, without a word."
    def __reduce__(self):
        return time.sleep, (600,)

if __name__ == "__main__":
    worker = Worker(Settings(preset="lite"), "test")
    threading.Thread(target=worker.do, args=(Silent(), lambda event: None), daemon=True).start()
    while worker.pid is None:
        time.sleep(0.01)
    time.sleep(3)
    os._exit(1)
"""


def test_a_process_ends_with_its_server_however_busy(tmp_path: Path) -> None:
    """It has inherited our pipe, so reading that ends when the last of the two has ended: here long before what keeps it busy."""
    server = tmp_path / "server.py"
    server.write_text(SERVER_THAT_DIES, encoding="utf-8")
    said = subprocess.run([sys.executable, server], capture_output=True, text=True, timeout=120)
    assert (said.returncode, said.stderr) == (1, "")


def upload_empty(tmp_path: Path) -> Path:
    path = tmp_path / "empty.mp4"
    path.touch()
    return path


@pytest.fixture
def guarded() -> object:
    testclient = pytest.importorskip("starlette.testclient")
    inner = Starlette(
        routes=[Route(path, lambda request: PlainTextResponse("inside")) for path in ("/", "/health", "/runs/a/b", "/gradio_api/x")]
    )
    page = '<form>@problem<input name="run" value="@run"></form>'
    return testclient.TestClient(Guard(inner, "anna", "s3cret:é", page), follow_redirects=False)


def test_the_guard_lets_nobody_in_without_the_password(guarded) -> None:
    assert guarded.get("/health").text == "inside"
    for path in ("/", "/runs/a/b", "/gradio_api/x"):
        assert guarded.get(path).status_code == 401
        assert guarded.get(path, auth=("anna", "wrong")).status_code == 401
        assert guarded.get(path, cookies={COOKIE: "guessed"}).status_code == 401
        assert guarded.get(path, headers={"Authorization": "Basic %%%"}).status_code == 401
        assert guarded.get(path, auth=("anna", "s3cret:é".encode())).text == "inside"


def test_the_guard_asks_for_the_password_and_remembers(guarded) -> None:
    asked = guarded.get("/?run=abc", headers={"accept": "text/html"})
    assert (asked.status_code, asked.headers["location"]) == (303, "./login?run=abc")
    assert 'value="abc"' in guarded.get("/login?run=abc").text
    assert "<script>" not in guarded.get("/login?run=<script>").text
    wrong = guarded.post("/login", data={"username": "anna", "password": "no", "run": "//evil.example"})
    assert (wrong.status_code, "evil" in wrong.text) == (401, False)
    right = guarded.post("/login", data={"username": "anna", "password": "s3cret:é", "run": "abc"})
    assert (right.status_code, right.headers["location"]) == (303, "./?run=abc")
    assert "httponly" in right.headers["set-cookie"].lower()
    assert guarded.get("/runs/a/b").text == "inside"
