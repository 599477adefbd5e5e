"""No request makes the server read, copy or fetch what was not uploaded here. docs/app.md lists where files could enter.

Asked by bare HTTP: gradio_client uploads a path before it names it, and so never shows what the server does with a foreign one.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from app_served import RunningApp
from body4d.app.file_references import (
    MAX_JSON_BYTES,
    NO_ADDRESS,
    NOT_AN_UPLOAD,
    ForeignFileError,
    UploadsOnlyMiddleware,
    sanitize_json,
    uploaded_path,
)

httpx = pytest.importorskip("httpx", reason="the app's extra is not installed")
testclient = pytest.importorskip("starlette.testclient")

META = {"_type": "gradio.FileData"}
HASH = "0123456789abcdef" * 4
PATIENCE_S = 20
"""For an answer that takes milliseconds, on a machine that does much else."""


def file_data(path: object, **more: object) -> dict[str, Any]:
    return {"path": str(path), **more, "meta": META}


# The check, without a server


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """A folder of uploads with one file, and with what must not be in one."""
    folder = tmp_path / "uploads"
    plant(folder, tmp_path / "outside.mp4")
    return folder


def plant(uploads: Path, outside: Path) -> None:
    """Put an upload, links, a pipe and files at wrong places into ``uploads``, and a file at ``outside``."""
    (uploads / HASH).mkdir(parents=True)
    outside.write_bytes(b"private")
    for path in (uploads / HASH / "50% ä.mp4", uploads / "loose.mp4"):
        path.write_bytes(b"video")
    (uploads / HASH / "link.mp4").symlink_to(outside)
    os.mkfifo(uploads / HASH / "pipe.mp4")
    (uploads / HASH / "folder.mp4").mkdir()
    (uploads / HASH / "folder.mp4" / "deep.mp4").write_bytes(b"video")
    linked = outside.parent / "linked"
    linked.mkdir()
    (linked / "a.mp4").write_bytes(b"private")
    (uploads / HASH[::-1]).symlink_to(linked, target_is_directory=True)
    (uploads / "deep_links").mkdir()
    (uploads / "deep_links" / "state.json").write_bytes(b"[]")


def wrong_paths(uploads: Path, outside: Path) -> dict[str, str]:
    """Every path that ``plant`` made wrong, and others, by what is wrong."""
    right = f"{uploads}/{HASH}/50% ä.mp4"
    return {
        "outside": str(outside),
        "passwd": "/etc/passwd",
        "device": "/dev/zero",
        "pipe": f"{uploads}/{HASH}/pipe.mp4",
        "absent": f"{uploads}/{HASH}/absent.mp4",
        "absent outside": "/absent.mp4",
        "link": f"{uploads}/{HASH}/link.mp4",
        "in a linked folder": f"{uploads}/{HASH[::-1]}/a.mp4",
        "up and out": f"{uploads}/{HASH}/../../{outside.name}",
        "up and in again": f"{uploads}/{HASH}/../{HASH}/50% ä.mp4",
        "ends in ..": f"{uploads}/{HASH}/..",
        "too shallow": f"{uploads}/loose.mp4",
        "too deep": f"{uploads}/{HASH}/folder.mp4/deep.mp4",
        "Gradio's own": f"{uploads}/deep_links/state.json",
        "a folder": f"{uploads}/{HASH}/folder.mp4",
        "the folder of uploads": str(uploads),
        "doubled slash": right.replace(HASH, f"/{HASH}"),
        "a dot": right.replace(HASH, f"./{HASH}"),
        "a slash behind": f"{right}/",
        "NUL": f"{right}\0.mp4",
        "too long": f"{uploads}/{HASH}/{'a' * 5000}",
        "half a surrogate": f"{uploads}/{HASH}/\ud800",
        "relative": f"{HASH}/50% ä.mp4",
        "empty": "",
        "file address": f"file://{right}",
        "web address": "http://127.0.0.1:9/a.mp4",
        "Gradio's address": f"/gradio_api/file={right}",
    }


def test_an_upload_is_known_by_its_place(uploads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = uploads / HASH / "50% ä.mp4"
    assert uploaded_path(str(right), uploads) == right
    # Visitors see a relative app.folder as it was set, Gradio's events as it is on the disk.
    monkeypatch.chdir(uploads.parent)
    for folder in (Path("uploads"), Path("../") / uploads.parent.name / "uploads"):
        assert uploaded_path(str(folder / HASH / right.name), folder) == folder / HASH / right.name
        assert uploaded_path(str(right), folder) == right


def test_any_other_path_is_not(uploads: Path) -> None:
    for what, path in wrong_paths(uploads, uploads.parent / "outside.mp4").items():
        assert uploaded_path(path, uploads) is None, what
    for thing in (None, 1, True, b"a", ["a"], {"path": "a"}):
        assert uploaded_path(thing, uploads) is None


def test_what_lies_elsewhere_is_not_even_looked_at(uploads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    lstat = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda path: looked.append(path) or lstat(path))
    for path in wrong_paths(uploads, uploads.parent / "outside.mp4").values():
        uploaded_path(path, uploads)
    assert all(path.is_relative_to(uploads) and ".." not in path.parts for path in looked)


def test_a_file_goes_on_without_its_address(uploads: Path) -> None:
    right = f"{uploads}/{HASH}/50% ä.mp4"
    sent = {"data": [file_data(right, url=None, size=5), None, 1.5, [{"frame": 0, "place": [1, 2]}]], "fn_index": 0, "event_data": None}
    for address in (right, quote(right)):
        for host in ("http://localhost:7860", "https://a.hf.space/body4d", ""):
            sent["data"][0]["url"] = f"{host}/gradio_api/file={address}"
            assert sanitize_json(sent, uploads) == {**sent, "data": [file_data(right, size=5), *sent["data"][1:]]}
    assert sanitize_json({"data": [{"path": right}]}, uploads) == {"data": [{"path": right}]}


def wrong_files(right: str, outside: str) -> dict[str, Any]:
    """What is wrong although ``right`` is an upload, and where a wrong path may hide."""
    wrong = file_data(outside)
    return {
        "foreign address": file_data(right, url="http://127.0.0.1:9/a.mp4"),
        "address that looks like ours": file_data(right, url="http://169.254.169.254/gradio_api/file=/a.mp4"),
        "address of another file": file_data(right, url=f"/gradio_api/file={outside}"),
        "address through the proxy": file_data(right, url=f"/gradio_api/proxy=http://127.0.0.1:9/gradio_api/file={right}"),
        "local address": file_data(right, url=f"file://{outside}"),
        "address of another type": file_data(right, url=[f"/gradio_api/file={right}"]),
        "address alone": {"url": "http://127.0.0.1:9/a.mp4", "meta": META},
        "web path with address": file_data("http://127.0.0.1:9/a.mp4", url="http://127.0.0.1:9/a.mp4"),
        "no mark": {"path": outside},
        "mark alone": {"meta": META},
        "bare mark": META,
        "other mark": {"path": right, "meta": {"_type": "gradio.Other"}},
        "mark with a file": {"path": right, "meta": {**META, "file": wrong}},
        "path of another type": {"path": [outside], "meta": META},
        "file in a path": {"path": wrong, "meta": META},
        "file in a file": file_data(right, orig_name=wrong),
        "in a list": [[wrong]],
        "beside a right one": [file_data(right), wrong],
        "in a mapping": {"background": None, "layers": [{"composite": wrong}]},
        "of a stream": {**wrong, "is_stream": True},
        "in a component": {"value": wrong},
    }


def foreign(sent: Any, uploads: Path) -> bool:
    try:
        sanitize_json(sent, uploads)
    except ForeignFileError:
        return True
    return False


def test_nothing_foreign_is_overlooked(uploads: Path) -> None:
    outside = str(uploads.parent / "outside.mp4")
    for what, wrong in wrong_files(f"{uploads}/{HASH}/50% ä.mp4", outside).items():
        for sent in ({"data": [wrong]}, {"event_data": {"a": wrong}}, [wrong], {"video": wrong}):
            assert foreign(sent, uploads), (what, sent)
    deep: Any = 0
    for _ in range(50):
        deep = [deep]
    assert foreign(deep, uploads)


# The middleware, before a stand-in


@pytest.fixture
def seen() -> list[bytes]:
    """Bodies that the stand-in got."""
    return []


@pytest.fixture
def asked(uploads: Path, seen: list[bytes]) -> Any:
    async def gradio(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        seen.append(await request.body())
        assert int(request.headers.get("content-length", len(seen[-1]))) == len(seen[-1])
        await PlainTextResponse("Gradio")(scope, receive, send)

    return testclient.TestClient(UploadsOnlyMiddleware(gradio, uploads, 1000), raise_server_exceptions=True)


def test_gradio_gets_what_was_sanitize_json(asked: Any, seen: list[bytes], uploads: Path) -> None:
    right = f"{uploads}/{HASH}/50% ä.mp4"
    sent = f'{{"data": [1], "data": [{{"path": {json.dumps(right)}, "url": "/gradio_api/file={right}"}}, NaN], "fn_index": 0}}'
    for body in (sent, sent.encode("utf-16")):
        assert asked.post("/gradio_api/queue/join", content=body).text == "Gradio"
    assert seen[0] == seen[1] == json.dumps({"data": [{"path": right}, float("nan")], "fn_index": 0}).encode()
    assert asked.post("/gradio_api/reset").text == "Gradio"
    # Of two keys of one name the last counts, here as there.
    twice = f'{{"path": {json.dumps(right)}, "path": "/etc/passwd"}}'
    assert asked.post("/gradio_api/call/run", content=twice).status_code == 403


def test_large_and_broken_bodies_do_not_reach_gradio(asked: Any, seen: list[bytes]) -> None:
    large = b'{"data": ["' + b"a" * MAX_JSON_BYTES + b'"]}'
    chunks = iter([large[start : start + 1000] for start in range(0, len(large), 1000)])
    for body, status in ((large, 413), (chunks, 413), (b"{", 400), (b"[" * 100_000, 400), (b"\xff\xff", 400), (b"1" * 5000, 400)):
        assert asked.post("/gradio_api/call/run", content=body).status_code == status
    assert not seen


def test_a_form_is_bounded_as_a_whole(asked: Any) -> None:
    from starlette.formparsers import MultiPartException

    assert asked.post("/gradio_api/upload", content=b"a" * 1000).text == "Gradio"
    for body in (b"a" * 200_000, iter([b"a" * 60_000] * 4)):
        with pytest.raises(MultiPartException, match="maximum allowed size"):
            asked.post("/gradio_api/upload", content=body)


def test_only_known_addresses_reach_gradio(asked: Any) -> None:
    opened = (
        "/",
        "/config",
        "/theme.css",
        "/assets/index-1.js",
        "/gradio_api/info",
        "/gradio_api/call/v2/run/1",
        "/gradio_api/heartbeat/a",
    )
    for path in opened:
        assert asked.get(path).text == "Gradio", path
        assert asked.put(path).status_code == 404, path
    for path in (
        "//gradio_api/queue/join",
        "/gradio_api//queue/join",
        "/gradio_api/queue/join/x",
        "/gradio_api/call/a/b",
        "/gradio_api/new",
    ):
        assert asked.post(path, json={}).json() == {"detail": NO_ADDRESS}, path
    for path in ("/assets/..%2f..%2fa", "/gradio_api/new", "/gradio_api/upload", "/new"):
        assert asked.get(path).json() == {"detail": NO_ADDRESS}, path


def test_no_socket_is_opened(asked: Any) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), asked.websocket_connect("/gradio_api/queue/join"):
        pass


# The whole app


@pytest.fixture(scope="module")
def planted(running_app: RunningApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file outside the app's folder; beside it and among the uploads, what ``plant`` makes."""
    outside = tmp_path_factory.mktemp("outside") / "outside.mp4"
    uploads = running_app.folder / "uploads"
    plant(uploads, outside)
    yield outside
    for path in (uploads / HASH, uploads / "deep_links"):
        shutil.rmtree(path)
    for path in (uploads / HASH[::-1], uploads / "loose.mp4"):
        path.unlink()


@pytest.fixture(scope="module")
def requests(running_app: RunningApp) -> list[tuple[str, Any]]:
    """Every address that takes a component's value, with a request for it that names ``FILE``: where a file belongs and where not."""
    config = httpx.get(f"{running_app.url}config", timeout=PATIENCE_S).json()
    found: list[tuple[str, Any]] = [
        ("call/run", {"data": ["FILE", "main", [], "", None, None, None, None, None, "auto", "auto", None, 0]}),
        ("call/run", {"data": [None, "main", ["FILE"], "", None, None, None, None, None, "auto", "auto", None, 0]}),
        ("call/run/", {"data": [], "session_hash": "a", "event_data": "FILE"}),
        ("call/v2/run", {"video": "FILE"}),
        ("call/v2/run/", {"video": None, "text": {"a": ["FILE"]}}),
        ("run/run", {"data": ["FILE", "main", [], "", None, None, None, None, None, "auto", "auto", None, 0]}),
        ("api/run/", {"data": ["FILE", "main", [], "", None, None, None, None, None, "auto", "auto", None, 0], "batched": True}),
    ]
    for event in config["dependencies"]:
        values = ["FILE"] * len(event["inputs"])
        found.append(("queue/join", {"data": values or ["FILE"], "fn_index": event["id"], "session_hash": "a", "event_data": None}))
    assert len(found) > 7
    return found


def with_file(sent: Any, file: Any) -> Any:
    if sent == "FILE":
        return file
    if isinstance(sent, list):
        return [with_file(item, file) for item in sent]
    return {key: with_file(item, file) for key, item in sent.items()} if isinstance(sent, dict) else sent


def clip_of_another(running_app: RunningApp) -> Path:
    clip = running_app.folder / "runs" / ("a" * 32) / "clip.mp4"
    clip.parent.mkdir(exist_ok=True)
    clip.write_bytes(b"private")
    return clip


def contents(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def refused_everywhere(running_app: RunningApp, requests: list[tuple[str, Any]], what: str, file: Any) -> None:
    """Each request that names ``file`` gets the same sentence at once; nothing is copied; the server goes on answering."""
    before = contents(running_app.folder / "uploads")
    with httpx.Client(timeout=PATIENCE_S) as client:
        for path, sent in requests:
            body = json.dumps(with_file(sent, file)).encode()
            answer = client.post(f"{running_app.url}gradio_api/{path}", content=body, headers={"content-type": "application/json"})
            assert (answer.status_code, answer.json()) == (403, {"detail": NOT_AN_UPLOAD}), (what, path)
        assert client.get(f"{running_app.url}health").status_code == 200
    assert contents(running_app.folder / "uploads") == before


@pytest.mark.parametrize("what", [*wrong_paths(Path("uploads"), Path("outside.mp4")), "another visitor's"])
def test_foreign_paths_are_refused(what: str, running_app: RunningApp, planted: Path, requests: list[tuple[str, Any]]) -> None:
    paths = {**wrong_paths(running_app.folder / "uploads", planted), "another visitor's": str(clip_of_another(running_app))}
    refused_everywhere(running_app, requests, what, file_data(paths[what]))


@pytest.mark.parametrize("what", wrong_files("", ""))
def test_foreign_files_are_refused_in_any_shape(what: str, running_app: RunningApp, planted: Path, requests: list[tuple[str, Any]]) -> None:
    right = f"{running_app.folder}/uploads/{HASH}/50% ä.mp4"
    refused_everywhere(running_app, requests, what, wrong_files(right, str(planted))[what])


def test_a_pipe_outside_does_not_hold_up_the_server(running_app: RunningApp, planted: Path, requests: list[tuple[str, Any]]) -> None:
    pipe = planted.parent / "pipe.mp4"
    os.mkfifo(pipe)
    refused_everywhere(running_app, requests, "pipe", file_data(pipe))


def test_chunked_requests_are_checked_too(running_app: RunningApp, planted: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"data": ['
        yield json.dumps(file_data(planted)).encode() + b"]}"

    answer = httpx.post(
        f"{running_app.url}gradio_api/call/run", content=chunks(), headers={"content-type": "application/json"}, timeout=PATIENCE_S
    )
    assert (answer.status_code, answer.json()) == (403, {"detail": NOT_AN_UPLOAD})


def test_only_uploads_are_served_as_files(running_app: RunningApp, planted: Path) -> None:
    wrong = wrong_paths(running_app.folder / "uploads", planted)
    wrong.pop("half a surrogate")  # no address can hold it
    film = str(running_app.folder / "example" / "swing.mp4")  # running_app by nothing
    with httpx.Client(timeout=PATIENCE_S) as client:
        for path in (
            *wrong.values(),
            str(clip_of_another(running_app)),
            film,
            "https://example.com/",
            "http://169.254.169.254/latest/meta-data",
        ):
            # Dots are written in code, or httpx would resolve them itself.
            address = f"{running_app.url}gradio_api/file={quote(path).replace('.', '%2e')}"
            answer = client.get(address)
            assert (answer.status_code, answer.text) == (403, json.dumps({"detail": NOT_AN_UPLOAD}, separators=(",", ":"))), path
            assert client.head(address).status_code == 403, path
        right = client.get(f"{running_app.url}gradio_api/file={running_app.folder}/uploads/{HASH}/50%25 ä.mp4")
        assert (right.status_code, right.content) == (200, b"video")


SHUT = [
    ("GET", "gradio_api/proxy=http://127.0.0.1:9/a"),
    ("GET", "gradio_api/file/etc/passwd"),
    ("GET", "gradio_api/deep_link?session_hash=a"),
    ("GET", "gradio_api/custom_component/a/client/component/a.js"),
    ("GET", "gradio_api/stream/a/1/1/playlist.m3u8"),
    ("GET", "gradio_api/stream/a/1/1/a.ts"),
    ("GET", "gradio_api/stream/a/1/1/playlist-file"),
    ("GET", "gradio_api/vibe-code"),
    ("GET", "gradio_api/openapi.json"),
    ("GET", "gradio_api/dev/reload"),
    ("GET", "gradio_api/runs"),
    ("GET", "gradio_api/mcp/"),
    ("GET", "gradio_api/queue/status"),
    ("GET", "gradio_api/token"),
    ("GET", "gradio_api/user"),
    ("GET", "openapi.json"),
    ("GET", "monitoring"),
    ("GET", "monitoring/summary"),
    ("GET", "monitoring/a"),
    ("GET", "pwa_icon/100000"),
    ("GET", "logout"),
    ("POST", "login"),
    ("POST", "gradio_api/component_server"),
    ("POST", "gradio_api/component_server/"),
    ("POST", "gradio_api/process_recording"),
    ("POST", "gradio_api/stream/a"),
    ("POST", "gradio_api/stream/a/close"),
    ("POST", "gradio_api/vibe-edit"),
    ("POST", "gradio_api/vibe-code/"),
    ("POST", "gradio_api/undo-vibe-edit"),
    ("POST", "gradio_api/vibe-starter-queries"),
    ("POST", "gradio_api/run-history/connect"),
    ("POST", "gradio_api/mcp/messages/"),
]


@pytest.mark.parametrize(("method", "path"), SHUT)
def test_addresses_that_nobody_needs_are_shut(method: str, path: str, running_app: RunningApp) -> None:
    answer = httpx.request(method, running_app.url + path, json={} if method == "POST" else None, timeout=PATIENCE_S)
    assert (answer.status_code, answer.json()) == (404, {"detail": NO_ADDRESS})


def test_an_upload_comes_through_to_us(running_app: RunningApp) -> None:
    with httpx.Client(timeout=PATIENCE_S) as client:
        uploaded = client.post(f"{running_app.url}gradio_api/upload", files={"files": ("ä #1.mp4", b"not a video")})
        (path,) = uploaded.json()
        for url in (None, f"{running_app.url}gradio_api/file={path}"):
            begun = client.post(f"{running_app.url}gradio_api/call/run", json={"data": [file_data(path, url=url, size=11)]})
            assert begun.status_code == 200, begun.text
        begun = client.post(f"{running_app.url}gradio_api/call/v2/run", json={"video": file_data(path)})
        with client.stream("GET", f"{running_app.url}gradio_api/call/run/{begun.json()['event_id']}", timeout=120) as answer:
            assert "holds text, not a video" in "".join(answer.iter_text())


def test_an_upload_larger_than_a_clip_may_be_is_deleted(running_app: RunningApp) -> None:
    before = contents(running_app.folder / "uploads")
    files = [("files", (f"{number}.mp4", b"a" * 1_000_000)) for number in range(5)]
    answer = httpx.post(f"{running_app.url}gradio_api/upload", files=files, timeout=PATIENCE_S)
    assert answer.status_code == 413
    assert contents(running_app.folder / "uploads") == before


def test_only_the_video_takes_a_file(running_app: RunningApp) -> None:
    """The components whose values events take: none but those of the endpoint for programs, as the page has addresses of its own."""
    config = httpx.get(f"{running_app.url}config", timeout=PATIENCE_S).json()
    kinds = {component["id"]: component["type"] for component in config["components"]}
    taken = {kinds[number] for event in config["dependencies"] for number in event["inputs"]}
    assert taken <= {"api"}


@pytest.mark.slow  # the app starts the process that computes
def test_gradio_itself_refuses_foreign_paths(lite_models: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second lock without the first one: an event of Gradio as it runs behind the middleware."""
    pytest.importorskip("gradio", reason="the app's extra is not installed")
    from gradio.exceptions import InvalidPathError
    from starlette.routing import Mount

    from body4d.app.server import build
    from body4d.config import AppSettings, Settings

    for variable in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(variable, os.environ.get(variable, ""))  # build sets them: back as they were afterwards
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"private")
    app, service = build(Settings(preset="lite", app=AppSettings(folder=str(tmp_path / "root"))), {})
    try:
        server: Any = app
        gradio: Any = next(route.app for route in server.routes if isinstance(route, Mount) and route.path == "")
        blocks = gradio.get_blocks()
        event = next(event for event in blocks.fns.values() if event.api_name == "run")
        sent = [file_data(outside), "main", [], "", None, None, None, None, None, "auto", "auto", None, 0]
        with pytest.raises(InvalidPathError, match="was not uploaded"):
            asyncio.run(blocks.process_api(event, sent, event_id="a"))
        assert not list(tmp_path.glob("root/uploads/*/outside.mp4"))
    finally:
        service.close()
