#include "cli/device_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

DeviceReport Report() {
  DeviceReport report;
  report.ceilings.device = "cpu: \"two\"";
  report.ceilings.instructions = "avx2";
  report.ceilings.units = 2;
  report.ceilings.memory_read = {21.94e9, 40.9e9};
  report.ceilings.memory_copy = {9e9, 15e9};
  report.ceilings.bfloat16 = {213e9, 418e9};
  report.ceilings.float32 = {107e9, 0};
  report.file.cached = 8.26e9;
  report.took = std::chrono::milliseconds(2345);
  return report;
}

TEST(DeviceReportTest, TheTableIsInBillionsASecond) {
  const std::string table = DeviceTable(Report());
  EXPECT_THAT(table, HasSubstr("memory, read                       21.9       40.9  GB/s\n"));
  EXPECT_THAT(table, HasSubstr("arithmetic, fp32                  107.0          -  GFLOP/s\n"));
  EXPECT_THAT(table, HasSubstr("keeps the file in memory"));
}

TEST(DeviceReportTest, AColdReadNeedsNoExcuse) {
  DeviceReport report = Report();
  report.file.cold = 1e9;
  EXPECT_THAT(DeviceTable(report), Not(HasSubstr("keeps the file in memory")));
}

TEST(DeviceReportTest, TheJsonLineHasPlainUnitsAndNullForWhatIsUnknown) {
  EXPECT_EQ(DeviceJson(Report()),
            R"({"benchmark": "device", "device": "cpu: \"two\"", "instructions": "avx2", )"
            R"("threads": 2, )"
            R"("memory_read_bytes_per_second": {"one": 21940000000, "all": 40900000000}, )"
            R"("memory_copy_bytes_per_second": {"one": 9000000000, "all": 15000000000}, )"
            R"("bf16_operations_per_second": {"one": 213000000000, "all": 418000000000}, )"
            R"("fp32_operations_per_second": {"one": 107000000000, "all": null}, )"
            R"("file_read_bytes_per_second": {"cached": 8260000000, "cold": null}, )"
            R"("seconds": 2.35})");
}

}  // namespace
}  // namespace weft::cli
