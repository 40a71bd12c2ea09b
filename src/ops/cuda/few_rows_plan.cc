#include "ops/cuda/few_rows_plan.h"

#include <algorithm>

#include "base/check.h"
#include "ops/cuda/tensor_map.h"

namespace weft::ops::cuda {
namespace {

/// Memory at full speed answers after 2 us, in which a multiprocessor takes 64 KiB.
constexpr int kStagesOnTheWay = 8;
constexpr int kMostUnitsOfAll = 4;    ///< That each warp takes.
constexpr int kMostUnitsOfEach = 16;  ///< Where each warp has its own; boxes have at most 256 rows.

int32_t DivideUp(int32_t a, int32_t b) { return (a + b - 1) / b; }

int32_t StageBytes(const FewRowsPlan& plan, int32_t boxes) {
  return (plan.units * kUnitOuts + plan.box_rows) * boxes * kMapRowBytes;
}

int32_t UnitsOfBlock(const GemmParams& product, int32_t blocks) {
  return DivideUp(product.out / kUnitOuts, blocks);
}

}  // namespace

bool FewRowsServes(const GemmParams& product, int32_t shared_limit) {
  return shared_limit >= kHopperShared && product.dtype == DType::kBFloat16 &&
         product.rows <= kMostFewRows && product.out % kUnitOuts == 0 &&
         product.in % kMapColumns == 0 && product.h_stride % 8 == 0 && product.d_stride % 4 == 0;
}

bool TakesUnitsInTurns(const GemmParams& product, int32_t blocks) {
  return UnitsOfBlock(product, blocks) <= kMostUnitsOfAll;
}

FewRowsPlan PlanFewRows(const GemmParams& product, int32_t blocks, int32_t ring_bytes) {
  FewRowsPlan plan;
  plan.box_rows = DivideUp(product.rows, kFewRowsTile) * kFewRowsTile;
  const int32_t units = UnitsOfBlock(product, blocks);
  plan.own_units = !TakesUnitsInTurns(product, blocks);
  plan.passes = plan.own_units ? DivideUp(units, kMostUnitsOfEach) : 1;
  plan.units = DivideUp(units, plan.passes);
  // A larger stage costs the feeder less a byte, but enough of them must be on their way.
  plan.boxes = units <= 2 && kStagesOnTheWay * StageBytes(plan, 2) <= ring_bytes ? 2 : 1;
  plan.stages = std::min(kMostFewRowsStages, ring_bytes / StageBytes(plan, plan.boxes));
  if (!plan.own_units) plan.stages -= plan.stages % kFewRowsTeams;
  WEFT_CHECK(plan.stages > 0);
  return plan;
}

FewRowsParams DescribeFewRows(const GemmParams& product, int32_t blocks, int32_t ring_bytes) {
  const FewRowsPlan plan = PlanFewRows(product, blocks, ring_bytes);
  FewRowsParams params;
  params.product = product;
  params.plan = plan;
  params.weight = MakeTensorMap({product.weight, product.out, product.in, product.in,
                                 plan.units * kUnitOuts, plan.boxes * kMapColumns});
  params.h = MakeTensorMap({product.h, product.rows, product.in, product.h_stride, plan.box_rows,
                            plan.boxes * kMapColumns});
  return params;
}

}  // namespace weft::ops::cuda
