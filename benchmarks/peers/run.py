#!/usr/bin/env python3
"""Weft beside llama.cpp, on this machine, in one run: see README.md beside this file.

  run.py prepare                       builds llama.cpp, makes the models and the adapters (outside the repository)
  run.py all [--section A]             every measurement three times, alternating, then the table
  run.py measure CASE CONTENDER        one of them
  run.py trace CASE CONTENDER FILE     one of Weft's, with a trace for ui.perfetto.dev
  run.py table                         the table of what has been measured
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys

import preparation
import table
from measurements import CASES, find_case, measure

# A run in which others took more of the processors is not counted, and repeated.
MAX_OTHERS_SHARE = 0.06
TRIES = 6
DISTURBED = 3  # The exit status of `measure` for such a run.

DEFAULT_RESULTS = preparation.CACHE / "results.jsonl"


def _commit():
    command = ["git", "-C", str(preparation.REPOSITORY), "describe", "--always", "--dirty"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip()


def _measure(arguments):
    case = find_case(arguments.case)
    result = {"case": case.name, "contender": arguments.contender, "commit": _commit()}
    result |= measure(case, arguments.contender)
    disturbed = result["others_share"] > MAX_OTHERS_SHARE
    if not disturbed:
        with arguments.results.open("a") as file:
            print(json.dumps(result), file=file)
    shown = {key: value for key, value in result.items() if isinstance(value, (int, float))}
    print(f"{case.name:16} {arguments.contender:14}", *(f"{key}={value:.4g}" for key, value in shown.items()), flush=True)
    return DISTURBED if disturbed else 0


def _trace(arguments):
    print(json.dumps(measure(find_case(arguments.case), arguments.contender, ("--trace", str(arguments.file)))))


def _repeat_until_quiet(arguments, case, contender):
    command = [*shlex.split(arguments.prefix), sys.executable, __file__, "measure", case.name, contender]
    for _ in range(TRIES):
        status = subprocess.run([*command, "--results", str(arguments.results)]).returncode
        if status == 0:
            return
        if status != DISTURBED:
            sys.exit(f"peers: {case.name} {contender} failed (above)")
        preparation.say("others computed meanwhile: once more")
    sys.exit(f"peers: {TRIES} times others took more than {MAX_OTHERS_SHARE:.0%} of the processors; end them first")


def _all(arguments):
    """The order of the contenders turns round with every repetition."""
    preparation.prepare()
    cases = [case for case in CASES if case.section in arguments.section and case.name in (arguments.case or [case.name])]
    for repetition in range(arguments.repetitions):
        for case in cases:
            for contender in case.contenders[:: -1 if repetition % 2 else 1]:
                _repeat_until_quiet(arguments, case, contender)
    _table(arguments)


def _table(arguments):
    print(table.render(arguments.results))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("prepare").set_defaults(run=lambda _: preparation.prepare())
    for name, run in (("all", _all), ("measure", _measure), ("table", _table), ("trace", _trace)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--results", type=pathlib.Path, default=DEFAULT_RESULTS, help="JSON lines, appended to")
        if name in ("measure", "trace"):
            command.add_argument("case", choices=[case.name for case in CASES])
            command.add_argument("contender")
        if name == "trace":
            command.add_argument("file", type=pathlib.Path)
        if name == "all":
            command.add_argument("--section", nargs="+", choices=["A", "B", "C"], default=["A", "B", "C"])
            command.add_argument("--case", nargs="+", choices=[case.name for case in CASES], help="only these")
            command.add_argument("--repetitions", type=int, default=3)
            command.add_argument("--prefix", default="", help="put before each measuring command, such as 'nice -n -5'")
    arguments = parser.parse_args()
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
