"""python -m reports: build, open or serve the pages of recorded runs."""

from __future__ import annotations

import argparse
import functools
import re
import sys
import time
import webbrowser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cluster.errors import ClusterError, InputError
from reports import nights
from reports.render import folders, index, render

RUNS, NIGHTS = Path(__file__).parent / "runs", Path(__file__).parent / "nights"


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0, 1 when something cannot be done, 2 for a mistake in the call."""
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    which = {"nargs": "?", "default": "latest", "metavar": "RUN"}
    build = commands.add_parser("build", help="make the page of a run, or of all of them")
    build.add_argument("run", help="a run's name or folder, `latest` (as without it) or `all`", **which)  # type: ignore[arg-type]
    show = commands.add_parser("open", help="make a run's page and show it in a browser")
    show.add_argument("run", help="a run's name or folder, or `latest` (as without it)", **which)  # type: ignore[arg-type]
    serve = commands.add_parser("serve", help="serve the pages of all runs to this machine's browsers")
    serve.add_argument("--port", type=int, default=8000, metavar="N", help="TCP port (default: 8000)")
    night = commands.add_parser("night", help="for the deployer: what came of its nights, and the pages that tell")
    night.add_argument(
        "what", choices=("begin", "end", "pages"), help="write down that one begins or ends; make the pages"
    )
    night.add_argument("--exit", type=int, default=0, metavar="CODE", help="with end: what the specs ended with")
    night.add_argument("--log", type=Path, metavar="FILE", help="with end: what they printed")
    night.add_argument("--at", type=_time, default="00:00", metavar="HH:MM", help="with pages: when nights begin")
    night.add_argument("--keep", type=_count, default=14, metavar="N", help="with pages: how many are told, and kept")
    night.add_argument("--cluster", default="cluster", metavar="NAME", help="with pages: the cluster's name")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "serve":
            return _serve(arguments.port)
        if arguments.command == "night":
            return _night(arguments)
        made = [render(folder) for folder in _chosen(arguments.run)]
        if RUNS.is_dir():
            index(RUNS)
        if arguments.command == "open" and not webbrowser.open(made[-1].resolve().as_uri()):
            print("no browser was found here; open this file with one:", file=sys.stderr)
        for page in made:
            print(page)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"cannot go on: {error}", file=sys.stderr)
        return 1
    return 0


def _time(word: str) -> str:
    """A time of day, as argparse wants it."""
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", word):
        raise argparse.ArgumentTypeError(f"{word!r} is no time of day, such as 03:30")
    return word


def _count(word: str) -> int:
    """One or more, as argparse wants it."""
    if not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError(f"{word!r} is no number from 1 on")
    return int(word)


def _chosen(name: str) -> list[Path]:
    """The folders that a RUN argument means, oldest first."""
    known = folders(RUNS)
    if name == "all" and known:
        return known
    if name in ("latest", "all"):
        if not known:
            raise InputError("no run was recorded yet; `pytest specs/` or `python -m chaos kill NODE` makes one")
        return known[-1:]
    for folder in (RUNS / name, Path(name)):
        if folder in known or (folder / "run.json").is_file():
            return [folder]
    newest = ", ".join(folder.name for folder in known[:-4:-1])
    raise InputError(f"no run {name!r}; " + (f"the newest are: {newest}" if newest else "none was recorded yet"))


def _night(arguments: argparse.Namespace) -> int:
    """Write one down, or make the pages of all."""
    now = time.time()
    if arguments.what == "begin":
        nights.begin(NIGHTS, now)
    elif arguments.what == "end":
        said = arguments.log.read_text(encoding="utf-8", errors="replace") if arguments.log else ""
        done = nights.end(NIGHTS, RUNS, now, arguments.exit, said)
        print(f"{done.text}; {done.counts or 'no spec was run'}")
    else:
        nights.prune(NIGHTS, RUNS, arguments.keep)
        at, keep = arguments.at, arguments.keep
        print(nights.pages(NIGHTS, RUNS, cluster=arguments.cluster, at=at, keep=keep, now=now))
    return 0


class _Pages(SimpleHTTPRequestHandler):
    """Files of the runs' folder; a page is made anew when it is asked for."""

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        folder = next((f for f in folders(RUNS) if f.name == parts[0]), None)
        if parts in ([""], ["index.html"]):
            index(RUNS)
        elif folder is not None and parts[1:] == ["report.html"]:
            render(folder)
        super().do_GET()

    def end_headers(self) -> None:
        """A page asked for again is made again, so nothing may be kept."""
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the terminal is for the address alone."""


def server_of(port: int) -> ThreadingHTTPServer:
    """A server of the runs' folder on loopback, not yet running; port 0 takes any that is free."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Pages, directory=str(RUNS)))
    except (OSError, OverflowError) as error:
        raise InputError(f"--port {port}: {error}; choose another") from None


def _serve(port: int) -> int:
    RUNS.mkdir(exist_ok=True)
    server = server_of(port)
    print(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
