#include "model/profile_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string_view>

namespace weft::model {
namespace {

constexpr std::array<std::string_view, kStepKindCount> kKindNames = {"decode", "prefill", "mixed"};

double Arithmetic(const Profile& profile) {
  return profile.dtype == DType::kBFloat16 ? profile.ceilings.bfloat16.all
                                           : profile.ceilings.float32.all;
}

double Share(double part, double of) { return of > 0 ? part / of : 0; }

void AppendRow(const Profile& profile, std::string_view name, const KindProfile::Part& part,
               Duration busy, uint64_t steps, std::string& to) {
  const double seconds = Seconds(part.time);
  fmt::format_to(std::back_inserter(to), "{:<10} {:>9} {:>10.3f} {:>10.1f} {:>10.3f}", name,
                 part.calls, seconds,
                 Share(seconds * 1e6, static_cast<double>(std::max<uint64_t>(part.calls, 1))),
                 Share(seconds * 1e3, static_cast<double>(steps)));
  if (part.work.bytes() > 0) {
    fmt::format_to(std::back_inserter(to), " {:>10.2f} {:>9.3f} {:>7.1f} {:>8.1f} {:>8.1f}%",
                   Share(static_cast<double>(part.work.bytes()) * 1e-6, static_cast<double>(steps)),
                   Share(part.work.operations * 1e-9, static_cast<double>(steps)),
                   Share(static_cast<double>(part.work.bytes()) * 1e-9, seconds),
                   Share(part.work.operations * 1e-9, seconds),
                   100 * Share(FloorSeconds(part.work, profile), seconds));
  } else {
    fmt::format_to(std::back_inserter(to), " {:>10} {:>9} {:>7} {:>8} {:>9}", "-", "-", "-", "-",
                   "-");
  }
  const double share = Share(seconds, Seconds(busy));
  to += busy.count() > 0 ? fmt::format(" {:>7.2f}%\n", 100 * share) : fmt::format(" {:>8}\n", "-");
}

void AppendTable(const Profile& profile, std::string_view name, const KindProfile& kind,
                 std::string& to) {
  fmt::format_to(
      std::back_inserter(to),
      "\n{} steps: {}, {:.1f} rows and {:.3f} ms each, of which {:.3f} ms computing\n", name,
      kind.steps, Share(static_cast<double>(kind.rows), static_cast<double>(kind.steps)),
      Share(Seconds(kind.busy()) * 1e3, static_cast<double>(kind.steps)),
      Share(
          Seconds(kind.busy() - kind[StepPart::kHandOver].time - kind[StepPart::kPlan].time) * 1e3,
          static_cast<double>(kind.steps)));
  fmt::format_to(std::back_inserter(to),
                 "{:<10} {:>9} {:>10} {:>10} {:>10} {:>10} {:>9} {:>7} {:>8} {:>9} {:>8}\n", "part",
                 "calls", "s", "us/call", "ms/step", "MB/step", "GF/step", "GB/s", "GFLOP/s",
                 "ceiling", "step");
  KindProfile::Part whole;
  for (size_t i = 0; i < kStepPartCount; ++i) {
    const auto part = static_cast<StepPart>(i);
    const Duration busy = part == StepPart::kIdle ? Duration{} : kind.busy();
    AppendRow(profile, StepPartName(part), kind[part], busy, kind.steps, to);
    whole.work += kind[part].work;
  }
  whole.calls = kind.steps;
  whole.time = kind.busy();
  AppendRow(profile, "all", whole, kind.busy(), kind.steps, to);
}

std::string PartJson(const Profile& profile, const KindProfile::Part& part) {
  const Work& work = part.work;
  return fmt::format(
      R"({{"calls": {}, "seconds": {:.9f}, "bytes": {{"weights": {}, "kv": {}, "adapters": {}, )"
      R"("activations": {}}}, "operations": {:.0f}, "ceiling_share": {:.6f}}})",
      part.calls, Seconds(part.time), work.weights, work.kv, work.adapters, work.activations,
      work.operations, Share(FloorSeconds(work, profile), Seconds(part.time)));
}

}  // namespace

double FloorSeconds(const Work& work, const Profile& profile) {
  return std::max(Share(static_cast<double>(work.bytes()), profile.ceilings.memory_read.all),
                  Share(work.operations, Arithmetic(profile)));
}

std::string ProfileText(const Profile& profile) {
  const device::Ceilings& ceilings = profile.ceilings;
  std::string text = fmt::format(
      "{}, {}, {} threads: {:.1f} GB/s read from memory, {:.1f} GFLOP/s\n"
      "Bytes and operations are the least there can be; \"ceiling\" is the larger of their times "
      "at those rates over the time taken.\n",
      ceilings.device, ceilings.instructions, ceilings.units, ceilings.memory_read.all * 1e-9,
      Arithmetic(profile) * 1e-9);
  for (size_t i = 0; i < kStepKindCount; ++i) {
    if (profile.kinds[i].steps > 0) AppendTable(profile, kKindNames[i], profile.kinds[i], text);
  }
  return text;
}

std::string ProfileJson(const Profile& profile) {
  std::string json = fmt::format(
      R"({{"memory_bytes_per_second": {:.0f}, "operations_per_second": {:.0f}, "steps": {{)",
      profile.ceilings.memory_read.all, Arithmetic(profile));
  for (size_t i = 0; i < kStepKindCount; ++i) {
    const KindProfile& kind = profile.kinds[i];
    json +=
        fmt::format(R"({}"{}": {{"count": {}, "rows": {}, "seconds": {:.9f}, "parts": {{)",
                    i == 0 ? "" : ", ", kKindNames[i], kind.steps, kind.rows, Seconds(kind.busy()));
    for (size_t p = 0; p < kStepPartCount; ++p) {
      json += fmt::format(R"({}"{}": {})", p == 0 ? "" : ", ",
                          StepPartName(static_cast<StepPart>(p)), PartJson(profile, kind.parts[p]));
    }
    json += "}}";
  }
  return json + "}}";
}

}  // namespace weft::model
