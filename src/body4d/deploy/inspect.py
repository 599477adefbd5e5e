"""Whether what is to be sent may be sent: text only, small, without secrets, and a Dockerfile that matches the package. Pure."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from body4d.config import SpaceSettings
from body4d.deploy.bundle import Piece
from body4d.deploy.dockerfile import Instruction, command, instructions, last, pairs
from body4d.run.presets import LITE_PYTHONS

PORT, USER = 7860, 1000
"""Where HuggingFace expects a Space's page, and the user it runs containers as."""

SECRETS: tuple[tuple[str, str], ...] = (
    ("a Hugging Face token", r"\bhf_[A-Za-z0-9]{20,}"),
    ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    ("an AWS key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a Google key", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("a Slack token", r"\bxox[abposr]-[0-9A-Za-z-]{10,}"),
    ("an API key", r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}"),
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    ("a password in an address", r"\bhttps?://[^\s/:@]+:[^\s/:@{}$]+@"),
)
"""What secrets look like, by what they are."""

_SECRET_FILES = re.compile(r"(^|/)(\.env(\..*)?|\.netrc|\.pypirc|id_(rsa|ed25519|ecdsa)|.*\.(pem|p12|pfx))$")
_REQUIREMENT = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Fault:
    """What must not be sent, or does not match: where, what is wrong and what to do, as one sentence."""

    path: str
    said: str


def inspect(pieces: tuple[Piece, ...], settings: SpaceSettings, own_secrets: Iterable[str] = ()) -> tuple[Fault, ...]:
    """Every fault of a parcel. ``own_secrets`` are tokens of this machine, which must not be in it whatever they look like."""
    texts, faults = {}, []
    secrets = [secret for secret in own_secrets if len(secret) >= 8]
    for piece in pieces:
        found = list(_piece_faults(piece, settings))
        if not found:
            texts[piece.path] = piece.data.decode()
            found = list(_secrets_in(piece.path, texts[piece.path], secrets))
        faults += found
    total = sum(len(piece.data) for piece in pieces)
    if total > settings.sent_most_mb * 1e6:
        faults.append(
            Fault("", f"All together has {total / 1e6:.1f} MB, and {settings.sent_most_mb:g} may be sent: leave out what is large.")
        )
    return (*faults, *_matches(texts))


def _piece_faults(piece: Piece, settings: SpaceSettings) -> Iterator[Fault]:
    if piece.link:
        yield Fault(piece.path, f"{piece.path} is a link, which leads nowhere in a Space: put the file itself there.")
        return
    size = len(piece.data)
    if size > settings.file_most_mb * 1e6:
        yield Fault(piece.path, f"{piece.path} has {size / 1e6:.1f} MB, and {settings.file_most_mb:g} may be sent: fetch it at the start.")
    if not is_text(piece.data):
        yield Fault(piece.path, f"{piece.path} is no text, and only text is sent: fetch it at the start, or make it there.")
    if _SECRET_FILES.search(piece.path):
        yield Fault(piece.path, f"{piece.path} is a file for secrets: take it out, and set them with `body4d space create --secret NAME`.")


def is_text(data: bytes) -> bool:
    """Whether bytes are UTF-8 text without control letters that no text has."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return not re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]", text)


def _secrets_in(path: str, text: str, own: list[str]) -> Iterator[Fault]:
    """Faults that name what and where, and never the secret."""
    for number, line in enumerate(text.splitlines(), 1):
        kind = next((what for what, pattern in SECRETS if re.search(pattern, line)), None)
        if any(secret in line for secret in own):
            kind = "a token of this machine"
        if kind:
            yield Fault(path, f"{path}, line {number}, holds {kind}: take it out, revoke it if it was ever sent, and use --secret instead.")


def _matches(texts: dict[str, str]) -> Iterator[Fault]:
    """Whether README and Dockerfile say what the package says."""
    needed = ("README.md", "Dockerfile", "pyproject.toml", "constraints.txt", "src/body4d/__init__.py")
    lacking = [path for path in needed if path not in texts]
    if lacking:
        yield from (Fault(path, f"{path} is not among what is sent: is the clone whole?") for path in lacking)
        return
    try:
        project = tomllib.loads(texts["pyproject.toml"])["project"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        yield Fault("pyproject.toml", f"pyproject.toml cannot be read ({error}): mend it.")
        return
    yield from _head(texts["README.md"], str(project.get("license", "")))
    version = re.search(r'^__version__ = "([^"]+)"', texts["src/body4d/__init__.py"], re.MULTILINE)
    found = instructions(texts["Dockerfile"])
    yield from _dockerfile(found, version[1] if version else "", str(project.get("requires-python", "")))
    yield from _installs(found, texts["constraints.txt"], project)
    yield from _copies(found, texts)


def head_of(readme: str) -> dict[str, Any] | None:
    """The front matter of a README, None where it has none that can be read."""
    match = re.match(r"---\n(.*?)\n---\n", readme, re.DOTALL)
    try:
        head = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return None
    return head if isinstance(head, dict) else None


def _head(readme: str, licence: str) -> Iterator[Fault]:
    head = head_of(readme)
    if head is None:
        yield Fault("README.md", "README.md has no head between two lines `---` that is YAML: the Hub reads the Space's kind from it.")
        return
    for key, wanted in (("sdk", "docker"), ("app_port", PORT), ("license", licence.lower())):
        if head.get(key) != wanted:
            yield Fault("README.md", f"README.md says {key}: {head.get(key)}, and it must be {wanted}.")


def _dockerfile(found: tuple[Instruction, ...], version: str, pythons: str) -> Iterator[Fault]:
    def fault(said: str) -> Fault:
        return Fault("Dockerfile", f"Dockerfile {said}.")

    base = last(found, "FROM").split(" ")[0]
    tag = base.rpartition(":")[2] if ":" in base else ""
    if not re.search(r"\d+\.\d+\.\d+", tag) and "@sha256:" not in base:
        yield fault(f"builds on {base or 'nothing'}, which is not pinned to one version: name it as 3.11.14-slim-bookworm does")
    python = re.search(r"python:(\d+)\.(\d+)", base)
    if python and (int(python[1]), int(python[2])) not in LITE_PYTHONS:
        yield fault(f"builds on Python {python[1]}.{python[2]}, and the presets run on {_either(LITE_PYTHONS)} (requires-python {pythons})")
    if not python:
        yield fault(f"builds on {base}, whose Python is not told by its name: use python:3.11.x")
    labels: dict[str, str] = {}
    for one in found:
        labels |= pairs(one.text) if one.word == "LABEL" else {}
    told = labels.get("org.opencontainers.image.version", "")
    if told != version:
        yield fault(f"is labelled version {told or '(none)'}, and the package is {version}: change the label")
    if last(found, "EXPOSE").split("/")[0] != str(PORT):
        yield fault(f"exposes port {last(found, 'EXPOSE') or '(none)'}, and a Space's page is on {PORT}")
    if last(found, "USER") not in (str(USER), f"{USER}:{USER}"):
        yield fault(f"runs as user {last(found, 'USER') or 'root'}, and a Space runs as {USER}: end with USER {USER}")
    start = command(last(found, "CMD"))
    if start[:3] != ["body4d", "space", "start"]:
        yield fault(f"starts {' '.join(start) or 'nothing'}, and the Space is started by `body4d space start`")
    elif "--port" in start and start[start.index("--port") + 1 :][:1] != [str(PORT)]:
        yield fault(f"starts the page on another port than {PORT}")


def _installs(found: tuple[Instruction, ...], constraints: str, project: dict[str, Any]) -> Iterator[Fault]:
    """Whether every pip install is held to constraints.txt, and that names everything the image installs by name."""
    for one in found:
        for call in one.text.split("&&") if one.word == "RUN" else ():
            asks = "pip install" in call and not call.strip().endswith(" .")
            if asks and "constraints.txt" not in call:
                yield Fault("Dockerfile", f"Dockerfile, line {one.line}, installs without --constraint constraints.txt: {call.strip()}.")
    pinned = {_plain(line) for line in constraints.splitlines() if "==" in line}
    extras = project.get("optional-dependencies", {})
    wanted = [*project.get("dependencies", ()), *(name for extra in ("lite", "sam", "app") for name in extras.get(extra, ()))]
    for name in sorted({_plain(requirement) for requirement in wanted} - pinned):
        yield Fault("constraints.txt", f"constraints.txt does not pin {name}, which the image installs: add it with the version tested.")


def _copies(found: tuple[Instruction, ...], texts: dict[str, str]) -> Iterator[Fault]:
    """Whether everything the Dockerfile copies is sent."""
    for one in found:
        words = [word for word in one.text.split() if not word.startswith("--")] if one.word in ("COPY", "ADD") else []
        if "--from=" in one.text:
            continue
        for name in words[:-1]:
            plain = name.removeprefix("./").rstrip("/")
            if plain not in texts and not any(path.startswith(f"{plain}/") for path in texts):
                yield Fault("Dockerfile", f"Dockerfile, line {one.line}, copies {name}, which is not sent: the build would fail.")


def _plain(requirement: str) -> str:
    """The name of a requirement as pip compares names."""
    match = _REQUIREMENT.match(requirement.strip())
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def _either(pythons: tuple[tuple[int, int], ...]) -> str:
    return " or ".join(f"{major}.{minor}" for major, minor in pythons)
