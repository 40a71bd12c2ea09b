#include "bench/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace weft::bench {
namespace {

constexpr size_t kBarCells = 30;
constexpr Duration kRedrawEvery = std::chrono::milliseconds(100);

std::string MinutesSeconds(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  const int64_t hours = whole / 3600;
  const std::string rest = fmt::format("{:02}:{:02}", whole / 60 % 60, whole % 60);
  return hours > 0 ? fmt::format("{}:{}", hours, rest) : rest;
}

}  // namespace

std::string RenderProgress(size_t done, size_t total, double seconds) {
  constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const size_t eighths = total == 0 ? 0 : done * kBarCells * 8 / total;
  std::string bar;
  for (size_t i = 0; i < eighths / 8; ++i) bar += "█";
  bar += kEighths[eighths % 8];
  const size_t used = (eighths + 7) / 8;
  bar.append(kBarCells - used, ' ');
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const std::string left =
      rate > 0 ? MinutesSeconds(static_cast<double>(total - done) / rate) : "?";
  return fmt::format("{:3}%|{}| {}/{} [{}<{}, {:5.2f}req/s]", total == 0 ? 100 : done * 100 / total,
                     bar, done, total, MinutesSeconds(seconds), left, rate);
}

ProgressBar::ProgressBar(size_t total, bool enabled, const Clock& clock)
    : total_(total),
      enabled_(enabled && isatty(STDERR_FILENO) != 0),
      clock_(clock),
      start_(clock.Now()) {
  Draw();
}

ProgressBar::~ProgressBar() {
  Draw();
  if (enabled_) std::fputs("\n", stderr);
}

void ProgressBar::Update(size_t done) {
  done_ = done;
  if (clock_.Now() - drawn_ >= kRedrawEvery) Draw();
}

void ProgressBar::Draw() {
  if (!enabled_) return;
  drawn_ = clock_.Now();
  fmt::print(stderr, "\r{}", RenderProgress(done_, total_, Seconds(drawn_ - start_)));
  std::fflush(stderr);
}

}  // namespace weft::bench
