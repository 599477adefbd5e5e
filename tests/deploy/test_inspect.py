"""What is sent to a Space: this clone passes, and each thing that must not be sent is found."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from body4d.config import SpaceSettings
from body4d.deploy.bundle import Piece, pack, write
from body4d.deploy.dockerfile import Instruction, command, filled, instructions, pairs
from body4d.deploy.inspect import head_of, inspect, is_text

CLONE = Path(__file__).parents[2]
SETTINGS = SpaceSettings()


@pytest.fixture(scope="module")
def parcel() -> tuple[Piece, ...]:
    return pack(CLONE)


@pytest.fixture(scope="module")
def small(parcel: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """As little of it as the checks look at."""
    names = {"README.md", "Dockerfile", "pyproject.toml", "constraints.txt", "LICENSE", "THIRD_PARTY.md", "src/body4d/__init__.py"}
    return tuple(piece for piece in parcel if piece.path in names)


def changed(parcel: tuple[Piece, ...], path: str, old: str, new: str) -> tuple[Piece, ...]:
    before = next(piece for piece in parcel if piece.path == path)
    assert old in before.data.decode(), f"{path} no longer holds {old!r}"
    return tuple(replace(piece, data=piece.data.decode().replace(old, new).encode()) if piece.path == path else piece for piece in parcel)


def faults(parcel: tuple[Piece, ...], *own: str) -> list[str]:
    return [fault.said for fault in inspect(parcel, SETTINGS, own)]


def test_this_clone_may_be_sent(parcel: tuple[Piece, ...]) -> None:
    assert faults(parcel) == []
    paths = [piece.path for piece in parcel]
    assert {"README.md", "Dockerfile", "src/body4d/space/page.html", "constraints.txt"} <= set(paths)
    assert not [path for path in paths if "__pycache__" in path or path.startswith(("tests", "runs", ".git"))]
    assert paths == sorted(paths)


def test_what_is_laid_out_is_what_was_packed(small: tuple[Piece, ...], tmp_path: Path) -> None:
    write(small, tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {piece.path for piece in small}


# Put together here, so that no secret scanner takes this file for a leak.
TOKENS = ["hf" + "_" + "A" * 34, "gh" + "p_" + "a" * 36, "AK" + "IA" + "A" * 16, "s" + "k-ant-" + "a" * 40, "xo" + "xb-" + "1" * 12]


@pytest.mark.parametrize("secret", [*TOKENS, "-----BEGIN " + "PRIVATE KEY-----", "https://ada:" + "secret1@host/x", "AI" + "za" + "b" * 35])
def test_secrets_are_found_and_not_repeated(small: tuple[Piece, ...], secret: str) -> None:
    found = faults((*small, Piece("src/body4d/x.py", f'a = 1\nTOKEN = "{secret}"\n'.encode())))
    assert len(found) == 1
    assert "src/body4d/x.py, line 2, holds" in found[0]
    assert secret not in found[0]


def test_a_token_of_this_machine_is_found_whatever_it_looks_like(small: tuple[Piece, ...]) -> None:
    assert "a token of this machine" in faults((*small, Piece("x.md", b"correct horse battery")), "correct horse")[0]
    assert faults((*small, Piece("x.md", b"the word is in")), "is") == [], "what is as short as a word is none"


@pytest.mark.parametrize("text", ["hf_hub_download()", "https://user:pass", "sk-", "https://{user}:{password}@host", "AKIAshort"])
def test_what_only_looks_like_one_passes(small: tuple[Piece, ...], text: str) -> None:
    assert faults((*small, Piece("x.py", text.encode()))) == []


@pytest.mark.parametrize(
    ("piece", "word"),
    [
        (Piece("a.mp4", b"\x00\x00\x00\x18ftyp"), "is no text"),
        (Piece("a.txt", "é".encode("latin-1")), "is no text"),
        (Piece("a.json", b" " * 1_100_000), "1.1 MB"),
        (Piece("a", b"/etc/passwd", link=True), "is a link"),
        (Piece(".env", b"A=1"), "file for secrets"),
        (Piece("src/id_rsa", b"x"), "file for secrets"),
    ],
)
def test_what_is_no_small_text_is_refused(small: tuple[Piece, ...], piece: Piece, word: str) -> None:
    assert [word in said for said in faults((*small, piece))] == [True]


def test_too_much_altogether(small: tuple[Piece, ...]) -> None:
    many = tuple(Piece(f"{number}.txt", b"x" * 50_000) for number in range(3))
    found = inspect((*small, *many), SpaceSettings(sent_most_mb=0.1))
    assert "All together" in found[0].said


@pytest.mark.parametrize(
    ("path", "old", "new", "word"),
    [
        ("README.md", "sdk: docker", "sdk: gradio", "sdk: gradio"),
        ("README.md", "app_port: 7860", "app_port: 8080", "app_port: 8080"),
        ("README.md", "license: apache-2.0", "license: mit", "license: mit"),
        ("README.md", "---\ntitle", "title", "no head"),
        ("README.md", "title: body4d", "title: [", "no head"),
        ("Dockerfile", "python:3.11.14-slim", "python:3.11-slim", "not pinned"),
        ("Dockerfile", "python:3.11.14-slim", "python:3.13.1-slim", "Python 3.13"),
        ("Dockerfile", "python:3.11.14-slim-bookworm", "debian:12.5.0", "Python is not told"),
        ("Dockerfile", 'image.version="', 'image.version="9', "is labelled version 9"),
        ("Dockerfile", "EXPOSE 7860", "EXPOSE 8000", "exposes port 8000"),
        ("Dockerfile", "USER 1000", "USER root", "runs as user root"),
        ("Dockerfile", '"start", ', '"status", ', "started by"),
        ("Dockerfile", '"7860"]', '"8000"]', "another port"),
        ("Dockerfile", "--constraint constraints.txt torch", "torch", "installs without --constraint"),
        ("Dockerfile", "COPY src ./src", "COPY source ./src", "copies source"),
        ("constraints.txt", "gradio==", "gradio>=", "does not pin gradio"),
        ("constraints.txt", "accelerate==1.15.0\n", "", "does not pin accelerate"),
        ("pyproject.toml", "[project]", "[project", "cannot be read"),
        ("src/body4d/__init__.py", "__version__ = ", "__version__ = __next__ = ", "and the package is"),
    ],
)
def test_what_does_not_match_the_package(small: tuple[Piece, ...], path: str, old: str, new: str, word: str) -> None:
    found = faults(changed(small, path, old, new))
    assert len(found) == 1, found
    assert word in found[0]
    assert found[0].endswith(".")


def test_what_is_not_sent_cannot_be_compared(small: tuple[Piece, ...]) -> None:
    assert "Dockerfile is not among what is sent" in faults(tuple(piece for piece in small if piece.path != "Dockerfile"))[0]


def test_git_tells_what_is_left_out_and_links_are_not_followed(tmp_path: Path) -> None:
    for name in ("space/Dockerfile", "src/body4d/__init__.py", "src/body4d/secret.py", "src/body4d/__pycache__/x.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "src/body4d/away").symlink_to("/etc/hostname")
    assert "src/body4d/secret.py" in {piece.path for piece in pack(tmp_path)}, "without git everything goes, caches excepted"
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("secret.py\n")
    found = {piece.path: piece for piece in pack(tmp_path)}
    assert set(found) == {"Dockerfile", "src/body4d/__init__.py", "src/body4d/away"}
    assert (found["src/body4d/away"].link, found["src/body4d/away"].data) == (True, b"/etc/hostname")


def test_a_dockerfile_is_read_as_docker_does() -> None:
    text = '# head\nFROM a:1.2.3 AS b\n\nRUN one \\\n  # a comment between\n  && two "x && y" \\\n  three\nenv A=1 B="two words"\n'
    assert instructions(text) == (
        Instruction("FROM", "a:1.2.3 AS b", 2),
        Instruction("RUN", 'one && two "x && y" three', 4),
        Instruction("ENV", 'A=1 B="two words"', 8),
    )
    assert pairs('A=1 B="two words"') == {"A": "1", "B": "two words"}
    assert filled("${A}/$B/$C", {"A": "1", "B": "2"}) == "1/2/$C"
    assert command('["a", "b c"]') == command('a "b c"') == ["a", "b c"]


@pytest.mark.parametrize(("data", "text"), [(b"", True), ("é\t\r\n\x1b[0m".encode(), True), (b"a\x00", False), (b"\xff\xfe", False)])
def test_what_is_text(data: bytes, text: bool) -> None:
    assert is_text(data) == text


def test_the_head_of_a_readme_ends_where_it_ends() -> None:
    assert head_of("---\na: 1\n---\nb: 2\n---\n") == {"a": 1}
    assert head_of("# no head") is None


def test_the_steps_of_the_dockerfile_are_all_known_to_the_script_that_tries_them() -> None:
    """The long way is `python scripts/try_dockerfile.py FOLDER --serve`; here only that it reads what it is given."""
    code = "import runpy, sys; m = runpy.run_path(sys.argv[1]); print(list(m['commands']('a && b \"c && d\" && e')))"
    said = subprocess.run([sys.executable, "-c", code, str(CLONE / "scripts" / "try_dockerfile.py")], capture_output=True, text=True)
    assert said.stdout.strip() == "['a', 'b \"c && d\"', 'e']", said.stderr
