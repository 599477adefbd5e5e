"""What a Space is sent, and whether it may be sent.

The bundle is the content of ``space/`` at the root, and of the package what the Dockerfile copies. The package goes as source, not as a
wheel: a wheel is a binary, and text can be read, compared and reviewed on the Hub.
"""

import os
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from body4d.core.errors import SpaceError

SPACE_FOLDER = "space"
"""The folder of a clone that holds the Space's own files."""

PACKAGE_FILES = ("pyproject.toml", "constraints.txt", "LICENSE", "THIRD_PARTY.md", "src")
"""What else of a clone is sent; README.md is the Space's own."""

MAX_FILE_MB, MAX_BUNDLE_MB = 1.0, 20.0
"""Sources are far smaller; what is larger is data, and is fetched at the start."""

PORT, USER = 7860, 1000
"""Where HuggingFace expects a Space's page, and the user that it runs containers as."""

MIN_SECRET_LETTERS = 8
"""A secret of this machine that is as short as a word would be found in any text."""

SECRET_PATTERNS = {
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a Google key": r"\bAIza[0-9A-Za-z_-]{35}",
    "a Slack token": r"\bxox[abposr]-[0-9A-Za-z-]{10,}",
    "an API key": r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a password in an address": r"\bhttps?://[^\s/:@]+:[^\s/:@{}$]+@",
}
_SECRET_FILES = re.compile(r"(^|/)(\.env(\..*)?|\.netrc|\.pypirc|id_(rsa|ed25519|ecdsa)|.*\.(pem|p12|pfx))$")
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_IGNORED = ("__pycache__", ".egg-info", ".DS_Store")


@dataclass(frozen=True)
class BundleFile:
    """A file as it is sent: its ``path`` in the Space and its content; of a link, the target instead."""

    path: str
    data: bytes
    is_link: bool = False


@dataclass(frozen=True)
class BundleProblem:
    """Something that must not be sent, or does not match: where, what is wrong and what to do, as one sentence."""

    path: str
    message: str


def read_bundle(clone: Path) -> tuple[BundleFile, ...]:
    """Every file of the bundle, by path. Raises SpaceError where ``clone`` is not a folder with body4d's sources, or is unreadable."""
    own = clone / SPACE_FOLDER
    if not (own / "Dockerfile").is_file() or not (clone / "src" / "body4d").is_dir():
        raise SpaceError(
            f"{clone.absolute()} is not a clone of body4d (it lacks {SPACE_FOLDER}/Dockerfile or src/body4d).",
            code="not_a_clone",
            hint="Clone the repository, and run this command inside, or name the clone with --source.",
            path=str(clone),
        )
    tracked = _tracked(clone)
    files = {}
    for place in (*(clone / name for name in PACKAGE_FILES), own):
        for file in [place] if place.is_file() or place.is_symlink() else sorted(place.rglob("*")):
            path = file.relative_to(own if place == own else clone).as_posix()
            is_file = file.is_symlink() or file.is_file()
            is_sent = tracked is None or file.relative_to(clone).as_posix() in tracked
            if is_file and is_sent and not any(part.endswith(_IGNORED) for part in path.split("/")):
                files[path] = _read_file(file, path)
    return tuple(files[path] for path in sorted(files))


def _read_file(file: Path, path: str) -> BundleFile:
    if file.is_symlink():
        return BundleFile(path, os.readlink(file).encode(), is_link=True)  # Not followed: it may lead out of the clone.
    try:
        return BundleFile(path, file.read_bytes())
    except OSError as error:
        message = f"{file} cannot be read ({error.strerror}), so it cannot be sent."
        raise SpaceError(message, code="bundle_file_unreadable", hint="Change its rights.", path=str(file)) from error


def _tracked(clone: Path) -> frozenset[str] | None:
    """Files that git tracks, or would if all were added: what .gitignore names is not sent. None where the clone has no git."""
    command = ["git", "-C", str(clone), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return frozenset(listed.stdout.decode(errors="surrogateescape").split("\0")) - {""}


def check_bundle(files: tuple[BundleFile, ...], own_secrets: Iterable[str] = ()) -> tuple[BundleProblem, ...]:
    """Every problem of a bundle. ``own_secrets`` are tokens of this machine, which must not be in it whatever they look like. Pure."""
    texts: dict[str, str] = {}
    problems: list[BundleProblem] = []
    secrets = [secret for secret in own_secrets if len(secret) >= MIN_SECRET_LETTERS]
    for file in files:
        messages = list(_file_problems(file))
        if not messages:
            texts[file.path] = file.data.decode()
            messages = list(_secret_problems(file.path, texts[file.path], secrets))
        problems += [BundleProblem(file.path, message) for message in messages]
    total_mb = sum(len(file.data) for file in files) / 1e6
    if total_mb > MAX_BUNDLE_MB:
        message = f"The bundle has {total_mb:.1f} MB, and at most {MAX_BUNDLE_MB:g} may be sent: leave out what is large."
        problems.append(BundleProblem("", message))
    return (*problems, *_mismatches(texts))


def _file_problems(file: BundleFile) -> Iterator[str]:
    size_mb = len(file.data) / 1e6
    if file.is_link:
        yield f"{file.path} is a link, which leads nowhere in a Space: put the file itself there."
        return
    if size_mb > MAX_FILE_MB:
        yield f"{file.path} has {size_mb:.1f} MB, and at most {MAX_FILE_MB:g} may be sent: fetch it at the start."
    if not is_text(file.data):
        yield f"{file.path} is not text, and only text is sent: fetch it at the start, or make it there."
    if _SECRET_FILES.search(file.path):
        yield f"{file.path} is a file for secrets: take it out, and set them with `body4d space create --secret NAME`."


def is_text(data: bytes) -> bool:
    """Whether bytes are UTF-8 text without control characters that no text has."""
    try:
        return not _NO_TEXT.search(data.decode())
    except UnicodeDecodeError:
        return False


def _secret_problems(path: str, text: str, own_secrets: list[str]) -> Iterator[str]:
    """Sentences that name the kind of secret and its line, never the secret."""
    for number, line in enumerate(text.splitlines(), 1):
        kind = next((kind for kind, pattern in SECRET_PATTERNS.items() if re.search(pattern, line)), None)
        if any(secret in line for secret in own_secrets):
            kind = "a token of this machine"
        if kind:
            yield f"{path}, line {number}, holds {kind}: take it out, revoke it if it was ever sent, and use --secret instead."


def _mismatches(texts: dict[str, str]) -> Iterator[BundleProblem]:
    """Where README, Dockerfile and constraints do not say what the package says."""
    needed = ("README.md", "Dockerfile", "pyproject.toml", "constraints.txt", "src/body4d/core/version.py")
    missing = [path for path in needed if path not in texts]
    if missing:
        yield from (BundleProblem(path, f"{path} is not among what is sent: is the clone complete?") for path in missing)
        return
    try:
        project = tomllib.loads(texts["pyproject.toml"])["project"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        yield BundleProblem("pyproject.toml", f"pyproject.toml cannot be read ({error}): mend it.")
        return
    version = re.search(r'^__version__ = "([^"]+)"', texts["src/body4d/core/version.py"], re.MULTILINE)
    for path, messages in (
        ("README.md", _header_mismatches(texts["README.md"], str(project.get("license", "")).lower())),
        ("Dockerfile", _dockerfile_mismatches(texts, version[1] if version else "")),
        ("constraints.txt", _unpinned(texts["constraints.txt"], project)),
    ):
        yield from (BundleProblem(path, message) for message in messages)


def readme_header(readme: str) -> dict[str, Any] | None:
    """The YAML header of a README; None where it is missing or cannot be read."""
    match = re.match(r"---\n(.*?)\n---\n", readme, re.DOTALL)
    try:
        header = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return None
    return header if isinstance(header, dict) else None


def _header_mismatches(readme: str, licence: str) -> Iterator[str]:
    header = readme_header(readme)
    if header is None:
        yield "README.md has no YAML header between two lines `---`: the Hub reads the Space's kind from it."
        return
    for key, value in (("sdk", "docker"), ("app_port", PORT), ("license", licence)):
        if header.get(key) != value:
            yield f"README.md says {key}: {header.get(key)}, and it must be {value}."


def dockerfile_steps(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile without heredocs, in order: keyword in capitals, and arguments on one line without comments.

    Packages that read Dockerfiles are either bindings to Docker's parser in Go or no longer maintained, and these lines suffice for ours.
    """
    code = "\n".join(line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    steps = (line.partition(" ") for line in re.sub(r"\s*\\\n", " ", code).splitlines())
    return [(keyword.upper(), arguments.strip()) for keyword, _, arguments in steps]


def _dockerfile_mismatches(texts: dict[str, str], version: str) -> Iterator[str]:
    steps = dockerfile_steps(texts["Dockerfile"])
    last = dict(steps)
    for keyword, pattern, wanted in (
        (
            "FROM",
            r"python:3\.1[1-9]\.\d.*",
            "Python's image at an exact version from 3.11 on, as python:3.11.14-slim-bookworm",
        ),
        ("LABEL", rf'.*image\.version="?{re.escape(version)}"?( .*)?', f"the package's version, {version}"),
        ("EXPOSE", rf"{PORT}(/tcp)?", f"{PORT}, where a Space's page is"),
        ("USER", rf"{USER}(:{USER})?", f"{USER}, as which a Space runs"),
        ("CMD", rf'\["body4d", "space", "start", "--port", "{PORT}"\]', f"`body4d space start --port {PORT}`, in brackets and quotes"),
    ):
        if not re.fullmatch(pattern, last.get(keyword, "")):
            yield f"Dockerfile says {keyword} {last.get(keyword, '(nothing)')}, and it must name {wanted}."
    for keyword, arguments in steps:
        for call in arguments.split("&&") if keyword == "RUN" else ():
            if "pip install" in call and "constraints.txt" not in call and not call.strip().endswith(" ."):
                yield f"Dockerfile installs without --constraint constraints.txt: {call.strip()}."
        for name in arguments.split()[:-1] if keyword in ("COPY", "ADD") and "--from=" not in arguments else ():
            path = name.removeprefix("./").rstrip("/")
            if not name.startswith("--") and path not in texts and not any(sent.startswith(f"{path}/") for sent in texts):
                yield f"Dockerfile copies {name}, which is not sent: the build would fail."


def _unpinned(constraints: str, project: dict[str, Any]) -> Iterator[str]:
    """Packages that the image installs by name and constraints.txt does not pin."""
    pinned = {_package_name(line) for line in constraints.splitlines() if "==" in line}
    extras = project.get("optional-dependencies", {})
    installed = [*project.get("dependencies", ()), *(name for extra in ("lite", "sam", "app") for name in extras.get(extra, ()))]
    for name in sorted({_package_name(requirement) for requirement in installed} - pinned):
        yield f"constraints.txt does not pin {name}, which the image installs: add it with the version tested."


def _package_name(requirement: str) -> str:
    """The name of a requirement, normalised as pip compares names."""
    match = re.match(r"[A-Za-z0-9_.-]+", requirement.strip())
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""
