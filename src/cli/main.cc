#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "cli/bench_command.h"
#include "cli/inspect_command.h"
#include "cli/make_command.h"
#include "cli/serve_command.h"
#include "cli/simulate_command.h"

namespace {

constexpr int kUsageError = 2;

int Run(int argc, char** argv) {
  CLI::App weft("Serves one base language model and very many LoRA adapters.", "weft");
  weft.set_version_flag("--version", "weft 0.1.0");
  weft.require_subcommand(1);
  weft.get_formatter()->column_width(36);
  int exit_code = 0;
  weft::cli::RegisterServeCommand(weft, exit_code);
  weft::cli::RegisterInspectCommand(weft, exit_code);
  weft::cli::RegisterBenchCommand(weft, exit_code);
  weft::cli::RegisterMakeCommand(weft, exit_code);
  weft::cli::RegisterSimulateCommand(weft, exit_code);
  try {
    weft.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return weft.exit(success);
  } catch (const CLI::ParseError& error) {
    std::string command = "weft";
    for (const CLI::App* sub : weft.get_subcommands()) command += " " + sub->get_name();
    std::string what = error.what();
    if (weft.get_subcommands().empty() && argc > 1 && argv[1][0] != '-')
      what = fmt::format("'{}' is no command", argv[1]);
    fmt::print(stderr, "{0}: {1} (see {0} --help)\n", command, what);
    return kUsageError;
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "weft: {}\n", error.what());
    return 1;
  }
}
