#include "adapter/allowed_path.h"

namespace weft::adapter {
namespace {

Status CheckUnder(const std::string& path, const std::string& resolved, const std::string& root) {
  if (resolved == root || resolved.starts_with(root == "/" ? root : root + "/")) return OkStatus();
  return MakeError(ErrorCode::kInvalidArgument,
                   "'{}' leads to '{}', which is not under '{}'; put the adapter there", path,
                   resolved, root);
}

}  // namespace

Result<std::string> ResolveAdapterFolder(FileSystem& files, const std::string& path,
                                         const std::string& root) {
  if (root.empty()) return path;
  WEFT_ASSIGN_OR_RETURN(const std::string allowed, files.Resolve(root));
  WEFT_ASSIGN_OR_RETURN(std::string folder, files.Resolve(path));
  WEFT_RETURN_IF_ERROR(CheckUnder(path, folder, allowed));
  for (const char* name : {"/adapter_config.json", "/adapter_model.safetensors"}) {
    const std::string file = folder + name;
    const Result<std::string> resolved = files.Resolve(file);
    // A file that is missing is explained by whoever opens it.
    if (resolved.ok()) WEFT_RETURN_IF_ERROR(CheckUnder(file, *resolved, allowed));
  }
  return folder;
}

}  // namespace weft::adapter
