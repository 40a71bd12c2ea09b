#include "cli/given_flags.h"

namespace weft::cli {

Status GiveFlags(CLI::App& command, const bench::FlagValues& flags, std::string_view file_flag,
                 const std::string& where) {
  for (const auto& [key, values] : flags) {
    CLI::Option* option = command.get_option_no_throw("--" + key);
    if (option == nullptr || key == file_flag) {
      return MakeError(ErrorCode::kInvalidArgument, "{}{}: no such flag of weft {}", where, key,
                       command.get_name());
    }
    if (option->count() > 0) continue;
    try {
      option->add_result(values);
      option->run_callback();
    } catch (const CLI::Error& error) {
      return MakeError(ErrorCode::kInvalidArgument, "{}{}", where, error.what());
    }
  }
  return OkStatus();
}

}  // namespace weft::cli
