"""Makes tests/data/gguf/k-quants.expected.json: what transformers, which reads the file itself, computes with k-quants.gguf.

Run with the Python of scripts/reference-environment, after make_gguf.py. The numbers are those of make_models.py.
"""

import transformers

import make_models

FOLDER = make_models.REPOSITORY / "tests/data/gguf"


def main():
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file="k-quants.gguf",
                                                              attn_implementation="eager")
    make_models.write_expected(FOLDER / "k-quants.expected.json", model, seed=200)


if __name__ == "__main__":
    main()
