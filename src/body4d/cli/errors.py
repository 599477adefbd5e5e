"""What every command does when something goes wrong: one sentence, the right exit code, and a traceback only with ``--verbose``."""

import io
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import typer

from body4d.core.errors import Body4DError, Cancelled, DeviceError

P = ParamSpec("P")
R = TypeVar("R")


def handle_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command. Its ``--verbose`` shows tracebacks and the log; its ``--json`` turns the sentence into an event."""

    @wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        verbose, as_json = bool(kwargs.get("verbose")), bool(kwargs.get("as_json"))
        logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(name)s: %(message)s", stream=sys.stderr)
        if threading.current_thread() is threading.main_thread():
            # A polite kill leaves the folder as Ctrl-C does.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # A file's name may be in any encoding.
        try:
            return command(*args, **kwargs)
        except Body4DError as error:
            _report(error, error.exit_code, as_json, verbose)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            _report(Cancelled("Stopped."), Cancelled.exit_code, as_json, verbose)
            raise typer.Exit(Cancelled.exit_code) from error
        except BrokenPipeError as error:
            # The reader of our output has closed the pipe; the interpreter must not complain when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from error
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except MemoryError as error:
            hint = "Use fewer or smaller frames (--start, --end, --max-side), or close other programs."
            _report(DeviceError("This machine's memory does not suffice.", hint=hint), DeviceError.exit_code, as_json, verbose)
            raise typer.Exit(DeviceError.exit_code) from error
        except Exception as error:
            told = " ".join(str(error).split())  # one line, whatever a package wrote
            message = f"A fault in body4d itself: {type(error).__name__}: {told}."
            _report(Body4DError(message, hint="--verbose shows where; please report it."), 1, as_json, verbose)
            raise typer.Exit(1) from error

    return call


def _report(error: Body4DError, exit_code: int, as_json: bool, verbose: bool) -> None:
    if verbose:
        traceback.print_exc()
    if as_json:
        typer.echo(json.dumps({"event": "error", **error.as_json(), "exit_code": exit_code}, ensure_ascii=False))
    typer.echo(f"body4d: {error}", err=True)
