"""What is sent to a Space: this clone passes, and each thing that must not be sent is found."""

import runpy
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import body4d.deploy.bundle
from body4d.deploy.bundle import BundleFile, check_bundle, dockerfile_steps, is_text, read_bundle, readme_header

CLONE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle() -> tuple[BundleFile, ...]:
    return read_bundle(CLONE)


@pytest.fixture(scope="module")
def small(bundle: tuple[BundleFile, ...]) -> tuple[BundleFile, ...]:
    """As little of it as the checks need."""
    names = {"README.md", "Dockerfile", "pyproject.toml", "constraints.txt", "LICENSE", "THIRD_PARTY.md", "src/body4d/core/version.py"}
    return tuple(file for file in bundle if file.path in names)


def changed(files: tuple[BundleFile, ...], path: str, old: str, new: str) -> tuple[BundleFile, ...]:
    before = next(file for file in files if file.path == path)
    assert old in before.data.decode(), f"{path} no longer holds {old!r}"
    return tuple(replace(file, data=file.data.decode().replace(old, new).encode()) if file.path == path else file for file in files)


def problems(files: tuple[BundleFile, ...], *own_secrets: str) -> list[str]:
    return [problem.message for problem in check_bundle(files, own_secrets)]


def test_this_clone_may_be_sent(bundle: tuple[BundleFile, ...]) -> None:
    assert problems(bundle) == []
    paths = [file.path for file in bundle]
    assert {"README.md", "Dockerfile", "src/body4d/deploy/page.html", "constraints.txt"} <= set(paths)
    assert not [path for path in paths if "__pycache__" in path or path.startswith(("tests", "runs", ".git"))]
    assert paths == sorted(paths)


def test_what_git_ignores_and_links_out_of_the_clone_are_not_read(tmp_path: Path) -> None:
    """Without git everything but caches is taken; a link is kept as a link, for the check to refuse."""
    for name in ("space/Dockerfile", "src/body4d/a.py", "src/body4d/__pycache__/a.pyc", "src/body4d/secret.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "src" / "link").symlink_to("/etc/passwd")
    files = {file.path: file for file in read_bundle(tmp_path)}
    assert set(files) == {"Dockerfile", "src/body4d/a.py", "src/body4d/secret.log", "src/link"}
    assert (files["src/link"].is_link, files["src/link"].data) == (True, b"/etc/passwd")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("*.log\n")
    assert {file.path for file in read_bundle(tmp_path)} == {"Dockerfile", "src/body4d/a.py", "src/link"}


# Put together here, so that no secret scanner takes this file for a leak.
TOKENS = ["hf" + "_" + "A" * 34, "gh" + "p_" + "a" * 36, "AK" + "IA" + "A" * 16, "s" + "k-ant-" + "a" * 40, "xo" + "xb-" + "1" * 12]


@pytest.mark.parametrize("secret", [*TOKENS, "-----BEGIN " + "PRIVATE KEY-----", "https://ada:" + "secret1@host/x", "AI" + "za" + "b" * 35])
def test_secrets_are_found_and_not_repeated(small: tuple[BundleFile, ...], secret: str) -> None:
    found = problems((*small, BundleFile("src/body4d/x.py", f'a = 1\nTOKEN = "{secret}"\n'.encode())))
    assert len(found) == 1
    assert "src/body4d/x.py, line 2, holds" in found[0]
    assert secret not in found[0]


def test_a_token_of_this_machine_is_found_whatever_it_looks_like(small: tuple[BundleFile, ...]) -> None:
    assert "a token of this machine" in problems((*small, BundleFile("x.md", b"correct horse battery")), "correct horse")[0]
    assert problems((*small, BundleFile("x.md", b"the word is in")), "is") == [], "what is as short as a word is not a token"


def test_what_only_looks_like_a_secret_passes(small: tuple[BundleFile, ...]) -> None:
    text = "hf_hub_download() https://user:pass sk- https://{user}:{password}@host AKIAshort"
    assert problems((*small, BundleFile("x.py", text.encode()))) == []


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (BundleFile("a.mp4", b"\x00\x00\x00\x18ftyp"), "is not text"),
        (BundleFile("a.txt", "é".encode("latin-1")), "is not text"),
        (BundleFile("a.json", b" " * 1_100_000), "1.1 MB"),
        (BundleFile("a", b"/etc/passwd", is_link=True), "is a link"),
        (BundleFile(".env", b"A=1"), "file for secrets"),
        (BundleFile("src/id_rsa", b"x"), "file for secrets"),
    ],
)
def test_what_is_not_small_text_is_refused(small: tuple[BundleFile, ...], file: BundleFile, words: str) -> None:
    assert [words in message for message in problems((*small, file))] == [True]


def test_too_much_altogether(small: tuple[BundleFile, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body4d.deploy.bundle, "MAX_BUNDLE_MB", 0.1)
    many = tuple(BundleFile(f"{number}.txt", b"x" * 50_000) for number in range(3))
    assert "at most 0.1 may be sent" in problems((*small, *many))[0]


@pytest.mark.parametrize(
    ("path", "old", "new", "words"),
    [
        ("README.md", "sdk: docker", "sdk: gradio", "sdk: gradio"),
        ("README.md", "app_port: 7860", "app_port: 8080", "app_port: 8080"),
        ("README.md", "license: apache-2.0", "license: mit", "license: mit"),
        ("README.md", "---\ntitle", "title", "no YAML header"),
        ("README.md", "title: body4d", "title: [", "no YAML header"),
        ("Dockerfile", "python:3.11.14-slim", "python:3.11-slim", "at an exact version"),
        ("Dockerfile", "python:3.11.14-slim", "python:3.10.19-slim", "python:3.10.19"),
        ("Dockerfile", "python:3.11.14-slim-bookworm", "debian:12.5.0", "debian:12.5.0"),
        ("Dockerfile", 'image.version="', 'image.version="9', "the package's version"),
        ("Dockerfile", "EXPOSE 7860", "EXPOSE 8000", "EXPOSE 8000"),
        ("Dockerfile", "USER 1000", "USER root", "USER root"),
        ("Dockerfile", '"start", ', '"status", ', "`body4d space start --port 7860`"),
        ("Dockerfile", '"7860"]', '"8000"]', "`body4d space start --port 7860`"),
        ("Dockerfile", "--constraint constraints.txt torch", "torch", "installs without --constraint"),
        ("Dockerfile", "COPY src ./src", "COPY source ./src", "copies source"),
        ("constraints.txt", "gradio==", "gradio>=", "does not pin gradio"),
        ("constraints.txt", "accelerate==1.15.0\n", "", "does not pin accelerate"),
        ("pyproject.toml", "[project]", "[project", "cannot be read"),
        ("src/body4d/core/version.py", "__version__ = ", "__version__ = __next__ = ", "the package's version"),
    ],
)
def test_what_does_not_match_the_package(small: tuple[BundleFile, ...], path: str, old: str, new: str, words: str) -> None:
    found = problems(changed(small, path, old, new))
    assert len(found) == 1, found
    assert words in found[0]
    assert found[0].endswith(".")


def test_what_is_not_sent_cannot_be_compared(small: tuple[BundleFile, ...]) -> None:
    assert "constraints.txt is not among what is sent" in problems(tuple(file for file in small if file.path != "constraints.txt"))[0]


def test_a_dockerfile_is_read_over_comments_and_continued_lines() -> None:
    text = '# c\nfrom a\n\nRUN one \\\n  # why\n\n  && two\nENV A=1 B="two words"\n'
    assert dockerfile_steps(text) == [("FROM", "a"), ("RUN", "one && two"), ("ENV", 'A=1 B="two words"')]


@pytest.mark.parametrize(("data", "text"), [(b"", True), ("é\t\r\n\x1b[0m".encode(), True), (b"a\x00", False), (b"\xff\xfe", False)])
def test_what_is_text(data: bytes, text: bool) -> None:
    assert is_text(data) == text


def test_the_header_of_a_readme_ends_where_it_ends() -> None:
    assert readme_header("---\na: 1\n---\nb: 2\n---\n") == {"a": 1}
    assert readme_header("# no header") is None


def test_the_script_that_tries_the_dockerfile_splits_its_commands() -> None:
    """The long way is `python scripts/try_dockerfile.py FOLDER --serve`; here only that it reads what it is given."""
    script = runpy.run_path(str(CLONE / "scripts" / "try_dockerfile.py"))
    assert list(script["commands"]('a && b "c && d" && e')) == ["a", 'b "c && d"', "e"]
    assert script["assignments"]('A=1 B="2 3" C') == {"A": "1", "B": "2 3", "C": ""}
