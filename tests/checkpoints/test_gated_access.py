"""Each gate by its own name: from the Hub's real answers, through the stand-in, and never with the token in any word."""

import logging
from dataclasses import replace

import pytest

from body4d.checkpoints.gated_access import check_access, classify_response, describe_access
from body4d.checkpoints.hub_client import Hub, HubResponse, quiet_http_logs, redact, request
from body4d.checkpoints.registry import REQUESTS_PAGE, TOKENS_PAGE
from hub_standin import BAD_TOKEN, FINE_GRAINED, GATE, NOBODY, Account, HubStandIn, Reply, Request, error
from weights_fakes import GATED, OPEN, TOKEN

PAGE = "https://huggingface.co/maker/model"


@pytest.mark.parametrize(
    ("state", "account", "page"),
    [
        ("granted", Account("ada", {"maker/model": "accepted"}), ""),
        ("not_requested", Account("ada"), PAGE),
        ("pending", Account("ada", {"maker/model": "pending"}), REQUESTS_PAGE),
        ("rejected", Account("ada", {"maker/model": "rejected"}), PAGE),
        ("reset", Account("ada", {"maker/model": "reset"}), PAGE),
        ("token_lacks_gated", Account("ada", {"maker/model": "accepted"}, fine_grained=True, reads_gated=False), TOKENS_PAGE),
        ("granted", Account("ada", {"maker/model": "accepted"}, fine_grained=True), ""),
        ("invalid_token", None, TOKENS_PAGE),
    ],
)
def test_every_account_is_told_what_is_the_matter(standin: HubStandIn, hub: Hub, state: str, account: Account | None, page: str) -> None:
    standin.accounts = {} if account is None else {TOKEN: account}
    found = check_access(GATED, hub)
    assert (found.state, found.page) == (state, page)
    assert found.granted == (state == "granted") == (not found.message)
    assert page in found.hint or page in found.message
    assert "\n" not in found.message + found.hint
    assert TOKEN not in repr((found, hub))


def test_each_state_has_a_message_and_a_hint(hub: Hub) -> None:
    states = ("no_token", "invalid_token", "not_requested", "pending", "rejected", "reset", "token_lacks_gated", "no_repository", "busy",
              "offline", "unreachable", "refused")  # fmt: skip
    described = [describe_access(GATED, state, hub, HubResponse(403)) for state in states]  # type: ignore[arg-type]
    assert len({access.message for access in described}) == len(states)
    assert all(access.message.endswith(".") and access.hint.endswith(".") and "--" not in access.message for access in described)
    assert [access.error().code for access in described] == [f"access_{state}" for state in states]


def test_without_a_token_nobody_is_asked(standin: HubStandIn) -> None:
    found = check_access(GATED, Hub(standin.url))
    assert found.state == "no_token"
    assert PAGE in found.hint
    assert TOKENS_PAGE in found.hint
    assert check_access(OPEN, Hub(standin.url)).state == "open"
    assert not standin.log


def test_a_token_that_cannot_be_sent_is_not_sent_and_not_repeated(standin: HubStandIn) -> None:
    found = check_access(GATED, Hub(standin.url, "hf_with a space\nand more", "the token in $HF_TOKEN"))
    assert found.state == "invalid_token"
    assert "and more" not in found.message + found.hint
    assert not standin.log


def test_a_repository_that_is_gone(standin: HubStandIn, hub: Hub) -> None:
    assert check_access(replace(GATED, repo="maker/gone"), hub).state == "no_repository"


def test_nobody_at_the_address() -> None:
    found = check_access(GATED, Hub("http://127.0.0.1:9", TOKEN, timeout_s=2))
    assert found.state == "unreachable"
    assert "127.0.0.1:9" in found.message
    with_password = check_access(GATED, Hub("http://ada:s3cret@127.0.0.1:9", TOKEN, timeout_s=2))
    assert with_password.message == found.message, "an address may hold a password"


ME = HubResponse(200, body={"auth": {"accessToken": {"role": "read"}}})
NARROW = HubResponse(200, body={"auth": {"accessToken": {"role": "fineGrained", "fineGrained": {"canReadGatedRepos": False}}}})


@pytest.mark.parametrize(
    ("answer", "whoami", "state"),
    [
        (HubResponse(200), None, "granted"),
        (HubResponse(302), None, "granted"),
        (HubResponse(403, "GatedRepo", GATE["none"]), None, "not_requested"),
        (HubResponse(403, "GatedRepo", GATE["pending"]), None, "pending"),
        (HubResponse(403, "GatedRepo", GATE["rejected"]), None, "rejected"),
        (HubResponse(403, "GatedRepo", GATE["reset"]), None, "reset"),
        (HubResponse(403, "", FINE_GRAINED), None, "token_lacks_gated"),
        (HubResponse(403, "GatedRepo", "words nobody has seen"), None, None),
        (HubResponse(403, "GatedRepo", "words nobody has seen"), ME, "not_requested"),
        (HubResponse(403, "GatedRepo", "words nobody has seen"), NARROW, "token_lacks_gated"),
        (HubResponse(403, "", "words nobody has seen"), ME, "refused"),
        (HubResponse(401, "", BAD_TOKEN), None, "invalid_token"),
        (HubResponse(401, "", "User Access Token \"x\" is expired"), None, "invalid_token"),
        (HubResponse(401, "GatedRepo", GATE["anonymous"]), None, "invalid_token"),
        (HubResponse(401, "", NOBODY), None, None),
        (HubResponse(401, "", NOBODY), HubResponse(401, "", BAD_TOKEN), "invalid_token"),
        (HubResponse(401, "", NOBODY), ME, "no_repository"),
        (HubResponse(401, "", NOBODY), HubResponse(0), "refused"),
        (HubResponse(404, "RepoNotFound"), None, "no_repository"),
        (HubResponse(404), None, "no_repository"),
        (HubResponse(404, "EntryNotFound", "Entry not found"), None, "granted"),
        (HubResponse(404, "RevisionNotFound", "Invalid rev id"), None, "granted"),
        (HubResponse(429), None, "busy"),
        (HubResponse(503), None, "unreachable"),
        (HubResponse(0, "ConnectError"), None, "unreachable"),
        (HubResponse(0, "OfflineModeIsEnabled"), None, "offline"),
        (HubResponse(451), None, "refused"),
    ],
)  # fmt: skip
def test_what_an_answer_means(answer: HubResponse, whoami: HubResponse | None, state: str | None) -> None:
    assert classify_response(answer, whoami) == state


def test_whoever_repeats_a_token_is_not_repeated(standin: HubStandIn, hub: Hub) -> None:
    def parrot(sent: Request) -> Reply:
        return error(403, "", f"your {TOKEN} and hf_another1234 are no good")

    standin.route("HEAD", r"/maker/model/resolve/.*", parrot)
    found = check_access(GATED, hub)
    assert found.state == "refused"
    assert "no good" in found.message
    assert "hf_" not in found.message
    assert redact(f"a\n{TOKEN}b", hub) == "a (token)b"


def test_an_ungated_source_never_sees_the_token(standin: HubStandIn, hub: Hub) -> None:
    assert request(hub.without_token(), "/api/models/copier/repack").status == 200
    assert all(asked.token is None for asked in standin.log)


def test_quiet_lasts_until_the_last_thread_has_left(caplog: pytest.LogCaptureFixture) -> None:
    """Several files come at once; the first that is done must not let the others' signed addresses into a log."""
    library = logging.getLogger("httpx2")
    quiet = type(quiet_http_logs)()  # One of its own: a thread of another test may still be inside the common one.
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, library.name):
        first, second = quiet(), quiet()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        library.info("GET https://cdn?Signature=s3cret")
        second.__exit__(None, None, None)
        library.info("afterwards")
    assert caplog.messages == ["afterwards"]
