"""Spaces on the Hub's stand-in: creating, secrets, hardware, volumes, commits, runtime, logs and restarts, with the real addresses.

The addresses, fields and statuses are those huggingface_hub 2.4 sends and understands; error texts are worded like the Hub's.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hub_standin import BAD_TOKEN, NOBODY, Account, HubStandIn, Reply, Request, error

NO_RIGHT = "You don't have the rights to do this. Your token needs the permission to write to this repository."
PAY_FIRST = "Docker Spaces on cpu-basic require a PRO subscription. Subscribe at https://huggingface.co/pro."


@dataclass
class SpaceState:
    """A Space as the Hub keeps it. ``stages`` are answered one after the other, the last one for good.

    ``log_holds_s``: for so long the answers to the next requests for a log stay open after its last line; 0 once they are used up.
    """

    private: bool = True
    hardware: str = "cpu-basic"
    sleep: int | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    stages: list[str] = field(default_factory=lambda: ["NO_APP_FILE"])
    error: str = ""
    logs: dict[str, list[str]] = field(default_factory=dict)
    log_holds_s: list[float] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    restarts: list[bool] = field(default_factory=list)


class SpacesStandIn(HubStandIn):
    """A Hub that knows Spaces; ``accounts`` own what begins with their name."""

    def __init__(self) -> None:
        super().__init__()
        self.spaces: dict[str, SpaceState] = {}
        self.buckets: list[str] = []
        self.pay_first = False
        self.wrong_head = ""
        space = r"/api/spaces/(?P<repo>[^/]+/[^/]+)"
        self.route("POST", "/api/repos/create", self._create)
        self.route("POST", r"/api/buckets/(?P<repo>[^/]+/[^/]+)", self._bucket)
        self.route("POST", "/api/validate-yaml", self._head)
        for what in ("secrets", "hardware", "restart"):
            self.route("POST", f"{space}/{what}", self._mine(getattr(self, f"_{what}")))
        self.route("PUT", f"{space}/volumes", self._mine(self._volumes))
        self.route("GET", f"{space}/runtime", self._seen(lambda _, state: Reply(200, runtime(state))))
        self.route("GET", rf"{space}/logs/(?P<log>build|run)", self._seen(self._log))
        self.route("GET", f"{space}(/revision/main)?", self._seen(self._listed))
        self.route("GET", f"{space}/tree/main", self._seen(self._tree_of))
        self.route("POST", f"{space}/preupload/main", self._mine(self._preupload))
        self.route("POST", f"{space}/commit/main", self._mine(self._commit))

    def _who(self, request: Request) -> Account | Reply:
        if request.token is None:
            return error(401, "", NOBODY)
        return self.accounts.get(request.token) or error(401, "", BAD_TOKEN)

    def _mine(self, handler: Callable[[Request, SpaceState], Reply]) -> Callable[[Request], Reply]:
        """``handler`` for the owner alone."""

        def answer(request: Request) -> Reply:
            who, name = self._who(request), request.found["repo"]
            if isinstance(who, Reply):
                return who
            if name not in self.spaces:
                return error(404, "RepoNotFound", "Repository not found")
            return handler(request, self.spaces[name]) if name.startswith(f"{who.name}/") else error(403, "", NO_RIGHT)

        return answer

    def _seen(self, handler: Callable[[Request, SpaceState], Reply]) -> Callable[[Request], Reply]:
        """``handler`` for whoever may see the Space."""

        def answer(request: Request) -> Reply:
            who, state = self._who(request), self.spaces.get(request.found["repo"])
            if isinstance(who, Reply) and (request.token is not None or state is None or state.private):
                return who
            if state is None or (state.private and not (isinstance(who, Account) and request.found["repo"].startswith(f"{who.name}/"))):
                return error(404, "RepoNotFound", "Repository not found")
            return handler(request, state)

        return answer

    def _create(self, request: Request) -> Reply:
        who, told = self._who(request), json.loads(request.body)
        if isinstance(who, Reply):
            return who
        name = f"{told.get('organization') or who.name}/{told['name']}"
        if not name.startswith(f"{who.name}/"):
            return error(403, "", NO_RIGHT)
        if name in self.spaces:
            return error(409, "", "You already created this space repo")
        if self.pay_first or told["sdk"] != "docker":
            return error(402, "", PAY_FIRST)
        self.spaces[name] = SpaceState(
            told.get("visibility") == "private",
            told.get("hardware", "cpu-basic"),
            told.get("sleepTimeSeconds"),
            {one["key"]: one["value"] for one in told.get("secrets", ())},
            told.get("volumes", []),
        )
        return Reply(200, {"url": f"{self.url}/spaces/{name}", "name": name, "id": "0"})

    def _bucket(self, request: Request) -> Reply:
        who = self._who(request)
        if isinstance(who, Reply):
            return who
        name = request.found["repo"]
        if not name.startswith(f"{who.name}/"):
            return error(403, "", NO_RIGHT)
        if name in self.buckets:
            return error(409, "", "You already created this bucket")
        self.buckets.append(name)
        return Reply(200, {"url": f"{self.url}/buckets/{name}", "name": name, "id": name})

    def _head(self, request: Request) -> Reply:
        return Reply(400, {"errors": [{"message": self.wrong_head}], "warnings": []}) if self.wrong_head else Reply(200, {"warnings": []})

    def _secrets(self, request: Request, state: SpaceState) -> Reply:
        told = json.loads(request.body)
        state.secrets[told["key"]] = told["value"]
        return Reply(200, {})

    def _hardware(self, request: Request, state: SpaceState) -> Reply:
        told = json.loads(request.body)
        state.hardware, state.sleep = told["flavor"], told.get("sleepTimeSeconds")
        return Reply(200, runtime(state))

    def _volumes(self, request: Request, state: SpaceState) -> Reply:
        state.volumes = json.loads(request.body)["volumes"]
        return Reply(200, {})

    def _restart(self, request: Request, state: SpaceState) -> Reply:
        state.restarts.append(request.query.get("factory") == ["true"])
        return Reply(200, runtime(state))

    def _log(self, request: Request, state: SpaceState) -> Reply:
        if request.found["log"] not in state.logs:
            return error(404, "", "Failed to retrieve logs: not found")
        events = [{"data": f"{line}\n", "timestamp": "2026-11-27T00:00:00Z"} for line in state.logs[request.found["log"]]]
        body = "".join(f"data: {json.dumps(one)}\n\n" for one in events).encode()
        return Reply(200, body, {"Content-Type": "text/event-stream"}, hold_s=state.log_holds_s.pop(0) if state.log_holds_s else 0.0)

    def _listed(self, request: Request, state: SpaceState) -> Reply:
        return Reply(200, {"id": request.found["repo"], "sha": "a" * 40, "private": state.private, "tags": [],
                           "siblings": [{"rfilename": path} for path in sorted(state.files)]})  # fmt: skip

    def _tree_of(self, request: Request, state: SpaceState) -> Reply:
        return Reply(
            200, [{"type": "file", "path": path, "oid": "0" * 40, "size": len(data)} for path, data in sorted(state.files.items())]
        )

    def _preupload(self, request: Request, state: SpaceState) -> Reply:
        files = json.loads(request.body)["files"]
        return Reply(200, {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]})

    def _commit(self, request: Request, state: SpaceState) -> Reply:
        for line in request.body.splitlines():
            told = json.loads(line)
            if told["key"] == "header":
                state.commits.append(told["value"]["summary"])
            elif told["key"] == "file":
                assert told["value"]["encoding"] == "base64"
                state.files[told["value"]["path"]] = base64.b64decode(told["value"]["content"])
            elif told["key"] == "deletedFile":
                del state.files[told["value"]["path"]]
            else:
                raise AssertionError(f"only text is sent, and this is a {told['key']}")
        return Reply(200, {"commitUrl": f"{self.url}/spaces/{request.found['repo']}/commit/{'b' * 40}", "commitOid": "b" * 40})


def runtime(state: SpaceState) -> dict[str, Any]:
    """A Space's runtime as the Hub tells it."""
    stage = state.stages.pop(0) if len(state.stages) > 1 else state.stages[0]
    told: dict[str, Any] = {"stage": stage, "hardware": {"current": state.hardware, "requested": state.hardware},
                            "gcTimeout": state.sleep, "storage": None, "volumes": state.volumes}  # fmt: skip
    return told | ({"errorMessage": state.error} if state.error else {})
