// The table of this instruction set's kernels. Included once for each, last, inside its namespace.

template <class E>
inline constexpr Kernels kPlainTable = {
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
    .panel_bytes = PlainPanelBytes<E>,
    .code_panel = nullptr,
    .weight_gemm = PlainWeightGemm<E>,
    .unpack_row = UnpackRow<E>,
    .largest = Largest,
    .sum_exp = SumExp,
    .race = Race,
};
