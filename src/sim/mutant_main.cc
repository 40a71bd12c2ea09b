// Runs drawn histories against production code with a planted fault until one says what the fault's
// table expects. Each history is run in a forked child, so that a failed WEFT_CHECK ends only that.
//
//   mutant TEXT...     exit 0 when, within 1000 seeds, a violation contains one of the texts;
//                      "assertion" stands for an abort.
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/history.h"

namespace weft::sim {
namespace {

constexpr uint64_t kSeeds = 1000;
constexpr int kMillisecondsForOne = 20'000;

[[noreturn]] void RunInChild(uint64_t seed, int output) {
  spdlog::set_level(spdlog::level::off);
  dup2(output, STDERR_FILENO);
  const Outcome outcome = History(DrawScenario(seed)).Run();
  if (outcome.violation) {
    const std::string text = outcome.violation->substr(0, outcome.violation->find('\n'));
    std::fputs(text.c_str(), stderr);
  }
  _exit(0);
}

/// What the child wrote until it ended; none: it did not end in time.
std::optional<std::string> ReadToEnd(int input) {
  std::string text;
  char buffer[4096];
  pollfd waiting{input, POLLIN, 0};
  while (poll(&waiting, 1, kMillisecondsForOne) > 0) {
    const ssize_t count = read(input, buffer, sizeof(buffer));
    if (count <= 0) return text;
    text.append(buffer, static_cast<size_t>(count));
  }
  return std::nullopt;
}

/// What is wrong with the history of this seed; empty: nothing.
std::string Violation(uint64_t seed) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) RunInChild(seed, ends[1]);
  close(ends[1]);
  const std::optional<std::string> said = ReadToEnd(ends[0]);
  close(ends[0]);
  if (!said) kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  if (!said) return "no end: the history took too long";
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) {
    return "assertion: " + said->substr(0, said->find('\n'));
  }
  if (WIFSIGNALED(status)) return fmt::format("signal {}", WTERMSIG(status));
  return *said;
}

int Main(const std::vector<std::string>& expected) {
  std::string other;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const std::string violation = Violation(seed);
    if (violation.empty()) continue;
    const bool found = std::any_of(expected.begin(), expected.end(), [&](const std::string& text) {
      return violation.find(text) != std::string::npos;
    });
    if (found) {
      fmt::print("seed {}: {}\n", seed, violation);
      return 0;
    }
    if (other.empty()) other = fmt::format("; seed {} says: {}", seed, violation);
  }
  fmt::print("{} seeds say nothing of what is expected{}\n", kSeeds, other);
  return 1;
}

}  // namespace
}  // namespace weft::sim

int main(int argc, char** argv) {
  return weft::sim::Main(std::vector<std::string>(argv + 1, argv + argc));
}
