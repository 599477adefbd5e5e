"""The steps of space/Dockerfile in order without Docker: ``python scripts/try_dockerfile.py FOLDER [--build-arg NAME=VALUE] [--serve]``.

FOLDER becomes the root of the file system that the image would have: /opt, /home and /tmp of the Dockerfile lie in it. The context is what
`body4d space push` sends. What needs the image itself is printed, not run: FROM, useradd, chown, USER. apt-get only simulates. The Python
that runs this must be that of the base image. ``--serve`` ends with the CMD and waits until its page answers.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from string import Template
from urllib.error import URLError

from body4d.deploy.bundle import check_bundle, dockerfile_steps, read_bundle

CLONE = Path(__file__).parents[1]
NOT_HERE = ("useradd", "chown", "rm -rf /var")
"""Commands that change the image's system; they are printed, not run."""
INHERITED = ("LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy", "no_proxy", "PIP_CERT",
             "PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "PIP_CONFIG_FILE")  # fmt: skip


class Build:
    """The state of a build: the root, the context, variables, and the working directory."""

    def __init__(self, root: Path, build_args: dict[str, str]) -> None:
        self.root, self.context, self.build_args = root, root / "context", build_args
        self.variables: dict[str, str] = {}
        self.arguments: dict[str, str] = {}
        self.folder = root

    def inside(self, text: str) -> str:
        """Absolute paths of the image, as they lie below the root."""
        return re.sub(r"(?<![\w./-])/(opt|home|tmp)(?=/|\b)", lambda match: f"{self.root}/{match[1]}", text)

    def environment(self) -> dict[str, str]:
        """What a step sees: nothing of this shell but how the network is reached."""
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return kept | {"PATH": os.environ["PATH"], "HOME": str(self.root / "home/user")} | self.arguments | self.variables

    def step(self, keyword: str, arguments: str) -> None:
        """One instruction."""
        print(f"\n{keyword} {arguments[:150]}", flush=True)
        if keyword == "ARG":
            self.arguments |= {name: self.build_args.get(name, value) for name, value in assignments(arguments).items()}
        elif keyword == "ENV":
            known = self.environment()
            filled = {name: Template(value).safe_substitute(known) for name, value in assignments(arguments).items()}
            self.variables |= {name: self.inside(value) for name, value in filled.items()}
        elif keyword == "WORKDIR":
            self.folder = Path(self.inside(arguments))
            self.folder.mkdir(parents=True, exist_ok=True)
        elif keyword == "COPY":
            self.copy(arguments)
        elif keyword == "RUN":
            for part in commands(arguments):
                self.run(part)
        elif keyword == "FROM":
            python = re.search(r"python:(\d+)\.(\d+)", arguments)
            if python is None or (int(python[1]), int(python[2])) != sys.version_info[:2]:
                raise SystemExit(f"The image is {arguments}, and this is Python {sys.version_info[0]}.{sys.version_info[1]}.")
            print("    not run: this system and its Python stand for the image")
        else:
            print("    noted")

    def copy(self, text: str) -> None:
        *sources, target = [word for word in shlex.split(text) if not word.startswith("--")]
        for source in sources:
            if not (self.context / source).exists():
                raise SystemExit(f"COPY: {source} is not in the context.")
            # As Docker does: a folder's content goes into the target, a file under its own name.
            into = self.folder / target if (self.context / source).is_dir() else self.folder
            into.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", f"{self.context / source}{'/.' if (self.context / source).is_dir() else ''}", into], check=True)

    def run(self, part: str) -> None:
        if part.startswith(NOT_HERE) or part == "apt-get update":
            print(f"    not run: {part}")
            return
        if part.startswith("apt-get install"):
            part = part.replace("apt-get install", "apt-get install --simulate", 1) + " > /dev/null"
        # Outside the environment that the Dockerfile makes, "python" is the base image's.
        part = re.sub(r"^python ", f"{sys.executable} ", part) if "/opt/" not in self.variables.get("PATH", "") else part
        start = time.perf_counter()
        done = subprocess.run(["/bin/sh", "-c", self.inside(part)], cwd=self.folder, env=self.environment())
        print(f"    {time.perf_counter() - start:.1f} s: {part[:120]}", flush=True)
        if done.returncode:
            raise SystemExit(f"The step failed with {done.returncode}.")


def assignments(arguments: str) -> dict[str, str]:
    """``A=1 B="two words"`` of ENV, or the one ``A=1`` (or ``A``) of ARG."""
    return {name: value for name, _, value in (part.partition("=") for part in shlex.split(arguments))}


def commands(text: str) -> Iterator[str]:
    """The commands of a RUN that are joined by ``&&``, quotes respected."""
    for part in re.split(r"""\s*&&\s*(?=(?:[^"]*"[^"]*")*[^"]*$)""", text):
        yield part.strip()


def serve(build: Build, words: list[str], seconds: float) -> None:
    """Start the CMD, wait for its page, and end it."""
    port = words[words.index("--port") + 1]
    start = time.perf_counter()
    path = build.environment()["PATH"]
    program = next(Path(folder) / words[0] for folder in path.split(":") if (Path(folder) / words[0]).exists())
    running = subprocess.Popen([program, *words[1:]], cwd=build.folder, env=build.environment())
    try:
        while time.perf_counter() - start < seconds:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    print(f"    the page answered {answer.status} after {time.perf_counter() - start:.1f} s")
                    return
            except (URLError, OSError):
                time.sleep(0.2)
        raise SystemExit(f"The page did not answer within {seconds:.0f} s.")
    finally:
        running.terminate()
        running.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    root = options.folder.absolute()
    root.mkdir(parents=True)
    build = Build(root, dict(text.split("=", 1) for text in options.build_arg))
    for name in ("opt", "home/user", "tmp", "context"):
        (root / name).mkdir(parents=True, exist_ok=True)
    files = read_bundle(CLONE)
    if problems := check_bundle(files):
        raise SystemExit("\n".join(problem.message for problem in problems))
    for file in files:
        target = build.context / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
    steps = dockerfile_steps((build.context / "Dockerfile").read_text())
    for keyword, arguments in steps:
        build.step(keyword, arguments)
    if options.serve:
        serve(build, json.loads(dict(steps)["CMD"]), 60)
    print("\nEvery step that can be run without Docker was run.")


if __name__ == "__main__":
    main()
