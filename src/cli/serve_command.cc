#include "cli/serve_command.h"

#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "cli/serve_options.h"
#include "cli/serving.h"

namespace weft::cli {
namespace {

/// How long running requests may go on after SIGTERM.
constexpr Duration kDrainLimit = std::chrono::seconds(20);

/// Flags as /get_server_info shows them; keys stay secret.
std::vector<std::pair<std::string, std::string>> Flags(const CLI::App& serve) {
  std::vector<std::pair<std::string, std::string>> flags;
  for (const CLI::Option* option : serve.get_options()) {
    std::string name = option->get_name(false, true);
    name = name.substr(0, name.find(','));
    if (!name.starts_with("--") || name == "--help" || name.find("key") != std::string::npos)
      continue;
    name = name.substr(2);
    for (char& c : name) c = c == '-' ? '_' : c;
    const auto values = option->results();
    std::string value = option->get_default_str();
    if (!values.empty()) value = fmt::format("{}", fmt::join(values, " "));
    flags.emplace_back(std::move(name), std::move(value));
  }
  return flags;
}

int WaitForSignal(const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
  return signal;
}

/// While it lives, another signal ends every request at once.
class SecondSignal {
 public:
  SecondSignal(const sigset_t& signals, Serving& serving)
      : thread_([&signals, &serving](const std::stop_token& stop) {
          const timespec patience = {.tv_sec = 0, .tv_nsec = 100'000'000};
          while (!stop.stop_requested()) {
            if (sigtimedwait(&signals, nullptr, &patience) < 0) continue;
            spdlog::info("a second signal: ending what runs");
            serving.AbortAll();
          }
        }) {}

 private:
  std::jthread thread_;
};

int Fail(const Error& error, int exit_code) {
  fmt::print(stderr, "weft serve: {}\n", error.message);
  return exit_code;
}

int Serve(const CLI::App& app, const ServeOptions& options) {
  const Status checked = CheckServeOptions(options);
  if (!checked.ok()) return Fail(checked.error(), 2);
  const Status logging = SetUpLogging(
      options.log_level, options.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
  if (!logging.ok()) return Fail(logging.error().WithContext("--log-level"), 2);

  // Before any thread starts, so that all inherit it and only sigwait sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  auto serving = Serving::Create(options);
  if (!serving.ok()) return Fail(serving.error(), 1);
  const Status started = (*serving)->StartServer(Flags(app));
  if (!started.ok()) return Fail(started.error(), 1);
  spdlog::info("ready at {}", (*serving)->Address());
  const int signal = WaitForSignal(signals);
  spdlog::info("{}: finishing what runs, for at most {} s", signal == SIGINT ? "SIGINT" : "SIGTERM",
               Seconds(kDrainLimit));
  {
    const SecondSignal impatience(signals, **serving);
    (*serving)->Stop(kDrainLimit);
  }
  return 0;
}

}  // namespace

void RegisterServeCommand(CLI::App& weft, int& exit_code) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* serve = weft.add_subcommand("serve", "Serve a model and its adapters over HTTP");
  AddServeFlags(*serve, *options);
  serve->callback([serve, options, &exit_code] {
    const Status configured = ApplyConfigFile(*serve, *options);
    exit_code = configured.ok() ? Serve(*serve, *options) : Fail(configured.error(), 2);
  });
}

}  // namespace weft::cli
