"""What benchmarks/gpu/copy_overlap.py reads out of a trace."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks/gpu/copy_overlap.py"
sys.path.insert(0, str(SCRIPT.parent))

import copy_overlap  # noqa: E402


def track(pid, tid, name):
    return {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}


def span(pid, tid, begin, end, **arguments):
    return {"ph": "X", "name": "x", "pid": pid, "tid": tid, "ts": begin, "dur": end - begin, "args": arguments}


TRACKS = [track(1, 1, "compute"), track(1, 2, "copy"), track(1, 3, "loader 0"), track(3, 4, "request 7")]


def step(begin, end, idle=0):
    return span(1, 1, begin, end, step=1, sequences=1, idle_us=idle)


def copy(begin, end, size=4_000_000):
    return span(1, 2, begin, end, version=1, bytes=size)


def request(arrived, began, ended):
    return span(3, 4, arrived, ended, queued_us=began - arrived)


class CopyOverlapTest(unittest.TestCase):
    def test_time_counts_in_which_steps_compute(self):
        events = [*TRACKS, request(0, 0, 1000), step(0, 300), step(500, 1000), copy(200, 400), copy(400, 600)]
        self.assertEqual(copy_overlap.measure(events)["hidden"], 0.5)

    def test_a_copy_that_nobody_could_run_beside_does_not_count(self):
        cold = [*TRACKS, request(0, 400, 900), copy(100, 400), step(400, 900), copy(500, 800)]
        measured = copy_overlap.measure(cold)
        self.assertEqual(measured["hidden"], 1)
        self.assertEqual(measured["copy_ms"], 0.6)
        self.assertEqual(measured["copy_ms_while_any_could_run"], 0.3)
        # Another request had begun by then.
        self.assertEqual(copy_overlap.measure([*cold, request(0, 0, 900)])["hidden"], 0.5)

    def test_pieces_side_by_side_are_copied_in_the_time_of_one(self):
        measured = copy_overlap.measure([*TRACKS, copy(0, 100), copy(50, 160), span(1, 3, 0, 9000, bytes=7)])
        self.assertEqual(measured["copy_gb_per_s"], 50)
        self.assertEqual(measured["copied_gb"], 0.008)

    def test_idle_time_is_the_devices(self):
        steps = [step(i * 100, i * 100 + 90, idle=i) for i in range(100)]
        measured = copy_overlap.measure([*TRACKS, *steps])
        self.assertEqual((measured["steps"], measured["idle_us_median"], measured["idle_us_p99"]), (100, 50, 99))

    def test_too_little_hidden_ends_with_one(self):
        events = [*TRACKS, request(0, 0, 1000), step(0, 900), copy(800, 1000)]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"traceEvents": events}, file)
            file.flush()
            for least, status in ((0.5, 0), (0.51, 1)):
                done = subprocess.run([sys.executable, SCRIPT, file.name, "--least", str(least)], capture_output=True)
                self.assertEqual(done.returncode, status)


if __name__ == "__main__":
    unittest.main()
