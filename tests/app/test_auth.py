"""The password: one guard before everything."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from body4d.app import auth
from body4d.app.auth import COOKIE_NAME, FREE_TRIES, MAX_LOCK_S, LoginThrottle, PasswordGuard, credentials
from body4d.core.errors import SettingsError


def test_the_password_must_be_a_pair() -> None:
    assert credentials({}) is None
    assert credentials({"BODY4D_AUTH": "anna:a:b"}) == ("anna", "a:b")
    for wrong in ("anna", ":x", "anna:"):
        with pytest.raises(SettingsError) as caught:
            credentials({"BODY4D_AUTH": wrong})
        assert wrong not in str(caught.value).replace("user:password", "")


@pytest.fixture
def guarded() -> object:
    testclient = pytest.importorskip("starlette.testclient")
    inner = Starlette(
        routes=[Route(path, lambda request: PlainTextResponse("inside")) for path in ("/", "/health", "/runs/a/b", "/gradio_api/x")]
    )
    page = '<form>@problem<input name="run" value="@run"></form>'
    return testclient.TestClient(PasswordGuard(inner, "anna", "s3cret:é", page), follow_redirects=False)


def test_the_guard_lets_nobody_in_without_the_password(guarded) -> None:
    assert guarded.get("/health").text == "inside"
    for path in ("/", "/runs/a/b", "/gradio_api/x"):
        assert guarded.get(path).status_code == 401
        assert guarded.get(path, auth=("anna", "wrong")).status_code == 401
        assert guarded.get(path, cookies={COOKIE_NAME: "guessed"}).status_code == 401
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


def test_wrong_passwords_make_an_address_wait(guarded) -> None:
    wrong = {"username": "anna", "password": "no"}
    for _ in range(FREE_TRIES):
        assert guarded.post("/login", data=wrong).status_code == 401
    # Not even the right one is looked at: neither here nor by the header.
    right = {"username": "anna", "password": "s3cret:é"}
    for answer in (guarded.post("/login", data=right), guarded.get("/", auth=("anna", "s3cret:é".encode()))):
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "Too many wrong passwords" in answer.text
    assert "set-cookie" not in guarded.post("/login", data=right).headers
    assert guarded.get("/").status_code == 401  # who tries none is only asked


def test_who_is_in_stays_in_while_others_guess(guarded) -> None:
    guarded.post("/login", data={"username": "anna", "password": "s3cret:é"})
    for _ in range(FREE_TRIES + 1):
        guarded.post("/login", data={"username": "anna", "password": "no"})
    assert guarded.get("/runs/a/b").text == "inside"


def test_each_wrong_password_doubles_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    throttle = LoginThrottle(lambda: now)
    waits = []
    for _ in range(30):
        throttle.wrong("a")
        waits.append(throttle.wait_s("a"))
        now += waits[-1]
    assert waits[: FREE_TRIES + 3] == [0.0] * (FREE_TRIES - 1) + [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == MAX_LOCK_S
    assert throttle.wait_s("b") == 0
    throttle.wrong("a")
    throttle.right("a")
    assert throttle.wait_s("a") == 0
    monkeypatch.setattr(auth, "MAX_ADDRESSES", 10)
    for number in range(100):
        throttle.wrong(str(number))
    assert len(throttle._wrong) == 10
