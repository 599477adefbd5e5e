"""A stand-in for the Hugging Face Hub on this machine's loopback: the answers, headers and gates of the real one, and its failures.

What it answers was recorded from the real Hub by others (October 2026; ``checkpoints/gated_access.py`` lists gates and messages).
Large files are served as the Hub does: a redirect with X-Linked-Size and X-Linked-ETag to another machine (here: another port), which
must never see the token. There is no Xet: no answer names it, so clients take plain HTTP.

    with HubStandIn() as hub:
        hub.add(Repo("facebook/sam3", {"config.json": b"{}"}, gated="manual"))
        hub.accounts["hf_secret"] = Account("ada", access={"facebook/sam3": "pending"})
        ...  # HF_ENDPOINT=hub.url

Failures: ``hub.cut["model.ckpt"] = [1000]`` closes the connection after 1,000 bytes, once for each number; ``hub.statuses[path]`` answers
these first; ``hub.served[path]`` serves other bytes than listed; ``hub.ranges = False`` ignores the header Range. ``hub.log`` keeps every
request. More endpoints: ``hub.route("POST", r"/api/repos/create", handler)``, where a handler takes a ``Request`` and gives a
``Reply``; routes added later are tried first.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
OPEN_FILES = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt")
"""What a gated repository serves to everybody."""

GATE = {
    "anonymous": "Access to model {id} is restricted. You must have access to it and be authenticated to access it. Please log in.",
    "none": "Access to model {id} is restricted and you are not in the authorized list. "
    "Visit https://huggingface.co/{id} to ask for access.",
    "pending": "Your request to access model {id} is awaiting a review from the repo authors.",
    "rejected": "Your request to access model {id} has been rejected by the repo's authors.",
    "reset": "Your request to access model {id} has been reset by the repo's authors. "
    "Visit https://huggingface.co/{id} to submit a new request.",
}
FINE_GRAINED = "Please enable access to public gated repositories in your fine-grained token settings to view this repository."
BAD_TOKEN = "Invalid credentials in Authorization header"
NOBODY = "Invalid username or password."


@dataclass
class Repo:
    """A model repository at one commit: ``files`` by path."""

    id: str
    files: dict[str, bytes]
    gated: Literal[False, "auto", "manual"] = False
    commit: str = "c" * 40


@dataclass
class Account:
    """Whose token it is: what became of their requests by repository, and the token's own rights."""

    name: str
    access: dict[str, str] = field(default_factory=dict)
    fine_grained: bool = False
    reads_gated: bool = True


@dataclass
class Request:
    """A request as it came. ``found`` are the groups of the route's pattern."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    found: dict[str, str] = field(default_factory=dict)

    @property
    def token(self) -> str | None:
        """The bearer's token, if one came."""
        said = self.headers.get("authorization", "")
        return said.removeprefix("Bearer ") if said.startswith("Bearer ") else None


@dataclass
class Reply:
    """An answer. ``cut_after`` closes the connection after that many bytes of the body; ``hold_s`` keeps it open for so long after them."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    hold_s: float = 0.0

    @property
    def content(self) -> bytes:
        """The body in bytes; anything but bytes is JSON."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Handler = Callable[[Request], Reply]


class HubStandIn:
    """Two servers: the Hub (``url``) and where it sends for large files (``cdn_url``)."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.accounts: dict[str, Account] = {}
        self.log: list[Request] = []
        self.cdn_log: list[Request] = []
        self.cut: dict[str, list[int]] = {}
        self.statuses: dict[str, list[int]] = {}
        self.served: dict[str, bytes] = {}
        self.ranges = True
        self._lock = threading.Lock()
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []
        repo = r"(?P<repo>[^/]+/[^/]+)"
        self.route("GET", rf"/api/models/{repo}(/revision/(?P<rev>[^/]+))?", self._info)
        self.route("GET", rf"/api/models/{repo}/tree/(?P<rev>[^/]+)", self._tree)
        self.route("GET", rf"/api/models/{repo}/auth-check", self._auth_check)
        self.route("GET", "/api/whoami-v2", self._whoami)
        self.route("GET|HEAD", rf"/{repo}/resolve/(?P<rev>[^/]+)/(?P<file>.+)", self._resolve)
        self._hub, self._cdn = _serve(self._answer), _serve(self._blob)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._hub.server_address[1]}"

    @property
    def cdn_url(self) -> str:
        return f"http://127.0.0.1:{self._cdn.server_address[1]}"

    def __enter__(self) -> "HubStandIn":
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._hub, self._cdn):
            server.shutdown()
            server.server_close()

    def add(self, repo: Repo) -> Repo:
        """Publish a repository."""
        self.repos[repo.id] = repo
        return repo

    def route(self, methods: str, pattern: str, handler: Handler) -> None:
        """Answer ``methods`` (``GET|HEAD``) at paths that match ``pattern`` with ``handler``."""
        self._routes.insert(0, (methods, re.compile(pattern), handler))

    def requests_for(self, word: str) -> list[Request]:
        """Requests to either server whose path holds ``word``."""
        return [request for request in (*self.log, *self.cdn_log) if word in request.path]

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            self.log.append(request)
            if status := self._next(self.statuses, request.path):
                return Reply(status, {"error": "Internal Error - We're working hard to fix this as soon as possible!"})
        for methods, pattern, handler in self._routes:
            match = pattern.fullmatch(request.path)
            if match and request.method in methods.split("|"):
                request.found = {name: text for name, text in match.groupdict().items() if text}
                return handler(request)
        return error(404, "", "Sorry, we can't find the page you are looking for.")

    def _next(self, table: dict[str, list[int]], path: str) -> int | None:
        for word, left in table.items():
            if word in path and left:
                return left.pop(0)
        return None

    def _account(self, request: Request) -> Account | Reply | None:
        """Whose request it is; a Reply where the token is no token."""
        if request.token is None:
            return None
        return self.accounts.get(request.token) or error(401, "", BAD_TOKEN)

    def _gate(self, repo: Repo, request: Request, path: str = "") -> Reply | None:
        """What keeps ``request`` from a repository's files, if anything."""
        account = self._account(request)
        if isinstance(account, Reply):
            return account
        if not repo.gated or path in OPEN_FILES:
            return None
        if account is None:
            return error(401, "GatedRepo", GATE["anonymous"].format(id=repo.id))
        if account.fine_grained and not account.reads_gated:
            return error(403, "", FINE_GRAINED)
        state = account.access.get(repo.id, "none")
        return None if state == "accepted" else error(403, "GatedRepo", GATE[state].format(id=repo.id))

    def _repo(self, request: Request) -> Repo | Reply:
        """The repository asked for at a revision that exists."""
        account = self._account(request)
        repo = self.repos.get(request.found["repo"])
        if isinstance(account, Reply):
            return account
        if repo is None:
            return error(401, "", NOBODY) if account is None else error(404, "RepoNotFound", "Repository not found")
        if request.found.get("rev", "main") not in ("main", repo.commit):
            return error(404, "RevisionNotFound", f"Invalid rev id: {request.found['rev']}")
        return repo

    def _info(self, request: Request) -> Reply:
        repo = self._repo(request)
        if isinstance(repo, Reply):
            return repo
        listed = [_sibling(repo, path, hidden=self._gate(repo, request) is not None) for path in sorted(repo.files)]
        return Reply(200, {"_id": "0", "id": repo.id, "modelId": repo.id, "sha": repo.commit, "private": False, "gated": repo.gated,
                           "downloads": 0, "likes": 0, "tags": [], "siblings": listed})  # fmt: skip

    def _tree(self, request: Request) -> Reply:
        repo = self._repo(request)
        if isinstance(repo, Reply):
            return repo
        hidden = self._gate(repo, request) is not None
        rows = (_sibling(repo, path, hidden=hidden) | {"path": path, "type": "file"} for path in sorted(repo.files))
        lfs = (
            {**row, "oid": row["blobId"], **({"lfs": row["lfs"] | {"oid": row["lfs"]["sha256"]}} if "lfs" in row else {})} for row in rows
        )
        return Reply(200, list(lfs))

    def _auth_check(self, request: Request) -> Reply:
        repo = self._repo(request)
        return repo if isinstance(repo, Reply) else self._gate(repo, request) or Reply(200, b"OK")

    def _whoami(self, request: Request) -> Reply:
        account = self._account(request)
        if account is None:
            return error(401, "", NOBODY)
        if isinstance(account, Reply):
            return account
        token: dict[str, Any] = {"displayName": "test", "role": "fineGrained" if account.fine_grained else "read"}
        if account.fine_grained:
            token["fineGrained"] = {"canReadGatedRepos": account.reads_gated, "global": [], "scoped": []}
        return Reply(200, {"type": "user", "name": account.name, "auth": {"type": "access_token", "accessToken": token}})

    def _resolve(self, request: Request) -> Reply:
        repo, path = self.repos.get(request.found["repo"]), unquote(request.found["file"])
        if repo is not None and (shut := self._gate(repo, request, path)):
            return shut  # before the revision and the file are looked for
        found = self._repo(request)
        if isinstance(found, Reply):
            return found
        if path not in found.files:
            return error(404, "EntryNotFound", "Entry not found")
        data, headers = found.files[path], {"X-Repo-Commit": found.commit, "Accept-Ranges": "bytes"}
        if path.endswith(LFS_SUFFIXES):
            sha = hashlib.sha256(data).hexdigest()
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{sha}"', "ETag": f'"{sha}"'}
            return Reply(302, b"", headers | {"Location": f"{self.cdn_url}/{found.id}/{path}?Signature=s3cret"})
        return self._bytes(request, path, data, headers | {"ETag": f'"{git_sha1(data)}"'})

    def _blob(self, request: Request) -> Reply:
        with self._lock:
            self.cdn_log.append(request)
            if status := self._next(self.statuses, f"cdn:{request.path}"):
                return Reply(status, b"<Error>slow down</Error>")
        owner, name, path = request.path.lstrip("/").split("/", 2)
        return self._bytes(request, path, self.repos[f"{owner}/{name}"].files[path], {})

    def _bytes(self, request: Request, path: str, data: bytes, headers: dict[str, str]) -> Reply:
        """A file's bytes, or those from where Range says on, or other bytes, or not all of them."""
        data, status = self.served.get(path, data), 200
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if wanted and self.ranges:
            start = int(wanted.group(1))
            if start >= len(data):
                return Reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            data, status = data[start:], 206
        with self._lock:
            cut = self._next(self.cut, path) if request.method == "GET" else None
        return Reply(status, data, headers, cut)


def error(status: int, code: str, message: str) -> Reply:
    """An error as the Hub words it: in headers, and in a JSON body."""
    headers = {"X-Error-Message": message, "X-Request-Id": "Root=1-test"} | ({"X-Error-Code": code} if code else {})
    return Reply(status, {"error": message}, headers)


def git_sha1(data: bytes) -> str:
    """The name git gives contents."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _sibling(repo: Repo, path: str, *, hidden: bool) -> dict[str, Any]:
    """A file as ``?blobs=true`` lists it; sums of large files are starred out for whoever is not let in."""
    data = repo.files[path]
    row: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": git_sha1(data)}
    if path.endswith(LFS_SUFFIXES):
        row["lfs"] = {"sha256": "*" * 64 if hidden else hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return row


def _serve(answer: Handler) -> ThreadingHTTPServer:
    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30  # nothing of a test waits longer

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): text for name, text in self.headers.items()}
            reply = answer(Request(self.command, unquote(parts.path), parse_qs(parts.query), headers, body))
            content = reply.content
            self.send_response(reply.status)
            kind = "application/octet-stream" if isinstance(reply.body, bytes) else "application/json; charset=utf-8"
            for name, text in {"Content-Type": kind, **reply.headers, "Content-Length": str(len(content) + bool(reply.hold_s))}.items():
                self.send_header(name, text)
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(content if reply.cut_after is None else content[: reply.cut_after])
            if reply.hold_s:
                self.wfile.flush()
                time.sleep(reply.hold_s)
            if reply.cut_after is not None or reply.hold_s:
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server
