#include <cstdlib>

#include "checkpoint/model_files.h"

namespace weft::checkpoint {
namespace {

bool IsNamePart(std::string_view part) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !part.empty() && part.size() <= 96 && part != "." && part != ".." &&
         part.find_first_not_of(kAllowed) == part.npos;
}

std::string Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(kSpace) - first + 1));
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

}  // namespace

Result<std::string> ResolveModelPath(FileSystem& files, const std::string& path_or_org_name,
                                     const std::string& cache_root) {
  const Result<FileStamp> stamp = files.Stat(path_or_org_name);
  if (stamp.ok()) return path_or_org_name;
  if (stamp.error().code != ErrorCode::kNotFound) return stamp.error();
  const std::string_view name = path_or_org_name;
  const size_t slash = name.find('/');
  if (slash == name.npos || !IsNamePart(name.substr(0, slash)) ||
      !IsNamePart(name.substr(slash + 1))) {
    return MakeError(ErrorCode::kNotFound,
                     "'{}' does not exist; give a path, or the org/name of what is in the local "
                     "Hugging Face cache",
                     name);
  }
  const std::string folder =
      fmt::format("{}/models--{}--{}", cache_root, name.substr(0, slash), name.substr(slash + 1));
  const Result<std::string> reference = files.ReadText(folder + "/refs/main", 4 * kKiB);
  const std::string commit = reference.ok() ? Trim(*reference) : std::string();
  const std::string snapshot = fmt::format("{}/snapshots/{}", folder, commit);
  if (!IsNamePart(commit) || !files.Stat(snapshot).ok()) {
    return MakeError(ErrorCode::kNotFound,
                     "'{0}' is neither a path nor in the local Hugging Face cache at '{1}'; "
                     "download it with `hf download {0}` (`huggingface-cli download {0}` in older "
                     "releases)",
                     name, cache_root);
  }
  return snapshot;
}

std::string HuggingFaceCacheRoot() {
  if (const std::string hub = Environment("HF_HUB_CACHE"); !hub.empty()) return hub;
  if (const std::string home = Environment("HF_HOME"); !home.empty()) return home + "/hub";
  std::string cache = Environment("XDG_CACHE_HOME");
  if (cache.empty()) cache = Environment("HOME") + "/.cache";
  return cache + "/huggingface/hub";
}

}  // namespace weft::checkpoint
