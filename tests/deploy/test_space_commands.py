"""``body4d space`` against a Hub on the loopback: what it is asked, what its refusals become, and that no secret is ever shown."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parent))

from space_standin import SpacesStandIn, SpaceState

from body4d import __version__
from body4d.checkpoints.hub_client import Hub
from body4d.cli.entry import app
from body4d.config import SpaceSettings
from body4d.core.errors import SpaceError
from body4d.deploy.space import SpaceOnHub, sentence
from body4d.deploy.status import Condition
from body4d.deploy.waiting import wait_until_settled
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
        monkeypatch.setenv("BODY4D_SPACE__POLL_S", "0.01")
        monkeypatch.setenv("BODY4D_SPACE__NOTICE_S", "0")
        yield standin


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """As little of a clone as passes the checks."""
    for name in ("README.md", "Dockerfile"):
        (tmp_path / "small" / "space").mkdir(parents=True, exist_ok=True)
        shutil.copy(CLONE / "space" / name, tmp_path / "small" / "space")
    for name in ("pyproject.toml", "constraints.txt", "LICENSE", "THIRD_PARTY.md", "src/body4d/__init__.py"):
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
    space.logs = {"build": ["#7 RUN pip install"], "run": ["body4d-space: starting: x", "body4d-space: serving: preset sam."]}
    said = ok("push", NAME, "--source", CLONE).stdout
    assert said.index("building") < said.index("starting") < said.index("running: It is running: preset sam")
    assert space.commits == [f"body4d {__version__}"]
    assert "old.py" not in space.files
    assert ".gitattributes" in space.files
    assert space.files["README.md"] == (CLONE / "space" / "README.md").read_bytes()
    assert space.files["Dockerfile"] == (CLONE / "space" / "Dockerfile").read_bytes()
    assert "src/body4d/space/page.html" in space.files
    assert not [path for path in space.files if path.startswith(("tests/", "docs/", "shared", "space/"))]
    for data in space.files.values():
        data.decode()

    assert "running" in ok("status", NAME).stdout
    assert ok("logs", NAME, "--build").stdout == "#7 RUN pip install\n"


def test_a_space_that_is_there_is_brought_into_the_state_wished(hub: SpacesStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert hub.spaces[NAME].sleep is None, "free hardware takes no time of its own"


def test_a_secret_that_is_not_in_the_shell_is_not_made(hub: SpacesStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BODY4D_PASSWORD", raising=False)
    assert "export BODY4D_PASSWORD=" in refused("create", NAME, "--secret", "BODY4D_PASSWORD")
    typed = refused("create", NAME, "--secret", "HF_TOKEN=hf_typedbymistake")
    assert "not the value itself" in typed
    assert "typedbymistake" not in typed
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
    assert found[0]["remedy"]


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


def test_the_hub_is_not_well_or_away(hub: SpacesStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.spaces[NAME] = SpaceState()
    hub.statuses["/runtime"] = [503]
    assert "not well" in refused("status", NAME)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refused("status", NAME)


def test_a_name_that_is_none(hub: SpacesStandIn) -> None:
    assert "OWNER/NAME" in refused("status", "body4d")


def test_nothing_is_sent_where_something_is_amiss(hub: SpacesStandIn, tmp_path: Path) -> None:
    hub.spaces[NAME] = SpaceState()
    assert "no clone of body4d" in refused("push", NAME, "--source", tmp_path)
    assert not hub.spaces[NAME].commits


def test_waiting_bears_a_hub_that_is_away_for_a_while_and_ends_in_time(hub: SpacesStandIn) -> None:
    hub.spaces[NAME] = SpaceState(stages=["BUILDING"])
    hub.statuses["/runtime"] = [502, 502]
    told: list[Condition] = []
    now = [0.0]
    space = SpaceOnHub(NAME, Hub(hub.url, TOKEN))
    with pytest.raises(SpaceError, match="still not up after 1 minutes"):
        wait_until_settled(
            space,
            SpaceSettings(wait_most_s=60, poll_s=10),
            told.append,
            clock=lambda: now[0],
            sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
        )
    assert [condition.state for condition in told] == ["building"], "the same is not said twice"


def test_what_a_space_was_before_a_push_is_not_believed(hub: SpacesStandIn) -> None:
    hub.spaces[NAME] = SpaceState(stages=["RUNNING", "RUNNING", "RUNNING_BUILDING", "RUNNING"])
    told: list[Condition] = []
    now = [0.0]
    wait_until_settled(
        SpaceOnHub(NAME, Hub(hub.url, TOKEN)),
        SpaceSettings(notice_s=100, poll_s=1),
        told.append,
        changed=True,
        clock=lambda: now[0],
        sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
    )
    assert [condition.state for condition in told] == ["building", "running"]


@pytest.mark.parametrize(
    ("status", "message", "word"),
    [
        (401, "", "does not know"),
        (402, "Payment required", "paid"),
        (403, "You need prepaid credits", "paid"),
        (403, "Forbidden", "of type Write"),
        (404, "", "no Space"),
        (429, "", "wait"),
        (500, "", "not well"),
        (418, "I am hf_abcdefghijkl a teapot", "(token)"),
    ],
)
def test_refusals_in_words(status: int, message: str, word: str) -> None:
    said = sentence(status, "restart it", NAME, Hub("https://huggingface.co", TOKEN, "the token in $HF_TOKEN"), message)
    assert word in said
    assert said.endswith(".")
    assert "hf_" not in said
