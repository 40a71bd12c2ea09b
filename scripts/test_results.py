"""Counts test cases in what GoogleTest, ctest, pytest and unittest write."""

import dataclasses
import re
import xml.etree.ElementTree as ElementTree


class UnreadableResults(Exception):
    """A result file is missing or no result file; the text says which."""


@dataclasses.dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list = dataclasses.field(default_factory=list)  # Names of what failed.

    def __add__(self, other):
        return Counts(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.failures + other.failures,
        )

    def add_case(self, name, verdict):
        """`verdict` is passed, failed or skipped."""
        setattr(self, verdict, getattr(self, verdict) + 1)
        if verdict == "failed":
            self.failures.append(name)


def _parse(path):
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise UnreadableResults(f"{path}: {error}") from error


def junit(path):
    """The cases of a JUnit file, as pytest and GoogleTest write it."""
    counts = Counts()
    for case in _parse(path).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            counts.add_case(name, "failed")
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            counts.add_case(name, "skipped")
        else:
            counts.add_case(name, "passed")
    return counts


def ctest(path, gtest_folder):
    """The cases of a ctest run. A test that is a GoogleTest binary left a file in `gtest_folder` and counts as its
    cases; one that crashed left none, and one may fail after its last case (a leak): each counts as one failed."""
    counts = Counts()
    for test in _parse(path).iter("testcase"):
        name = test.get("name")
        passed = test.get("status") == "run"
        cases = Counts()
        for file in sorted(gtest_folder.glob(f"{name}.xml")) + sorted(gtest_folder.glob(f"{name}_[0-9]*.xml")):
            cases += junit(file)
        if passed and cases == Counts():
            cases.add_case(name, "passed")
        elif not passed and not cases.failed:
            cases.add_case(f"{name} (ctest says: {test.get('status')}; see the log)", "failed")
        counts += cases
    return counts


def unittest(output):
    """The cases of a run of Python's unittest, from what it prints."""
    ran = re.search(r"^Ran (\d+) tests? in", output, re.MULTILINE)
    if not ran:
        raise UnreadableResults("unittest did not say how many tests ran; see the log")
    # (failures=1, errors=2, skipped=3)
    outcome = dict(re.findall(r"(failures|errors|skipped|expected failures)=(\d+)", output.splitlines()[-1]))
    failed = int(outcome.get("failures", 0)) + int(outcome.get("errors", 0))
    skipped = int(outcome.get("skipped", 0))
    names = re.findall(r"^(?:FAIL|ERROR): (.*)$", output, re.MULTILINE)
    return Counts(max(0, int(ran.group(1)) - failed - skipped), failed, skipped, names)
