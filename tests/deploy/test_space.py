"""``body4d space`` against a Hub on the loopback: what is asked, what its refusals become, and that no secret is ever shown."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parent))

from space_standin import SpacesStandIn, SpaceState

import body4d.deploy.space
from body4d import __version__
from body4d.checkpoints.hub_client import Hub
from body4d.cli.entry import app
from body4d.core.errors import SpaceError
from body4d.deploy.space import TRANSIENT_CODES, SpaceClient, refusal
from body4d.deploy.status import SpaceStatus, StartupMarker
from hub_standin import Account

CLONE = Path(__file__).parents[2]
SMALL = "the small clone"
TOKEN = "hf_writewritewritewritewrite"
NAME = "ada/body4d"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SpacesStandIn]:
    with SpacesStandIn() as standin:
        standin.accounts = {TOKEN: Account("ada"), "hf_eveeveeveeveeveeveeve": Account("eve")}
        monkeypatch.setenv("HF_ENDPOINT", standin.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setattr(body4d.deploy.space, "POLL_S", 0.01)
        monkeypatch.setattr(body4d.deploy.space, "NOTICE_S", 0)
        yield standin


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """As little of a clone as passes the checks."""
    for name in ("README.md", "Dockerfile"):
        (tmp_path / "small" / "space").mkdir(parents=True, exist_ok=True)
        shutil.copy(CLONE / "space" / name, tmp_path / "small" / "space")
    for name in ("pyproject.toml", "constraints.txt", "LICENSE", "THIRD_PARTY.md", "src/body4d/core/version.py"):
        (tmp_path / "small" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CLONE / name, tmp_path / "small" / name)
    return tmp_path / "small"


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["space", *map(str, arguments)])
    assert "writewrite" not in result.stdout + result.stderr, "the token is shown"
    return result


def ok(*arguments: object) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 10, result.output
    assert "Traceback" not in result.output
    return result.output


def test_five_commands_from_nothing_to_running(hub: SpacesStandIn) -> None:
    ok("check", "--source", CLONE)
    assert "Made" in ok("create", NAME, "--secret", "HF_TOKEN", "--bucket", "ada/data").stdout
    space = hub.spaces[NAME]
    assert (space.hardware, space.private, space.sleep) == ("l40sx1", True, 900)
    assert space.secrets == {"HF_TOKEN": TOKEN}
    assert space.volumes == [{"type": "bucket", "source": "ada/data", "mountPath": "/data"}]
    assert hub.buckets == ["ada/data"]

    space.files = {"old.py": b"x", ".gitattributes": b"*.bin filter=lfs\n"}
    space.stages = ["BUILDING", "RUNNING_APP_STARTING", "RUNNING"]
    space.logs = {"build": ["#7 RUN pip install"], "run": [StartupMarker("running", "preset sam.").as_line()]}
    said = ok("push", NAME, "--source", CLONE).stdout
    assert said.index("building") < said.index("starting") < said.index("running: It is running: preset sam")
    assert space.commits == [f"body4d {__version__}"]
    assert "old.py" not in space.files
    assert ".gitattributes" in space.files
    assert space.files["README.md"] == (CLONE / "space" / "README.md").read_bytes()
    assert space.files["Dockerfile"] == (CLONE / "space" / "Dockerfile").read_bytes()
    assert "src/body4d/deploy/page.html" in space.files
    assert not [path for path in space.files if path.startswith(("tests/", "docs/", "shared", "space/"))]
    for data in space.files.values():
        data.decode()

    assert "running" in ok("status", NAME).stdout
    assert ok("logs", NAME, "--build").stdout == "#7 RUN pip install\n"


def test_an_existing_space_is_brought_into_the_requested_state(hub: SpacesStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.spaces[NAME] = SpaceState(secrets={"HF_TOKEN": "old", "OTHER": "kept"})
    found = json.loads(ok("create", NAME, "--hardware", "a10g-large", "--secret", "HF_TOKEN", "--bucket", "ada/data", "--json").stdout)
    assert (found["new"], found["hardware"], found["secrets"]) == (False, "a10g-large", ["HF_TOKEN"])
    assert hub.spaces[NAME].secrets == {"HF_TOKEN": TOKEN, "OTHER": "kept"}
    assert hub.spaces[NAME].hardware == "a10g-large"
    assert hub.spaces[NAME].volumes[0]["mountPath"] == "/data"
    monkeypatch.setenv("READER", "hf_onlyreads")
    ok("create", NAME, "--secret", "HF_TOKEN=READER")
    assert hub.spaces[NAME].secrets["HF_TOKEN"] == "hf_onlyreads"
    ok("create", NAME, "--hardware", "cpu-basic", "--public")
    assert hub.spaces[NAME].sleep is None, "free hardware takes no sleep time"


def test_a_secret_that_is_not_in_the_shell_is_not_made(hub: SpacesStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BODY4D_PASSWORD", raising=False)
    assert "export BODY4D_PASSWORD=" in refused("create", NAME, "--secret", "BODY4D_PASSWORD")
    typed = refused("create", NAME, "--secret", "HF_TOKEN=hf_typedbymistake")
    assert "not the value itself" in typed
    assert "typedbymistake" not in typed
    assert "typedbymistake" not in refused("create", NAME, "--secret", "hf_typedbymistake")
    assert "typedbymistake" not in refused("create", NAME, "--secret", "hf_typedbymistake=HERE")
    assert "cannot be the name" in refused("create", NAME, "--secret", "A B=HF_TOKEN")
    assert not hub.spaces


def test_restart_and_its_factory(hub: SpacesStandIn) -> None:
    hub.spaces[NAME] = SpaceState(stages=["RUNNING_BUILDING", "RUNNING"])
    ok("restart", NAME, "--factory")
    ok("restart", NAME, "--no-wait")
    assert hub.spaces[NAME].restarts == [True, False]


def test_logs_as_they_come_without_tokens(hub: SpacesStandIn) -> None:
    hub.spaces[NAME] = SpaceState(logs={"run": ["  indented", f"HF_TOKEN={TOKEN}", "another hf_abcdefghijklmnop here"]})
    said = ok("logs", NAME, "--follow").stdout
    assert said.splitlines() == ["  indented", "HF_TOKEN=(token)", "another (token) here"]
    lines = [json.loads(line) for line in ok("logs", NAME, "--json").stdout.splitlines()]
    assert lines[0] == {"event": "line", "log": "run", "line": "  indented"}


def test_the_last_lines_of_a_log_then_the_prompt(hub: SpacesStandIn) -> None:
    hub.spaces[NAME] = SpaceState(logs={"run": [f"line {number}" for number in range(100)]})
    assert ok("logs", NAME, "--lines", 2).stdout.splitlines() == ["line 98", "line 99"]
    assert len(ok("logs", NAME, "--lines", 500).stdout.splitlines()) == 100
    assert len(ok("logs", NAME).stdout.splitlines()) == 100
    assert call("logs", NAME, "--lines", 0).exit_code == 2


@pytest.mark.parametrize(("options", "lines"), [((), ["one", "two", "three"]), (("--lines", 2), ["two", "three"])])
def test_a_log_is_followed_for_some_seconds(hub: SpacesStandIn, options: tuple[object, ...], lines: list[str]) -> None:
    """The Hub keeps the connection of a followed log open, here for longer than the test lasts."""
    hub.spaces[NAME] = SpaceState(logs={"run": ["one", "two", "three"]}, log_holds_s=[0, 60] if options else [60])
    start_s = time.monotonic()
    assert ok("logs", NAME, "--timeout", 2, *options).stdout.splitlines() == lines
    assert 2 <= time.monotonic() - start_s < 40


def test_following_after_the_last_lines_repeats_none_and_misses_none(hub: SpacesStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub replays a log from its beginning each time."""
    replays = [["one", "two", "three"], ["one", "two", "three", "four"]]
    space = SpaceClient(NAME, Hub(hub.url, TOKEN))
    monkeypatch.setattr(space._api, "fetch_space_logs", lambda *_, **__: iter(replays.pop(0)))
    assert list(space.log(build=False, last_lines=2, follow=True)) == ["two", "three", "four"]


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (SpaceState(stages=["BUILD_ERROR"], logs={"build": ["ERROR: No matching distribution found for torch"]}), "build failed"),
        (SpaceState(stages=["RUNTIME_ERROR"], error="Memory limit exceeded (62Gi)"), "out of memory"),
        (SpaceState(stages=["RUNTIME_ERROR"], logs={"run": ["ValueError: error at once"]}), "crashed"),
        (SpaceState(), "empty"),
    ],
)
def test_a_space_that_serves_nobody_ends_with_the_exit_code(hub: SpacesStandIn, state: SpaceState, word: str) -> None:
    hub.spaces[NAME] = state
    result = call("status", NAME, "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 10
    assert found[0]["state"] == word.replace(" ", "_")
    assert found[0]["hint"]


EVERY = [("status", NAME), ("logs", NAME), ("restart", NAME), ("push", NAME, "--source", SMALL)]


@pytest.mark.parametrize("arguments", [*EVERY, ("create", NAME)], ids=lambda words: words[0])
def test_no_token_and_a_wrong_one(hub: SpacesStandIn, small: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]) -> None:
    arguments = tuple(small if word == SMALL else word for word in arguments)
    hub.spaces[NAME] = SpaceState()
    monkeypatch.setenv("HF_TOKEN", "hf_writewritebutexpired")
    assert "does not know the token in $HF_TOKEN" in refused(*arguments)
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refused(*arguments)


@pytest.mark.parametrize("arguments", [("restart", NAME), ("push", NAME, "--source", SMALL), ("create", NAME)], ids=lambda words: words[0])
def test_another_persons_space(hub: SpacesStandIn, small: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]) -> None:
    arguments = tuple(small if word == SMALL else word for word in arguments)
    hub.spaces[NAME] = SpaceState(private=False)
    monkeypatch.setenv("HF_TOKEN", "hf_eveeveeveeveeveeveeve")
    assert "of type Write" in refused(*arguments)


@pytest.mark.parametrize("arguments", EVERY, ids=lambda words: words[0])
def test_no_such_space(hub: SpacesStandIn, small: Path, arguments: tuple[object, ...]) -> None:
    assert "`body4d space create ada/body4d`" in refused(*(small if word == SMALL else word for word in arguments))


def test_the_hub_wants_money(hub: SpacesStandIn) -> None:
    hub.pay_first = True
    said = refused("create", NAME, "--hardware", "cpu-basic")
    assert "paid" in said
    assert "PRO subscription" in said


def test_the_hub_finds_fault_with_the_head(hub: SpacesStandIn, small: Path) -> None:
    hub.spaces[NAME], hub.wrong_head = SpaceState(), '"colorFrom" must be one of [red, ...]'
    assert "colorFrom" in refused("push", NAME, "--source", small)


def test_the_hub_fails_or_cannot_be_reached(hub: SpacesStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.spaces[NAME] = SpaceState()
    hub.statuses["/runtime"] = [503]
    assert "fails (it answered 503)" in refused("status", NAME)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refused("status", NAME)


def test_a_name_that_is_none(hub: SpacesStandIn) -> None:
    assert "OWNER/NAME" in refused("status", "body4d")


def test_nothing_is_sent_where_something_is_wrong(hub: SpacesStandIn, tmp_path: Path) -> None:
    hub.spaces[NAME] = SpaceState()
    assert "not a clone of body4d" in refused("push", NAME, "--source", tmp_path)
    assert not hub.spaces[NAME].commits


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_waiting_survives_a_hub_that_is_away_for_a_while_and_ends_in_time(hub: SpacesStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body4d.deploy.space, "POLL_S", 10)
    hub.spaces[NAME] = SpaceState(stages=["BUILDING"])
    hub.statuses["/runtime"] = [502, 502]
    reported: list[SpaceStatus] = []
    clock = Clock()
    with pytest.raises(SpaceError, match="still not up after 1 minutes"):
        SpaceClient(NAME, Hub(hub.url, TOKEN)).wait(60, reported.append, clock=clock, sleep=clock.sleep)
    assert [status.state for status in reported] == ["building"], "the same status is not reported twice"


def test_the_status_before_a_push_is_not_believed(hub: SpacesStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body4d.deploy.space, "NOTICE_S", 100)
    hub.spaces[NAME] = SpaceState(stages=["RUNNING", "RUNNING", "RUNNING_BUILDING", "RUNNING"])
    reported: list[SpaceStatus] = []
    clock = Clock()
    SpaceClient(NAME, Hub(hub.url, TOKEN)).wait(3600, reported.append, changed=True, clock=clock, sleep=clock.sleep)
    assert [status.state for status in reported] == ["building", "running"]


@pytest.mark.parametrize(
    ("status", "answer", "code", "word"),
    [
        (401, "", "token_invalid", "does not know"),
        (402, "Payment required", "payment_required", "paid"),
        (403, "You need prepaid credits", "payment_required", "paid"),
        (403, "Forbidden", "token_lacks_rights", "of type Write"),
        (404, "", "space_not_found", "no Space"),
        (429, "", "hub_busy", "wait"),
        (500, "", "hub_failed", "fails"),
        (418, "I am hf_abcdefghijkl a teapot", "hub_refused", "(token)"),
    ],
)
def test_a_refusal_as_data_and_in_words(status: int, answer: str, code: str, word: str) -> None:
    error = refusal(status, "restart it", NAME, Hub("https://huggingface.co", TOKEN, "the token in $HF_TOKEN"), answer)
    assert (error.code, error.facts) == (code, {"status": status})
    assert (error.code in TRANSIENT_CODES) == (status in (429, 500)), "these alone are asked again"
    assert word in str(error)
    assert str(error).endswith(".")
    assert "hf_" not in str(error)
