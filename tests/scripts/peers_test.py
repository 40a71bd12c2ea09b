"""The files that benchmarks/peers makes for llama.cpp, and the table of its results."""

import json
import pathlib
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks/peers"))

import gguf_lora  # noqa: E402
import table  # noqa: E402


def write_peft(folder, tensors):
    """`tensors`: (name, shape, float values)."""
    header, data = {}, b""
    for name, shape, values in tensors:
        raw = struct.pack(f"<{len(values)}f", *values)
        header[f"base_model.model.model.layers.0.{name}.weight"] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 32, "r": 1}))


class GgufLoraTest(unittest.TestCase):
    def test_halves_of_each_head_become_neighbours(self):
        self.assertEqual(
            gguf_lora.interleave_halves([0, 1, 2, 3, 10, 11, 12, 13], head_dim=4), [0, 2, 1, 3, 10, 12, 11, 13]
        )

    def test_only_b_of_q_and_k_changes_its_order(self):
        rows = [0.0, 1.0, 2.0, 3.0]
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_peft(
                folder,
                [
                    ("self_attn.q_proj.lora_A", [1, 4], rows),
                    ("self_attn.q_proj.lora_B", [4, 1], rows),
                    ("self_attn.v_proj.lora_B", [4, 1], rows),
                ],
            )
            gguf_lora.write(folder, folder / "a.gguf", head_dim=4)
            data = (folder / "a.gguf").read_bytes()
        self.assertEqual(struct.unpack("<4sIQQ", data[:24]), (b"GGUF", 3, 3, 4))
        at = data.index(b"blk.0.attn_q.weight.lora_b") + len("blk.0.attn_q.weight.lora_b")
        dimensions, *sizes, kind, offset = struct.unpack("<IQQIQ", data[at : at + 32])
        self.assertEqual((dimensions, sizes, kind, offset), (2, [1, 4], 0, 32))
        start = len(data) - 3 * 32
        self.assertEqual(start % 32, 0)
        values = [struct.unpack("<4f", data[start + i * 32 : start + i * 32 + 16]) for i in range(3)]
        self.assertEqual(values, [(0, 1, 2, 3), (0, 2, 1, 3), (0, 1, 2, 3)])

    def test_another_modules_adapter_is_refused(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_peft(folder, [("mlp.experts.lora_A", [1, 4], [0.0] * 4)])
            with self.assertRaisesRegex(ValueError, "mlp.experts.lora_A"):
                gguf_lora.write(folder, folder / "a.gguf", head_dim=4)


class TableTest(unittest.TestCase):
    def render(self, runs):
        with tempfile.TemporaryDirectory() as name:
            file = pathlib.Path(name) / "results.jsonl"
            file.write_text("".join(json.dumps(run) + "\n" for run in runs))
            return table.render(file)

    def test_ratios_are_those_of_medians_with_the_target_beside(self):
        speeds = {"prefill_512": 1500, "prefill_2048": 900, "decode_8": 600, "prefill_8x128": 1000}
        runs = [{"case": "steps", "contender": "weft", "decode_1": one, **speeds} for one in (90, 120, 5000)]
        runs.append({"case": "steps", "contender": "llama.cpp", "decode_1": 80, **{key: 600 for key in speeds}})
        text = self.render(runs)
        self.assertIn("| weft (3 runs) | 1500 | 900 | 120 | 600 | 1000 |", text)
        self.assertIn(
            "| weft / llama.cpp | 2.50 (>= 1.50: met) | 1.50 (>= 1.90: NOT met) | 1.50 (>= 1.40: met) "
            "| 1.00 (>= 3.00: NOT met) | 1.67 |",
            text,
        )

    def test_the_ceiling_is_what_the_machine_was_measured_to_give(self):
        speeds = dict.fromkeys(("prefill_512", "prefill_2048", "decode_1", "decode_8", "prefill_8x128"), 100)
        run = {"case": "steps", "contender": "weft", **speeds}
        rates = {"memory_bytes_per_second": 26.9e9, "bf16_operations_per_second": 210e9}
        self.assertIn("| ceiling, bf16 | 1000 | 1000 | 100 | 778 | 1000 |", self.render([run | rates]))
        slow_arithmetic = rates | {"bf16_operations_per_second": 108e9}
        self.assertIn("| ceiling, bf16 | 514 | 514 | 100 | 400 | 514 |", self.render([run | slow_arithmetic]))

    def test_answers_that_differ_are_counted(self):
        figures = dict.fromkeys(
            (
                *("request_throughput", "total_throughput", "mean_ttft_ms", "median_ttft_ms", "p99_ttft_ms"),
                *("mean_tpot_ms", "median_itl_ms", "p99_itl_ms", "max_itl_ms", "mean_e2e_latency_ms"),
                *("server_cpu_seconds", "client_cpu_seconds"),
            ),
            10.0,
        )
        runs = [
            {"case": "w8-burst-mixed", "contender": "weft", **figures, "answers": ["a", "b", "c"]},
            {"case": "w8-burst-mixed", "contender": "llama.cpp", **figures, "answers": ["a", "b", "d"]},
        ]
        self.assertIn("| w8-burst-mixed | 1.00 (>= 4.50: NOT met) | 1.00 | 2 of 3 |", self.render(runs))


if __name__ == "__main__":
    unittest.main()
