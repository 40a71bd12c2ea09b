"""Blocks of GGUF's quantized types, drawn: gguf-py widens all of them, but makes no K-quants."""

import gguf
import numpy

# Where a block's halves lie: its scale, and the scale of its minima (or its minimum) where it has one.
HALVES = {"Q8_0": (0,), "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,),
          "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
# Of types with minima, the second half over the first that puts the mean of random quants at zero.
CENTRED = {"Q4_1": -7.5, "Q5_1": -15.5, "Q2_K": 1.5, "Q4_K": 7.5, "Q5_K": 15.5}

# Both zeros, the smallest and the largest numbers of either kind, and two ordinary ones.
EXTREME_HALVES = numpy.array([0x0000, 0x8000, 0x0001, 0x83ff, 0x7bff, 0xfbff, 0x2e66, 0xb155], numpy.uint16)


def dequantize(kind, blocks):
    return gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind])


def random_bytes(kind, count, generator):
    return generator.integers(0, 256, (count, gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][1]), numpy.uint8)


def put_halves(blocks, offset, halves):
    blocks[:, offset:offset + 2] = numpy.asarray(halves).view(numpy.uint8).reshape(-1, 2)


def extreme_blocks(kind, generator):
    """A block with each of EXTREME_HALVES as its scale; of the last two, all other bits are 0 and 1."""
    blocks = random_bytes(kind, len(EXTREME_HALVES), generator)
    blocks[-2:] = [[0], [255]]
    for which, offset in enumerate(HALVES[kind]):
        put_halves(blocks, offset, numpy.roll(EXTREME_HALVES, 3 * which))
    return blocks


def random_weights(kind, rows, columns, deviation, generator):
    """A matrix whose elements have mean zero and about that deviation, as rows of blocks."""
    block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0]
    blocks = random_bytes(kind, rows * columns // block, generator)
    scales = generator.uniform(0.5, 1.5, len(blocks))

    def put_scales():
        for offset, factor in zip(HALVES[kind], (1.0, CENTRED.get(kind))):
            put_halves(blocks, offset, (scales * factor).astype(numpy.float16))

    put_scales()
    scales *= deviation / dequantize(kind, blocks).std()
    put_scales()
    return blocks.reshape(rows, -1)
