#include "bench/workload.h"

#include <fmt/format.h>

#include <set>

#include "base/toml_text.h"
#include "bench/json_text.h"

namespace weft::bench {
namespace {

constexpr int64_t kMaxAdapters = 1'000'000;
constexpr int64_t kMaxRank = 4096;

/// A scalar as the command line would have it; nothing for anything else.
std::optional<std::string> FlagText(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* number = node.as_floating_point()) return PythonFloat(number->get(), "inf");
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  return std::nullopt;
}

Result<std::vector<std::string>> ValuesOf(std::string_view key, const toml::node& node) {
  std::vector<std::string> values;
  const auto take = [&](const toml::node& element) {
    const auto text = FlagText(element);
    if (text) values.push_back(*text);
    return text.has_value();
  };
  bool good = true;
  if (const toml::array* list = node.as_array()) {
    for (const toml::node& element : *list) good = good && take(element);
  } else {
    good = take(node);
  }
  if (!good) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: must be a string, a number, true or false, or a list of them", key);
  }
  return values;
}

/// `where`: before a key in messages.
Result<FlagValues> FlagsOf(const toml::table& table, std::string_view where) {
  FlagValues flags;
  for (const auto& [key, value] : table) {
    WEFT_ASSIGN_OR_RETURN(auto values, ValuesOf(fmt::format("{}{}", where, key.str()), value));
    flags.emplace_back(key.str(), std::move(values));
  }
  return flags;
}

Status AddAdapterGroup(const toml::table& table, std::vector<AdapterGroup>& groups) {
  const auto name = table["name"].value<std::string>();
  const auto count = table["count"].value<int64_t>();
  if (!name || !count || *count < 1 || *count > kMaxAdapters) {
    return Error{ErrorCode::kInvalidArgument,
                 "[[adapters]]: needs a `name`, and a `count` of 1 to 1000000"};
  }
  AdapterGroup group{*name, *count};
  if (table.contains("rank")) group.rank = table["rank"].value<int64_t>().value_or(0);
  if (group.rank < 1 || group.rank > kMaxRank) {
    return MakeError(ErrorCode::kInvalidArgument, "[[adapters]]: the rank of '{}' is not 1 to {}",
                     *name, kMaxRank);
  }
  if (table.contains("dtype")) group.dtype = table["dtype"].value<std::string>().value_or("");
  if (group.dtype != "float32" && group.dtype != "bfloat16" && group.dtype != "float16") {
    return MakeError(ErrorCode::kInvalidArgument,
                     "[[adapters]]: the dtype of '{}' is not float32, bfloat16 or float16", *name);
  }
  groups.push_back(std::move(group));
  return OkStatus();
}

Status ReadTables(const toml::table& root, Workload& workload) {
  const std::set<std::string_view> known = {"name",  "description", "bench",
                                            "serve", "model",       "adapters"};
  for (const auto& [key, value] : root) {
    if (!known.contains(key.str())) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "unknown key '{}'; a workload has name, description, [model], [[adapters]], "
                       "[serve] and [bench]",
                       key.str());
    }
  }
  const toml::table* bench = root["bench"].as_table();
  if (bench == nullptr) return Error{ErrorCode::kInvalidArgument, "the table [bench] is missing"};
  WEFT_ASSIGN_OR_RETURN(workload.bench, FlagsOf(*bench, "[bench] "));
  if (const toml::table* serve = root["serve"].as_table()) {
    WEFT_ASSIGN_OR_RETURN(workload.serve, FlagsOf(*serve, "[serve] "));
  }
  workload.model_like = root["model"]["like"].value<std::string>();
  if (!workload.model_like && root["model"]["like"])
    return Error{ErrorCode::kInvalidArgument, "[model] like: must be a name"};
  const toml::array* groups = root["adapters"].as_array();
  if (groups == nullptr) return OkStatus();
  for (const toml::node& group : *groups) {
    if (!group.is_table()) {
      return Error{ErrorCode::kInvalidArgument, "adapters: must be tables, [[adapters]]"};
    }
    WEFT_RETURN_IF_ERROR(AddAdapterGroup(*group.as_table(), workload.adapters));
  }
  return OkStatus();
}

}  // namespace

std::vector<std::string> Workload::AdapterNames() const {
  std::vector<std::string> names;
  for (const AdapterGroup& group : adapters)
    for (int64_t i = 0; i < group.count; ++i) names.push_back(fmt::format("{}-{}", group.name, i));
  return names;
}

Result<Workload> ParseWorkload(std::string_view toml, std::string_view name) {
  WEFT_ASSIGN_OR_RETURN(const toml::table root, ParseToml(toml, name));
  Workload workload;
  if (const Status status = ReadTables(root, workload); !status) {
    return status.error().WithContext(name);
  }
  return workload;
}

Result<FlagValues> ParseServeFlags(std::string_view toml, std::string_view name) {
  WEFT_ASSIGN_OR_RETURN(const toml::table root, ParseToml(toml, name));
  const toml::table* serve = root["serve"].as_table();
  auto flags = FlagsOf(serve != nullptr ? *serve : root, serve != nullptr ? "[serve] " : "");
  if (!flags.ok()) return flags.error().WithContext(name);
  return flags;
}

}  // namespace weft::bench
