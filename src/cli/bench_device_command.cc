#include "cli/bench_device_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "cli/device_report.h"
#include "cli/number_range.h"
#include "ops/ceilings.h"

namespace weft::cli {
namespace {

struct Flags {
  int threads = 0;
  std::string file;
  std::string output_file;
};

/// Eight figures of the device, each of five runs: 1.6 s, and the files' at most 2.5 s.
const RateRuns kRuns = {5, std::chrono::milliseconds(40)};

Result<DeviceReport> Measure(const Flags& flags) {
  const SteadyClock clock;
  const Moment start = clock.Now();
  const auto device = device::CreateCpuDevice();
  const int threads =
      flags.threads > 0 ? flags.threads : static_cast<int>(std::thread::hardware_concurrency());
  DeviceReport report;
  WEFT_ASSIGN_OR_RETURN(report.ceilings, ops::MeasureCeilings(*device, threads, clock, kRuns));
  WEFT_ASSIGN_OR_RETURN(report.file, bench::MeasureFileRead(flags.file, clock, kRuns));
  report.took = clock.Now() - start;
  return report;
}

Status Append(const std::string& path, const std::string& line) {
  std::FILE* file = std::fopen(path.c_str(), "a");
  const bool written = file != nullptr && std::fputs(line.c_str(), file) >= 0;
  const bool closed = file != nullptr && std::fclose(file) == 0;
  if (written && closed) return OkStatus();
  return MakeError(ErrorCode::kIo,
                   "--output-file {}: cannot be written; name a file in a folder "
                   "that exists",
                   path);
}

Status Run(const Flags& flags) {
  WEFT_ASSIGN_OR_RETURN(const DeviceReport report, Measure(flags));
  fmt::print("{}", DeviceTable(report));
  const std::string line = DeviceJson(report) + "\n";
  if (!flags.output_file.empty()) return Append(flags.output_file, line);
  fmt::print("\n{}", line);
  return OkStatus();
}

}  // namespace

CLI::App* RegisterBenchDeviceCommand(CLI::App& bench, int& exit_code) {
  CLI::App* app = bench.add_subcommand(
      "device", "Measure what this machine can do: memory, arithmetic, files (a few seconds)");
  const auto flags = std::make_shared<Flags>();
  app->add_option("--threads", flags->threads, "How many \"all\" threads are; 0: one a processor")
      ->check(NumberRange(0, 1024));
  app->add_option("--file", flags->file,
                  "A file whose reading is measured (it is dropped from the page cache); default: "
                  "a temporary one")
      ->check(CLI::ExistingFile);
  app->add_option("--output-file", flags->output_file,
                  "Append the results here as a line of JSON; default: print it");
  app->footer(
      "The machine should have nothing else to do meanwhile. A figure is the median of 5 "
      "short runs.");
  app->callback([flags, &exit_code] {
    const Status status = Run(*flags);
    exit_code = status.ok() ? 0 : 1;
    if (!status.ok()) fmt::print(stderr, "weft bench device: {}\n", status.error().message);
  });
  return app;
}

}  // namespace weft::cli
