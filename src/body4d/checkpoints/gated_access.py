"""Which gate is shut: told apart by what the Hub really answers, each with one sentence that names the page to open.

The Hub's answers to a request for a gated file, recorded by others with accounts in every state (October 2026):

- no token: 401, X-Error-Code GatedRepo;
- not requested, waiting, rejected, reset: 403 GatedRepo, told apart by X-Error-Message alone;
- a fine-grained token without the right to gated repositories: 403 without a code, "enable access to public gated repositories";
- a wrong, revoked or expired token: 401 without GatedRepo; but so is a repository that does not exist, so ``whoami`` is asked then.

The metadata of a gated repository is public, so a file is asked for, never the model's page.
"""

from dataclasses import dataclass
from typing import Any, Literal

from body4d.checkpoints.hub_client import Answer, Hub, ask
from body4d.checkpoints.sources import REQUESTS_PAGE, TOKENS_PAGE, Source

State = Literal[
    "open", "granted", "no_token", "invalid_token", "not_requested", "pending", "rejected", "reset", "token_lacks_gated",
    "no_repository", "busy", "offline", "unreachable", "refused",
]  # fmt: skip

LOG_IN = "log in with `hf auth login`, or put the token into HF_TOKEN"


@dataclass(frozen=True)
class Access:
    """Whether this machine may fetch a source. ``sentence`` says what stands in the way and what to do (empty where nothing does);
    ``page`` is the page to open."""

    source: Source
    state: State
    sentence: str = ""
    page: str = ""

    @property
    def granted(self) -> bool:
        """Whether its files would be served."""
        return self.state in ("open", "granted")


def diagnose(source: Source, hub: Hub) -> Access:
    """Ask the Hub whether ``source`` may be fetched. Never raises for what it answers; a source without a gate is not asked about."""
    if not source.gated:
        return Access(source, "open")
    if not hub.token:
        return explain(source, "no_token", hub)
    if hub.usable_token is None:
        return explain(source, "invalid_token", hub)
    answer = ask(hub, probe_path(source), method="HEAD")
    state = judge(answer, None)
    if state is None:
        state = judge(answer, ask(hub, "/api/whoami-v2")) or "refused"
    return explain(source, state, hub, answer)


def probe_path(source: Source) -> str:
    """The address of a file behind the gate. Licences and readmes are open to all and would tell nothing."""
    name = source.files[0].path if source.files else ".gitattributes"
    return f"/{source.repo}/resolve/{source.revision or 'main'}/{name}"


def judge(answer: Answer, whoami: Answer | None) -> State | None:
    """What the answer for a gated file, asked with a token, means; None where only ``whoami`` can tell and was not asked yet. Pure."""
    said = answer.message.lower()
    if answer.granted or answer.code in ("EntryNotFound", "RevisionNotFound"):
        return "granted"  # the gate comes before the file is looked for
    if answer.status == 0:
        return "offline" if answer.code == "OfflineModeIsEnabled" else "unreachable"
    if answer.status == 429:
        return "busy"
    if answer.status >= 500:
        return "unreachable"
    if answer.code == "RepoNotFound" or answer.status == 404:
        return "no_repository"
    if "fine-grained" in said or "public gated repositories" in said:
        return "token_lacks_gated"
    if answer.status == 403:
        for words, state in _GATES:
            if words in said:
                return state
        if whoami is None:
            return None
        return "token_lacks_gated" if _lacks_gated(whoami.body) else "not_requested" if answer.code == "GatedRepo" else "refused"
    if answer.status == 401:
        if "invalid credentials" in said or "expired" in said or answer.code == "GatedRepo":
            return "invalid_token"
        if whoami is None:
            return None
        return "invalid_token" if whoami.status == 401 else "no_repository" if whoami.granted else "refused"
    return "refused"


_GATES: tuple[tuple[str, State], ...] = (
    ("awaiting a review", "pending"),
    ("has been rejected", "rejected"),
    ("has been reset", "reset"),
    ("not in the authorized list", "not_requested"),
)
"""Words of X-Error-Message by which the Hub's 403s differ."""


def explain(source: Source, state: State, hub: Hub, answer: Answer | None = None) -> Access:
    """The sentence for a state."""
    repo, page, token = source.repo, source.page, hub.token_from or "the token"
    said = f" (it said: {answer.message.rstrip('.')})" if answer and answer.message else ""
    status = f"{answer.status}" if answer else ""
    sentences: dict[State, tuple[str, str]] = {
        "open": ("", ""),
        "granted": ("", ""),
        "no_token": (
            f"{repo} is behind a gate and there is no Hugging Face token here: ask for access on {page}, make a token of type Read on "
            f"{TOKENS_PAGE}, and {LOG_IN}.",
            page,
        ),
        "invalid_token": (
            f"The Hub does not know {token} (mistyped, revoked or expired): make a new one on {TOKENS_PAGE}, and {LOG_IN}.",
            TOKENS_PAGE,
        ),
        "not_requested": (
            f"The account of {token} has not asked for access to {repo}: open {page}, accept the terms and send the form.",
            page,
        ),
        "pending": (
            f"The request for {repo} waits for its publisher, which takes hours to weeks: {REQUESTS_PAGE} shows how it stands, and nothing "
            "here needs to be changed once it is accepted.",
            REQUESTS_PAGE,
        ),
        "rejected": (
            f"The publisher rejected the request for {repo}, and the Hub takes no second one: {page} may say why; use another source of "
            "the model where `body4d weights status` names one, or files you may use by a path of your own.",
            page,
        ),
        "reset": (f"The publisher took back its decision on {repo} and lets you ask again: open {page} and send the form once more.", page),
        "token_lacks_gated": (
            f"{token[0].upper()}{token[1:]} is a fine-grained one without the right to gated repositories: tick 'Read access to contents "
            f"of all public gated repos you can access' on {TOKENS_PAGE}, or make a token of type Read.",
            TOKENS_PAGE,
        ),
        "no_repository": (f"{repo} is not on {hub.endpoint}, or is private: see {page}, and give your own files with --weights.", page),
        "busy": (f"{hub.endpoint} asks to wait before the next question (429): try again in some minutes.", ""),
        "offline": ("HF_HUB_OFFLINE is set, so the Hub is not asked: unset it to fetch, or bring the files by hand.", ""),
        "unreachable": (
            f"{hub.endpoint} cannot be reached{f' (it answered {status})' if status not in ('', '0') else ''}: check the network, proxy "
            "settings and HF_ENDPOINT, or bring the files by hand.",
            "",
        ),
        "refused": (f"{hub.endpoint} refuses {repo} with status {status}{said}: open {page} with the account of {token}.", page),
    }  # fmt: skip
    sentence, where = sentences[state]
    return Access(source, state, sentence, where)


def _lacks_gated(body: Any) -> bool:
    """Whether ``whoami`` tells of a fine-grained token without the right to gated repositories."""
    try:
        return body["auth"]["accessToken"]["fineGrained"]["canReadGatedRepos"] is False
    except (KeyError, TypeError):
        return False
