// The table of this instruction set's kernels. Included once for each, last, inside its namespace.

template <class E>
inline constexpr Kernels kTable = {
    .gemm = Gemm<E>,
    .shrink = Shrink<E>,
    .rms_norm = RmsNorm<E>,
    .add_row = AddRow,
    .silu_multiply = SiluMultiply<E>,
    .finish_head = FinishHead,
    .store_row = StoreRow<E>,
    .store_k = StoreK<E>,
    .store_v = StoreV<E>,
    .attend = Attend<E>,
    .unpack_row = UnpackRow<E>,
    .largest = Largest,
    .sum_exp = SumExp,
    .race = Race,
};

const Kernels& Bfloat16Kernels() { return kTable<BFloat16Element>; }
const Kernels& Float32Kernels() { return kTable<Float32Element>; }
