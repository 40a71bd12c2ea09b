#include "cli/given_flags.h"

#include "base/file.h"

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

Result<bench::Workload> GiveWorkload(CLI::App& command, const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(const std::string toml, LocalFiles().ReadText(path));
  WEFT_ASSIGN_OR_RETURN(bench::Workload workload, bench::ParseWorkload(toml, path));
  WEFT_RETURN_IF_ERROR(GiveFlags(command, workload.bench, "workload", path + ": [bench] "));
  return workload;
}

}  // namespace weft::cli
