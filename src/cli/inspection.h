#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace weft::cli {

/// One thing that is said of a model or an adapter.
struct Fact {
  std::string key;   ///< In JSON.
  std::string json;  ///< A whole JSON value.
  std::string name;  ///< For a person; empty: in JSON only.
  std::string text;
};

/// Whether `weft serve` would load it.
enum class Verdict : uint8_t {
  kYes,
  kNo,
  kNotKnown,  ///< An adapter whose base model was not given, and which no base model would refuse.
};

/// What `weft inspect` found at one path.
struct Inspection {
  std::string path;
  std::string kind;  ///< "model" or "adapter"; empty when it is neither.
  std::vector<Fact> facts;
  std::vector<std::string> warnings;     ///< What serving would log.
  std::vector<std::string> not_checked;  ///< What could still be wrong with it.
  Verdict verdict = Verdict::kYes;
  std::string reason;  ///< Of kNo: the message that serving would give.

  void Refuse(const Error& error);

  void AddText(std::string key, std::string name, std::string_view text);
  void AddNumber(std::string key, std::string name, int64_t number);
  void AddBytes(std::string key, std::string name, Bytes bytes);
  void AddYesOrNo(std::string key, std::string name, bool yes);
  /// The file's own types and the bytes stored in each.
  void AddStoredTypes(const std::map<std::string, Bytes>& types);
};

/// "name: value" lines, values aligned.
std::string InspectionText(const Inspection& inspection);
/// One JSON object without line breaks. docs/inspect.md has the fields.
std::string InspectionJson(const Inspection& inspection);

}  // namespace weft::cli
