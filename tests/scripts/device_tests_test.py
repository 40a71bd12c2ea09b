"""What benchmarks/gpu/device_tests.py makes of what test programs and sanitizers print."""

import os
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks/gpu"))

import device_tests  # noqa: E402

PASSED = """[ RUN      ] Gemm.Sums
[       OK ] Gemm.Sums (3 ms)
[ RUN      ] Gemm.OnTheOtherDevice
[  SKIPPED ] Gemm.OnTheOtherDevice (0 ms)
[  PASSED  ] 1 test.
"""
FAILED = """[ RUN      ] Shapes/Gemm.Sums/2
[  FAILED  ] Shapes/Gemm.Sums/2, where GetParam() = 4 (3 ms)
[  FAILED  ] 1 test, listed below:
[  FAILED  ] Shapes/Gemm.Sums/2, where GetParam() = 4
"""
RACE = """[ RUN      ] Gemm.Sums
========= Error: Race reported between Read access at nvjet_sm90_tst_128x160+0xa50
=========     and Write access at nvjet_sm90_tst_128x160+0x4840 [528 hazards]
========= Error: Race reported between Read access at void weft::Ours(int)+0x10
[       OK ] Gemm.Sums (3 ms)
========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)
"""
MEMCHECK = """[ RUN      ] Gemm.Sums
========= Invalid __global__ read of size 4 bytes
=========     at weft::Ours(int)+0x70
[       OK ] Gemm.Sums (3 ms)
========= ERROR SUMMARY: 1 error
"""


def summary_of(output, status=0, sanitizer=None):
    summary = {**device_tests.new_summary("weft_model_test", sanitizer), "seconds": 1.5}
    device_tests.add(summary, status, output)
    return summary


class DeviceTestsTest(unittest.TestCase):
    def test_what_passed_and_was_skipped_is_counted(self):
        summary = summary_of(PASSED)
        self.assertEqual((summary["passed"], summary["skipped"]), (1, 1))
        self.assertEqual(device_tests.failures(summary), [])
        self.assertEqual(device_tests.describe(summary), "weft_model_test: 1 passed, 1 skipped, 0 failed, 1.5 s")

    def test_a_failed_test_is_named_once(self):
        self.assertEqual(device_tests.failures(summary_of(FAILED, 1)), ["weft_model_test: failed: Shapes/Gemm.Sums/2"])

    def test_a_test_that_ends_the_program_is_named(self):
        cut = PASSED.splitlines(keepends=True)[0]
        self.assertEqual(summary_of(cut, 70)["failed"], ["Gemm.Sums (exit status 70)"])
        self.assertEqual(summary_of(cut, None)["failed"], ["Gemm.Sums (out of time)"])
        self.assertEqual(summary_of("", 127)["failed"], ["weft_model_test (no test ran)"])

    def test_hazards_of_other_libraries_are_counted_apart(self):
        summary = summary_of(RACE, 0, "racecheck")
        self.assertEqual(summary["findings"], {"weft::Ours(int)": 1})
        self.assertEqual(summary["others_findings"], 1)
        self.assertEqual(device_tests.failures(summary), ["weft_model_test: racecheck found 1 in weft::Ours(int)"])
        self.assertEqual(summary_of(RACE, 139, "racecheck")["failed"], ["weft_model_test (exit status 139)"])

    def test_findings_of_memcheck_are_failures(self):
        self.assertEqual(summary_of(MEMCHECK, 0, "memcheck")["findings"], {"weft::Ours(int)": 1})
        strange = PASSED + "========= Program hit cudaErrorLaunchFailure\n========= ERROR SUMMARY: 3 errors\n"
        self.assertEqual(summary_of(strange, 0, "memcheck")["findings"], {"unknown": 3})
        beside = strange + RACE.replace("SUMMARY: 2", "SUMMARY: 3")
        self.assertEqual(summary_of(beside, 0, "racecheck")["findings"], {"weft::Ours(int)": 1, "unknown": 4})

    def test_a_sanitizer_that_says_nothing_has_failed(self):
        self.assertEqual(summary_of(PASSED, 0, "memcheck")["failed"],
                         ["weft_model_test (exit status 0): no summary of memcheck's"])
        self.assertEqual(summary_of("[  PASSED  ] 0 tests.", 0)["failed"], ["weft_model_test (no test ran)"])
        inside = PASSED + "========= Internal Sanitizer Error: hardware exception\n========= ERROR SUMMARY: 0 errors\n"
        self.assertEqual(summary_of(inside, 0, "memcheck")["findings"], {"unknown": 1})

    def test_what_a_test_prints_before_its_result_does_not_hide_it(self):
        printed = PASSED.replace("[       OK ]", "no newline[       OK ]")
        self.assertEqual(summary_of(printed)["failed"], [])

    def test_programs_run_in_shards_from_the_bundle(self):
        with tempfile.TemporaryDirectory() as folder:
            bundle = pathlib.Path(folder)
            (bundle / "bin").mkdir()
            with self.assertRaisesRegex(device_tests.NotInstalled, "--component tests"):
                device_tests.run(bundle)
            for program in device_tests.PROGRAMS:
                path = bundle / "bin" / program
                path.write_text('#!/bin/sh\ntest "$WEFT_TEST_DEVICE" = cuda && test -d "$WEFT_SOURCE_DIR/tests/data" || exit 3\n'
                                'echo "[ RUN      ] A.B$GTEST_SHARD_INDEX"; echo "[       OK ] A.B$GTEST_SHARD_INDEX (1 ms)"\n')
                os.chmod(path, 0o755)
            summaries = device_tests.run(bundle, shards=2)
            self.assertEqual([summary["passed"] for summary in summaries], [2] * len(device_tests.PROGRAMS))
            self.assertFalse(any(summary["failed"] for summary in summaries))


if __name__ == "__main__":
    unittest.main()
