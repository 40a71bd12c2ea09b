"""Plants the faults of a table into copies of production sources, to show that tests catch them.

  mutate.py list TABLE                 prints "name<TAB>file" for each fault
  mutate.py make TABLE NAME SOURCE OUT writes SOURCE with the fault NAME to OUT
  mutate.py run TABLE FOLDER           runs FOLDER/NAME for each fault, prints what caught it, exits 1 if any was not

The table is TOML: [[fault]] with name, file, what, expect (texts, one of which must be in what catches it) and edits
(pairs of a text that must be in the file exactly once, and what takes its place).
"""

import pathlib
import subprocess
import sys
import tomllib

SECONDS_FOR_ONE = 120


def make(fault, source, out):
    text = pathlib.Path(source).read_text()
    for find, replace in fault["edits"]:
        if text.count(find) != 1:
            sys.exit(f"fault '{fault['name']}': in {source} the text to replace is there {text.count(find)} times, not "
                     f"once:\n{find}")
        text = text.replace(find, replace)
    pathlib.Path(out).write_text(text)


def run(faults, folder):
    missed = 0
    for fault in faults:
        command = [pathlib.Path(folder) / fault["name"], *fault["expect"]]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_FOR_ONE)
            caught, said = done.returncode == 0, done.stdout.strip()
        except subprocess.TimeoutExpired:
            caught, said = False, f"nothing in {SECONDS_FOR_ONE} s"
        missed += not caught
        print(f"{'caught' if caught else 'MISSED'}  {fault['name']:32} {fault['file']:30} {said}", flush=True)
    print(f"{len(faults) - missed} of {len(faults)} planted faults caught")
    return 1 if missed else 0


def main(arguments):
    command, table, *rest = arguments
    faults = tomllib.loads(pathlib.Path(table).read_text())["fault"]
    if command == "list":
        for fault in faults:
            print(f"{fault['name']}\t{fault['file']}")
        return 0
    if command == "make":
        name, source, out = rest
        make(next(fault for fault in faults if fault["name"] == name), source, out)
        return 0
    return run(faults, rest[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
