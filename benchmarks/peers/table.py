"""The results as a table in markdown: medians, ratios of the same run, targets and ceilings beside them."""

import json
import statistics

from measurements import CASES

# Column of section A: title, sequences of a decode step (None: a prompt), wanted ratio to llama.cpp bf16.
_STEPS = {
    "prefill_512": ("prefill 512", None, 1.5),
    "prefill_2048": ("prefill 2048", None, 1.9),
    "decode_1": ("decode, batch 1", 1, 1.4),
    "decode_8": ("decode, batch 8", 8, 3.0),
    "prefill_8x128": ("prefill 8 x 128", None, None),
}
# SmolLM2-135M in bf16: what a decode step reads at least, and operations of a prompt's token (no logits) and a generated one.
_STEP_BYTES = 269e6
_CODED_SHARE = 0.753  # What Weft's coding leaves of them: docs/decisions/0012-weights-in-three-quarters.md.
_PROMPT_OPERATIONS = 0.21e9
_GENERATED_OPERATIONS = 0.27e9
_WANTED_THROUGHPUT = {"w8-burst-mixed": 4.5, "w8-burst-one": 2.0, "w8-burst-none": 2.0}
_WANTED_MIXED_TO_NONE = 0.85
_WANTED_TTFT = {"w9-2-throttled": 0.67, "w9-2": 1.0}  # Overlapped to blocking.
_WANTED_ITL = 1.5  # Overlapped to everything resident.


def _medians(results_file):
    """{case: {contender: {figure: median}}}, with "runs" and the "answers" of the last run among the figures."""
    runs = {}
    for line in results_file.read_text().splitlines():
        run = json.loads(line)
        runs.setdefault(run["case"], {}).setdefault(run["contender"], []).append(run)
    medians = {}
    for case, contenders in runs.items():
        for contender, lines in contenders.items():
            figures = {
                key: statistics.median(line[key] for line in lines)
                for key, value in lines[-1].items()
                if isinstance(value, (int, float))
            }
            figures |= {"runs": len(lines), "answers": lines[-1].get("answers", [])}
            medians.setdefault(case, {})[contender] = figures
    return medians


def _row(*cells):
    return "| " + " | ".join(cells) + " |"


def _head(*cells):
    return [_row(*cells), "|" + "---|" * len(cells)]


def _verdict(value, wanted, at_least):
    """A ratio beside its target."""
    met = value >= wanted if at_least else value <= wanted
    return f"{value:.2f} ({'>=' if at_least else '<='} {wanted:.2f}: {'met' if met else 'NOT met'})"


def _ceiling(sequences, figures, share):
    """Tokens/s if a step took as long as its weights, this share of them, take to read, or its products to compute, whichever
    is longer. The rates are those of `weft bench device` in the same runs; attention and KV are left out."""
    if "memory_bytes_per_second" not in figures:
        return ""
    if sequences is None:
        return f"{figures['bf16_operations_per_second'] / _PROMPT_OPERATIONS:.0f}"
    reading = share * _STEP_BYTES / figures["memory_bytes_per_second"]
    computing = sequences * _GENERATED_OPERATIONS / figures["bf16_operations_per_second"]
    return f"{sequences / max(reading, computing):.0f}"


def _steps(contenders):
    lines = ["## A. Steps inside the process, tokens/s", ""]
    lines += _head("", *(title for title, _, _ in _STEPS.values()))
    for name, figures in contenders.items():
        lines.append(_row(f"{name} ({figures['runs']} runs)", *(f"{figures[key]:.0f}" for key in _STEPS)))
    weft = contenders.get("weft")
    if weft is not None:
        for title, share in (("ceiling, bf16", 1.0), ("ceiling, bf16 coded in 12 bits", _CODED_SHARE)):
            ceilings = (_ceiling(sequences, weft, share) for _, sequences, _ in _STEPS.values())
            lines.append(_row(title, *ceilings))
    for peer in ("llama.cpp", "llama.cpp-q4_1"):
        if weft is None or peer not in contenders:
            continue
        cells = []
        for key, (_, _, wanted) in _STEPS.items():
            ratio = weft[key] / contenders[peer][key]
            if peer == "llama.cpp-q4_1":
                wanted = 1.0 if key == "decode_1" else None
            cells.append(_verdict(ratio, wanted, True) if wanted else f"{ratio:.2f}")
        lines.append(_row(f"weft / {peer}", *cells))
    return lines + [""]


def _same_answers(left, right):
    """How many of the prompts were answered with the same text by both."""
    if not left or not right:
        return ""
    return f"{sum(a == b for a, b in zip(left, right))} of {len(left)}"


def _load_row(case, contender, figures):
    seconds = [f"{figures[key] / 1000:.2f}" for key in ("mean_ttft_ms", "median_ttft_ms", "p99_ttft_ms")]
    itl = [f"{figures[key]:.0f}" for key in ("mean_tpot_ms", "median_itl_ms", "p99_itl_ms", "max_itl_ms")]
    return _row(
        *(case, f"{contender} ({figures['runs']})", f"{figures['request_throughput']:.2f}"),
        *(f"{figures['total_throughput']:.0f}", " / ".join(seconds), " / ".join(itl)),
        *(f"{figures['mean_e2e_latency_ms'] / 1000:.2f}", f"{figures['server_cpu_seconds']:.1f}"),
        f"{figures['client_cpu_seconds']:.1f}",
    )


def _load_rows(medians, section):
    lines = _head(
        *("case", "server (runs)", "req/s", "tokens/s in + out", "mean / median / P99 TTFT s"),
        *("mean TPOT, median / P99 / max ITL ms", "mean E2E s", "CPU s, server", "CPU s, client"),
    )
    for case in CASES:
        if case.section == section:
            lines += [_load_row(case.name, name, figures) for name, figures in medians.get(case.name, {}).items()]
    return lines + [""]


def _workload_8(medians):
    lines = ["## B. W8 through HTTP, one client", "", *_load_rows(medians, "B")]
    lines += _head("case", "weft / llama.cpp, tokens/s", "mean E2E", "same answers of base and 8 adapters")
    for case in CASES:
        found = medians.get(case.name, {})
        if case.section != "B" or not {"weft", "llama.cpp"} <= found.keys():
            continue
        weft, peer = found["weft"], found["llama.cpp"]
        ratio = weft["total_throughput"] / peer["total_throughput"]
        wanted = _WANTED_THROUGHPUT.get(case.name)
        lines.append(
            _row(
                *(case.name, _verdict(ratio, wanted, True) if wanted else f"{ratio:.2f}"),
                f"{weft['mean_e2e_latency_ms'] / peer['mean_e2e_latency_ms']:.2f}",
                _same_answers(weft["answers"], peer["answers"]),
            )
        )
    mixed, none = (medians.get(f"w8-burst-{kind}", {}).get("weft") for kind in ("mixed", "none"))
    if mixed and none:
        ratio = mixed["total_throughput"] / none["total_throughput"]
        lines += ["", f"Weft, burst, tokens/s of mixed to none: {_verdict(ratio, _WANTED_MIXED_TO_NONE, True)}"]
    return lines + [""]


def _workload_9(medians):
    lines = ["## C. W9: adapters that come and go, Weft alone", "", *_load_rows(medians, "C")]
    lines += _head("case", "mean TTFT, overlapped / blocking", "P99 ITL, overlapped / all resident")
    for case in CASES:
        found = medians.get(case.name, {})
        if case.section != "C" or not {"blocking", "overlapped"} <= found.keys():
            continue
        overlapped = found["overlapped"]
        ttft = overlapped["mean_ttft_ms"] / found["blocking"]["mean_ttft_ms"]
        wanted = _WANTED_TTFT.get(case.name)
        # Without loads nothing is read, so the throttled case's run is the one to compare with for both.
        resident = found.get("resident") or medians.get(f"{case.name}-throttled", {}).get("resident")
        itl = _verdict(overlapped["p99_itl_ms"] / resident["p99_itl_ms"], _WANTED_ITL, False) if resident else ""
        lines.append(_row(case.name, _verdict(ttft, wanted, False) if wanted else f"{ttft:.2f}", itl))
    return lines + [""]


def render(results_file):
    medians = _medians(results_file)
    lines = []
    if "steps" in medians:
        lines += _steps(medians["steps"])
    for section, table in (("B", _workload_8), ("C", _workload_9)):
        if any(case.name in medians for case in CASES if case.section == section):
            lines += table(medians)
    return "\n".join(lines)
