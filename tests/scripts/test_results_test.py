"""What scripts/test counts, on result files as the tools write them."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

import test_results  # noqa: E402

GTEST = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1" disabled="0" errors="0" time="0." name="AllTests">
  <testsuite name="Pool" tests="3" failures="1" disabled="0" skipped="1" errors="0" time="0.">
    <testcase name="Gives" status="run" result="completed" time="0." classname="Pool" />
    <testcase name="Takes" status="run" result="completed" time="0." classname="Pool">
      <failure message="a.cc:1" type=""><![CDATA[a.cc:1]]></failure>
    </testcase>
    <testcase name="Avx" status="run" result="skipped" time="0." classname="Pool"><skipped message="" /></testcase>
  </testsuite>
</testsuites>"""


class Results(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def ctest(self, *tests):
        cases = "".join(f'<testcase name="{name}" status="{status}"/>' for name, status in tests)
        (self.folder / "ctest.xml").write_text(f"<testsuite>{cases}</testsuite>")
        return test_results.ctest(self.folder / "ctest.xml", self.folder)

    def numbers(self, counts):
        return counts.passed, counts.failed, counts.skipped

    def test_cases_of_a_gtest_binary(self):
        (self.folder / "pool_test.xml").write_text(GTEST)
        counts = self.ctest(("pool_test", "fail"))
        self.assertEqual(self.numbers(counts), (1, 1, 1))
        self.assertEqual(counts.failures, ["Pool.Takes"])

    def test_a_crash_counts_as_one_failure(self):
        counts = self.ctest(("pool_test", "fail"))
        self.assertEqual(self.numbers(counts), (0, 1, 0))
        self.assertIn("pool_test", counts.failures[0])

    def test_failing_after_the_last_case_counts(self):
        (self.folder / "pool_test.xml").write_text(GTEST.replace("<failure", "<note").replace("</failure", "</note"))
        self.assertEqual(self.numbers(self.ctest(("pool_test", "fail"))), (2, 1, 1))

    def test_a_test_that_did_not_run_failed(self):
        self.assertEqual(self.numbers(self.ctest(("gone_test", "notrun"), ("plain", "run"))), (1, 1, 0))

    def test_missing_and_broken_files(self):
        with self.assertRaises(test_results.UnreadableResults):
            test_results.junit(self.folder / "nothing.xml")
        (self.folder / "half.xml").write_text(GTEST[:200])
        with self.assertRaises(test_results.UnreadableResults):
            test_results.junit(self.folder / "half.xml")

    def test_unittest_output(self):
        good = "....\n-----\nRan 4 tests in 0.1s\n\nOK (skipped=1)\n"
        self.assertEqual(self.numbers(test_results.unittest(good)), (3, 0, 1))
        bad = "FAIL: test_x (a.B.test_x)\n---\nRan 4 tests in 0.1s\n\nFAILED (failures=1, errors=2)\n"
        counts = test_results.unittest(bad)
        self.assertEqual(self.numbers(counts), (1, 3, 0))
        self.assertEqual(counts.failures, ["test_x (a.B.test_x)"])
        with self.assertRaises(test_results.UnreadableResults):
            test_results.unittest("ImportError: no module")


if __name__ == "__main__":
    unittest.main()
