"""Each gate by its own name: from the Hub's real answers, through the stand-in, and never with the token in any word."""

import logging
from dataclasses import replace

import pytest

from body4d.checkpoints.gated_access import diagnose, explain, judge
from body4d.checkpoints.hub_client import Answer, Hub, ask, quiet, scrubbed
from body4d.checkpoints.sources import REQUESTS_PAGE, TOKENS_PAGE
from hub_standin import BAD_TOKEN, FINE_GRAINED, GATE, NOBODY, Account, Ask, HubStandIn, Reply, error
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
    found = diagnose(GATED, hub)
    assert (found.state, found.page) == (state, page)
    assert found.granted == (state == "granted") == (not found.sentence)
    assert page in found.sentence
    assert found.sentence.count("\n") == 0
    assert TOKEN not in repr((found, hub))


def test_sentences_differ_and_end(hub: Hub) -> None:
    states = ("no_token", "invalid_token", "not_requested", "pending", "rejected", "reset", "token_lacks_gated", "no_repository", "busy",
              "offline", "unreachable", "refused")  # fmt: skip
    said = [explain(GATED, state, hub, Answer(403)).sentence for state in states]  # type: ignore[arg-type]
    assert len(set(said)) == len(states)
    assert all((sentence.endswith(".") and sentence[0].isupper()) or sentence.startswith(("maker", "http")) for sentence in said)


def test_without_a_token_nobody_is_asked(standin: HubStandIn) -> None:
    found = diagnose(GATED, Hub(standin.url))
    assert found.state == "no_token"
    assert PAGE in found.sentence
    assert TOKENS_PAGE in found.sentence
    assert diagnose(OPEN, Hub(standin.url)).state == "open"
    assert not standin.log


def test_a_token_that_cannot_be_sent_is_not_sent_and_not_repeated(standin: HubStandIn) -> None:
    found = diagnose(GATED, Hub(standin.url, "hf_with a space\nand more", "the token in $HF_TOKEN"))
    assert found.state == "invalid_token"
    assert "and more" not in found.sentence
    assert not standin.log


def test_a_repository_that_is_gone(standin: HubStandIn, hub: Hub) -> None:
    assert diagnose(replace(GATED, repo="maker/gone"), hub).state == "no_repository"


def test_nobody_at_the_address() -> None:
    found = diagnose(GATED, Hub("http://127.0.0.1:9", TOKEN, answer_most_s=2))
    assert found.state == "unreachable"
    assert "127.0.0.1:9" in found.sentence


ME = Answer(200, body={"auth": {"accessToken": {"role": "read"}}})
NARROW = Answer(200, body={"auth": {"accessToken": {"role": "fineGrained", "fineGrained": {"canReadGatedRepos": False}}}})


@pytest.mark.parametrize(
    ("answer", "whoami", "state"),
    [
        (Answer(200), None, "granted"),
        (Answer(302), None, "granted"),
        (Answer(403, "GatedRepo", GATE["none"]), None, "not_requested"),
        (Answer(403, "GatedRepo", GATE["pending"]), None, "pending"),
        (Answer(403, "GatedRepo", GATE["rejected"]), None, "rejected"),
        (Answer(403, "GatedRepo", GATE["reset"]), None, "reset"),
        (Answer(403, "", FINE_GRAINED), None, "token_lacks_gated"),
        (Answer(403, "GatedRepo", "words nobody has seen"), None, None),
        (Answer(403, "GatedRepo", "words nobody has seen"), ME, "not_requested"),
        (Answer(403, "GatedRepo", "words nobody has seen"), NARROW, "token_lacks_gated"),
        (Answer(403, "", "words nobody has seen"), ME, "refused"),
        (Answer(401, "", BAD_TOKEN), None, "invalid_token"),
        (Answer(401, "", "User Access Token \"x\" is expired"), None, "invalid_token"),
        (Answer(401, "GatedRepo", GATE["anonymous"]), None, "invalid_token"),
        (Answer(401, "", NOBODY), None, None),
        (Answer(401, "", NOBODY), Answer(401, "", BAD_TOKEN), "invalid_token"),
        (Answer(401, "", NOBODY), ME, "no_repository"),
        (Answer(401, "", NOBODY), Answer(0), "refused"),
        (Answer(404, "RepoNotFound"), None, "no_repository"),
        (Answer(404), None, "no_repository"),
        (Answer(404, "EntryNotFound", "Entry not found"), None, "granted"),
        (Answer(404, "RevisionNotFound", "Invalid rev id"), None, "granted"),
        (Answer(429), None, "busy"),
        (Answer(503), None, "unreachable"),
        (Answer(0, "ConnectError"), None, "unreachable"),
        (Answer(0, "OfflineModeIsEnabled"), None, "offline"),
        (Answer(451), None, "refused"),
    ],
)  # fmt: skip
def test_what_an_answer_means(answer: Answer, whoami: Answer | None, state: str | None) -> None:
    assert judge(answer, whoami) == state


def test_whoever_repeats_a_token_is_not_repeated(standin: HubStandIn, hub: Hub) -> None:
    def parrot(ask: Ask) -> Reply:
        return error(403, "", f"your {TOKEN} and hf_another1234 are no good")

    standin.route("HEAD", r"/maker/model/resolve/.*", parrot)
    found = diagnose(GATED, hub)
    assert found.state == "refused"
    assert "no good" in found.sentence
    assert "hf_" not in found.sentence
    assert scrubbed(f"a\n{TOKEN}b", hub) == "a (token)b"


def test_an_ungated_source_never_sees_the_token(standin: HubStandIn, hub: Hub) -> None:
    assert ask(hub, "/api/models/copier/repack", token=False).status == 200
    assert all(asked.token is None for asked in standin.log)


def test_quiet_lasts_until_the_last_thread_has_left(caplog: pytest.LogCaptureFixture) -> None:
    """Several files come at once; the first that is done must not let the others' signed addresses into a log."""
    library = logging.getLogger("httpx2")
    with caplog.at_level(logging.DEBUG):
        first, second = quiet(), quiet()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        library.info("GET https://cdn?Signature=s3cret")
        second.__exit__(None, None, None)
        library.info("afterwards")
    assert caplog.messages == ["afterwards"]
