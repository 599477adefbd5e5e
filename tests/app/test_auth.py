"""The password: one guard before everything."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from body4d.app.auth import COOKIE_NAME, PasswordGuard, credentials
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
