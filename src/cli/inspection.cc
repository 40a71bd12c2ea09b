#include "cli/inspection.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/json_writer.h"

namespace weft::cli {
namespace {

/// Lines of `text`, whatever a file's name or content put into it.
std::string OneLine(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7F') c = ' ';
  }
  return line;
}

std::string_view VerdictText(Verdict verdict) {
  switch (verdict) {
    case Verdict::kYes:
      return "yes";
    case Verdict::kNo:
      return "no";
    case Verdict::kNotKnown:
      return "not known without its base model; name that with --model-path";
  }
  return "";
}

std::string JsonText(std::string_view text) {
  std::string json;
  server::JsonWriter(json).String(text);
  return json;
}

}  // namespace

void Inspection::Refuse(const Error& error) {
  verdict = Verdict::kNo;
  reason = error.message;
}

void Inspection::AddText(std::string key, std::string name, std::string_view text) {
  facts.push_back({std::move(key), JsonText(text), std::move(name), std::string(text)});
}

void Inspection::AddNumber(std::string key, std::string name, int64_t number) {
  facts.push_back(
      {std::move(key), std::to_string(number), std::move(name), std::to_string(number)});
}

void Inspection::AddBytes(std::string key, std::string name, Bytes bytes) {
  facts.push_back({std::move(key), std::to_string(bytes), std::move(name), FormatBytes(bytes)});
}

void Inspection::AddYesOrNo(std::string key, std::string name, bool yes) {
  facts.push_back({std::move(key), yes ? "true" : "false", std::move(name), yes ? "yes" : "no"});
}

void Inspection::AddStoredTypes(const std::map<std::string, Bytes>& types) {
  Bytes all = 0;
  for (const auto& [type, bytes] : types) all += bytes;
  std::vector<std::pair<std::string, Bytes>> by_size(types.begin(), types.end());
  std::stable_sort(by_size.begin(), by_size.end(),
                   [](const auto& x, const auto& y) { return x.second > y.second; });
  std::string json;
  std::string text;
  server::JsonWriter writer(json);
  writer.BeginObject();
  for (const auto& [type, bytes] : by_size) {
    writer.Key(type).Integer(bytes);
    const double share =
        all > 0 ? 100.0 * static_cast<double>(bytes) / static_cast<double>(all) : 0;
    text += fmt::format("{}{} {:.3g} %", text.empty() ? "" : ", ", type, share);
  }
  writer.EndObject();
  facts.push_back({"stored_types", std::move(json), "stored as", std::move(text)});
}

std::string InspectionText(const Inspection& inspection) {
  std::vector<std::pair<std::string, std::string>> lines = {{"path", inspection.path}};
  if (!inspection.kind.empty()) lines.emplace_back("kind", inspection.kind);
  for (const Fact& fact : inspection.facts) {
    if (!fact.name.empty()) lines.emplace_back(fact.name, fact.text);
  }
  for (const std::string& warning : inspection.warnings) lines.emplace_back("warning", warning);
  for (const std::string& what : inspection.not_checked) lines.emplace_back("not checked", what);
  std::string verdict(VerdictText(inspection.verdict));
  if (inspection.verdict == Verdict::kNo) verdict += ": " + inspection.reason;
  lines.emplace_back("would load", std::move(verdict));
  size_t widest = 0;
  for (const auto& [name, value] : lines) widest = std::max(widest, name.size());
  std::string text;
  for (const auto& [name, value] : lines) {
    text += fmt::format("{:<{}}  {}\n", name + ":", widest + 1, OneLine(value));
  }
  return text;
}

std::string InspectionJson(const Inspection& inspection) {
  std::string json;
  server::JsonWriter writer(json);
  const auto texts = [&writer](std::string_view key, const std::vector<std::string>& list) {
    writer.Key(key).BeginArray();
    for (const std::string& text : list) writer.String(text);
    writer.EndArray();
  };
  writer.BeginObject().Key("path").String(inspection.path).Key("kind");
  if (inspection.kind.empty()) {
    writer.Null();
  } else {
    writer.String(inspection.kind);
  }
  for (const Fact& fact : inspection.facts) writer.Key(fact.key).Raw(fact.json);
  texts("warnings", inspection.warnings);
  texts("not_checked", inspection.not_checked);
  writer.Key("would_load");
  if (inspection.verdict == Verdict::kNotKnown) {
    writer.Null();
  } else {
    writer.Bool(inspection.verdict == Verdict::kYes);
  }
  writer.Key("reason");
  if (inspection.verdict == Verdict::kNo) {
    writer.String(inspection.reason);
  } else {
    writer.Null();
  }
  writer.EndObject();
  return json;
}

}  // namespace weft::cli
