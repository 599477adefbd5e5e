"""Whether a gated repository may be fetched, and if not, why: decided from what the Hub answers, worded with the page to open.

The Hub's answers to a request for a gated file, as others recorded them with accounts in every state (October 2026):

- no token: 401, X-Error-Code GatedRepo;
- access not requested, pending, rejected, reset: 403 GatedRepo, which only X-Error-Message tells apart;
- a fine-grained token without the right to gated repositories: 403 without a code, "enable access to public gated repositories";
- a wrong, revoked or expired token: 401 without GatedRepo. A repository that does not exist answers the same, so ``whoami`` is asked then.

The metadata of a gated repository is public, so a file is requested and never the model's page.
"""

from dataclasses import dataclass
from typing import Any, Literal

from body4d.checkpoints.hub_client import Hub, HubResponse, request
from body4d.checkpoints.registry import REQUESTS_PAGE, TOKENS_PAGE, CheckpointSource, PackageSource
from body4d.core.errors import WeightsError

AccessState = Literal[
    "open", "granted", "no_token", "invalid_token", "not_requested", "pending", "rejected", "reset", "token_lacks_gated",
    "no_repository", "busy", "offline", "unreachable", "refused",
]  # fmt: skip

_GATE_MESSAGES: tuple[tuple[str, AccessState], ...] = (
    ("awaiting a review", "pending"),
    ("has been rejected", "rejected"),
    ("has been reset", "reset"),
    ("not in the authorized list", "not_requested"),
)
"""Words of X-Error-Message, the only thing in which the Hub's 403 answers differ."""

GATE_CODES = frozenset(
    f"access_{state}"
    for state in ("no_token", "invalid_token", "not_requested", "pending", "rejected", "reset", "token_lacks_gated", "refused")
)
"""Codes of the errors that a gate causes, or the lack of a token that opens it."""


@dataclass(frozen=True)
class SourceAccess:
    """Whether this machine may fetch a source. ``message`` says what prevents it and ``hint`` what to do, both empty where nothing does;
    ``page`` is the page to open."""

    source: CheckpointSource | PackageSource
    state: AccessState
    message: str = ""
    hint: str = ""
    page: str = ""

    @property
    def granted(self) -> bool:
        """Whether its files would be served."""
        return self.state in ("open", "granted")

    def error(self) -> WeightsError:
        """The error for a source that may not be fetched; its code is ``access_`` and the state."""
        return WeightsError(self.message, code=f"access_{self.state}", hint=self.hint, repository=self.source.repo, page=self.page)


def check_access(source: CheckpointSource | PackageSource, hub: Hub) -> SourceAccess:
    """Ask the Hub whether ``source`` may be fetched. Never raises for what it answers; nothing is asked about a source without a gate."""
    if isinstance(source, PackageSource) or not source.gated:
        return SourceAccess(source, "open")
    if not hub.token:
        return describe_access(source, "no_token", hub)
    if hub.usable_token is None:
        return describe_access(source, "invalid_token", hub)
    # Licences and readmes are served to everybody, so a weights file is requested.
    name = source.files[0].path if source.files else ".gitattributes"
    response = request(hub, f"/{source.repo}/resolve/{source.revision or 'main'}/{name}", method="HEAD")
    state = classify_response(response)
    if state is None:
        state = classify_response(response, request(hub, "/api/whoami-v2")) or "refused"
    return describe_access(source, state, hub, response)


def classify_response(response: HubResponse, whoami: HubResponse | None = None) -> AccessState | None:
    """What the answer to a request for a gated file, made with a token, means; None where only ``whoami`` can tell."""
    status, message = response.status, response.message.lower()
    if response.ok or response.code in ("EntryNotFound", "RevisionNotFound"):
        return "granted"  # the gate comes before the file is searched for
    if status == 0:
        return "offline" if response.code == "OfflineModeIsEnabled" else "unreachable"
    if status == 429:
        return "busy"
    if status >= 500:
        return "unreachable"
    if status == 404 or response.code == "RepoNotFound":
        return "no_repository"
    if "fine-grained" in message or "public gated repositories" in message:
        return "token_lacks_gated"
    if status == 403:
        for words, state in _GATE_MESSAGES:
            if words in message:
                return state
        if whoami is None:
            return None
        return "token_lacks_gated" if _lacks_gated(whoami.body) else "not_requested" if response.code == "GatedRepo" else "refused"
    if status == 401:
        if "invalid credentials" in message or "expired" in message or response.code == "GatedRepo":
            return "invalid_token"
        if whoami is None:
            return None
        return "invalid_token" if whoami.status == 401 else "no_repository" if whoami.ok else "refused"
    return "refused"


def describe_access(source: CheckpointSource, state: AccessState, hub: Hub, response: HubResponse | None = None) -> SourceAccess:
    """An access state in words."""
    repo, page, token = source.repo, source.page, hub.token_origin or "the token"
    status = response.status if response else 0
    said = f" (it said: {response.message.rstrip('.')})" if response and response.message else ""
    log_in = "log in with `hf auth login`, or set HF_TOKEN to it."
    words: dict[AccessState, tuple[str, str, str]] = {
        "open": ("", "", ""),
        "granted": ("", "", ""),
        "no_token": (
            f"{repo} is behind a gate and there is no Hugging Face token here.",
            f"Ask for access on {page}, make a token of type Read on {TOKENS_PAGE}, and {log_in}",
            page,
        ),
        "invalid_token": (
            f"The Hub does not know {token} (mistyped, revoked or expired).",
            f"Make a new one on {TOKENS_PAGE}, and {log_in}",
            TOKENS_PAGE,
        ),
        "not_requested": (
            f"The account of {token} has not asked for access to {repo}.",
            f"Open {page}, accept the terms and send the form.",
            page,
        ),
        "pending": (
            f"The request for {repo} waits for its publisher, which takes hours to weeks.",
            f"{REQUESTS_PAGE} shows how it stands; nothing here needs to be changed once it is accepted.",
            REQUESTS_PAGE,
        ),
        "rejected": (
            f"The publisher rejected the request for {repo}, and the Hub takes no second one.",
            f"{page} may say why. Use another source of the model where `body4d weights status` names one, or your own files.",
            page,
        ),
        "reset": (
            f"The publisher took back its decision on {repo} and lets you ask again.",
            f"Open {page} and send the form once more.",
            page,
        ),
        "token_lacks_gated": (
            f"{token[0].upper()}{token[1:]} is a fine-grained one without the right to gated repositories.",
            f"Tick 'Read access to contents of all public gated repos you can access' on {TOKENS_PAGE}, or make a token of type Read.",
            TOKENS_PAGE,
        ),
        "no_repository": (f"{repo} is not on {hub.name}, or is private.", f"See {page}, or give your own files with --weights.", page),
        "busy": (f"{hub.name} asks to wait before the next request (status 429).", "Try again in some minutes.", ""),
        "offline": ("HF_HUB_OFFLINE is set, so the Hub is not asked.", "Unset it to fetch, or copy the files by hand.", ""),
        "unreachable": (
            f"{hub.name} cannot be reached{f' (it answered with status {status})' if status else ''}.",
            "Check the network, proxy settings and HF_ENDPOINT, or copy the files by hand.",
            "",
        ),
        "refused": (f"{hub.name} refuses {repo} with status {status}{said}.", f"Open {page} with the account of {token}.", page),
    }
    return SourceAccess(source, state, *words[state])


def _lacks_gated(body: Any) -> bool:
    """Whether ``whoami`` describes a fine-grained token without the right to gated repositories."""
    try:
        return body["auth"]["accessToken"]["fineGrained"]["canReadGatedRepos"] is False
    except (KeyError, TypeError):
        return False
