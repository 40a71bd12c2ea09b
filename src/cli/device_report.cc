#include "cli/device_report.h"

#include <fmt/format.h>

#include <string_view>

#include "bench/json_text.h"

namespace weft::cli {
namespace {

std::string Giga(double rate) { return rate > 0 ? fmt::format("{:.1f}", rate * 1e-9) : "-"; }

std::string Row(std::string_view what, std::string_view unit, const std::string& one,
                const std::string& all) {
  return fmt::format("{:<28} {:>10} {:>10}  {}\n", what, one, all, unit);
}

std::string Row(std::string_view what, std::string_view unit, const device::Rate& rate) {
  return Row(what, unit, Giga(rate.one), Giga(rate.all));
}

std::string Number(double rate) { return rate > 0 ? fmt::format("{:.0f}", rate) : "null"; }

std::string Json(std::string_view name, std::string_view unit, const device::Rate& rate) {
  return fmt::format(R"(, "{}_{}_per_second": {{"one": {}, "all": {}}})", name, unit,
                     Number(rate.one), Number(rate.all));
}

}  // namespace

std::string DeviceTable(const DeviceReport& report) {
  const device::Ceilings& ceilings = report.ceilings;
  std::string table = fmt::format("{}, {}\n\n", ceilings.device, ceilings.instructions);
  table += Row("", "", "1 thread", fmt::format("{} threads", ceilings.units));
  table += Row("memory, read", "GB/s", ceilings.memory_read);
  table += Row("memory, copied", "GB/s", ceilings.memory_copy);
  table += Row("arithmetic, bf16", "GFLOP/s", ceilings.bfloat16);
  table += Row("arithmetic, fp32", "GFLOP/s", ceilings.float32);
  table += Row("file, from the page cache", "GB/s", Giga(report.file.cached), "");
  table += Row("file, cold", "GB/s", Giga(report.file.cold), "");
  if (report.file.cold <= 0)
    table += "(cold reads: this file system keeps the file in memory; name another with --file)\n";
  return table;
}

std::string DeviceJson(const DeviceReport& report) {
  const device::Ceilings& ceilings = report.ceilings;
  std::string json = R"({"benchmark": "device", "device": )";
  bench::AppendJsonString(json, ceilings.device);
  json += R"(, "instructions": )";
  bench::AppendJsonString(json, ceilings.instructions);
  json += fmt::format(R"(, "threads": {})", ceilings.units);
  json += Json("memory_read", "bytes", ceilings.memory_read);
  json += Json("memory_copy", "bytes", ceilings.memory_copy);
  json += Json("bf16", "operations", ceilings.bfloat16);
  json += Json("fp32", "operations", ceilings.float32);
  json += fmt::format(R"(, "file_read_bytes_per_second": {{"cached": {}, "cold": {}}})",
                      Number(report.file.cached), Number(report.file.cold));
  return json + fmt::format(R"(, "seconds": {:.2f}}})", Seconds(report.took));
}

}  // namespace weft::cli
