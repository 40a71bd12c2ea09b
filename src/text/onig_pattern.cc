#include "text/onig_pattern.h"

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "text/unicode_additions.h"
#include "text/utf8.h"

namespace weft::text {
namespace {

constexpr size_t kNone = std::string::npos;

// A general category with the characters that PCRE2's Unicode lacks, as the inside of a class.
std::string Category(std::string_view name) {
  return fmt::format("\\p{{{}}}{}", name, UnicodeAdditions(name));
}

// Oniguruma's word characters, as the inside of a class. Latin-1's numbers come from its table for
// single bytes.
std::string WordCharacters() {
  return R"(\p{Alphabetic}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})" + Category("L") + Category("M") +
         Category("Nd");
}

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) { groups_.push_back({0, 0}); }

  Result<std::string> Run() {
    while (at_ < pattern_.size()) WEFT_RETURN_IF_ERROR(Next());
    if (groups_.size() != 1) return Refuse("a group that is not closed");
    CloseGroup();
    return std::move(out_);
  }

 private:
  struct Group {
    size_t start = 0;      // Where it begins in out_.
    int open_options = 0;  // How many (?i) inside it were opened as groups of their own.
  };

  Error Refuse(std::string_view what) const {
    return MakeError(ErrorCode::kUnsupported, "regular expression \"{}\": {} at byte {}", pattern_,
                     what, at_);
  }

  bool Has(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }

  void Atom(std::string_view text, size_t length) {
    atom_ = out_.size();
    after_interval_ = false;
    out_.append(text);
    at_ += length;
  }

  void Mark(std::string_view text, size_t length) {
    atom_ = kNone;
    after_interval_ = false;
    out_.append(text);
    at_ += length;
  }

  void CloseGroup() { out_.append(static_cast<size_t>(groups_.back().open_options), ')'); }

  Status Next() {
    switch (pattern_[at_]) {
      case '\\':
        return Escape();
      case '[':
        return Class();
      case '(':
        return Open();
      case ')':
        return Close();
      case '{':
        Interval();
        return OkStatus();
      case '*':
      case '+':
      case '?':
        return Quantifier();
      case '|':
      case '^':
      case '$':
        Mark(pattern_.substr(at_, 1), 1);
        return OkStatus();
      default: {
        const size_t length = Utf8Length(pattern_[at_]);
        Atom(pattern_.substr(at_, length), length);
        return OkStatus();
      }
    }
  }

  Status Quantifier() {
    if (atom_ == kNone) return Refuse("a quantifier with nothing to repeat");
    if (after_interval_ && pattern_[at_] == '+') {
      out_.insert(atom_, "(?:");
      out_.push_back(')');
    }
    after_interval_ = false;
    out_.push_back(pattern_[at_++]);
    return OkStatus();
  }

  // {n}, {n,}, {n,m} or {,m}; anything else is a literal brace.
  void Interval() {
    size_t i = at_ + 1;
    const size_t low = i;
    while (i < pattern_.size() && IsDigit(pattern_[i])) ++i;
    std::string text = "{" + std::string(pattern_.substr(low, i - low));
    bool valid = i > low;
    if (i < pattern_.size() && pattern_[i] == ',') {
      if (i == low) text.push_back('0');
      const size_t high = ++i;
      while (i < pattern_.size() && IsDigit(pattern_[i])) ++i;
      valid = valid || i > high;
      text += "," + std::string(pattern_.substr(high, i - high));
    }
    valid = valid && i < pattern_.size() && pattern_[i] == '}' && atom_ != kNone;
    if (!valid) {
      Atom("\\{", 1);
      return;
    }
    out_ += text + "}";
    at_ = i + 1;
    after_interval_ = true;
  }

  Status Open() {
    if (!Has("(?")) {
      groups_.push_back({out_.size(), 0});
      Mark("(", 1);
      return OkStatus();
    }
    for (const std::string_view kind : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (!Has(kind)) continue;
      groups_.push_back({out_.size(), 0});
      Mark(kind, kind.size());
      return OkStatus();
    }
    return Options();
  }

  // (?imx-imx:...) or (?imx-imx).
  Status Options() {
    size_t i = at_ + 2;
    std::string options;
    for (; i < pattern_.size() && pattern_[i] != ':' && pattern_[i] != ')'; ++i) {
      const char c = pattern_[i];
      if (c != 'i' && c != 'm' && c != '-') return Refuse("an unknown kind of group");
      options.push_back(c == 'm' ? 's' : c);
    }
    if (i == pattern_.size()) return Refuse("a group that is not closed");
    if (pattern_[i] == ':') {
      groups_.push_back({out_.size(), 0});
    } else {
      ++groups_.back().open_options;
    }
    Mark("(?" + options + ":", i + 1 - at_);
    return OkStatus();
  }

  Status Close() {
    if (groups_.size() == 1) return Refuse("an unmatched )");
    CloseGroup();
    atom_ = groups_.back().start;
    after_interval_ = false;
    groups_.pop_back();
    out_.push_back(')');
    ++at_;
    return OkStatus();
  }

  // \p{...} or \P{...}, at at_. General categories pass; a longer name is a script.
  Result<std::string> Property(bool in_class) {
    const size_t end = pattern_.find('}', at_);
    if (at_ + 2 >= pattern_.size() || pattern_[at_ + 2] != '{' || end == kNone) {
      return Refuse("a property without {name}");
    }
    std::string_view name = pattern_.substr(at_ + 3, end - at_ - 3);
    bool negated = pattern_[at_ + 1] == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    for (const char c : name) {
      if (!IsLetter(c) && c != '_') return Refuse("an unknown property");
    }
    at_ = end + 1;
    return WriteProperty(name, negated, in_class);
  }

  static std::string WriteProperty(std::string_view name, bool negated, bool in_class) {
    const std::string additions = UnicodeAdditions(name);
    const std::string pcre2_name = fmt::format("{{{}{}}}", name.size() > 2 ? "sc:" : "", name);
    if (additions.empty() || (negated && in_class)) {
      return (negated ? "\\P" : "\\p") + pcre2_name;
    }
    const std::string inside = "\\p" + pcre2_name + additions;
    if (in_class) return inside;
    return (negated ? "[^" : "[") + inside + "]";
  }

  // The escapes that mean the same inside and outside a class; nullopt for the others.
  Result<std::optional<std::string>> SharedEscape(bool in_class) {
    const char c = pattern_[at_ + 1];
    if (c == 'p' || c == 'P') {
      WEFT_ASSIGN_OR_RETURN(std::string property, Property(in_class));
      return std::optional(std::move(property));
    }
    if (c == 'd' || c == 'D') {
      at_ += 2;
      return std::optional(WriteProperty("Nd", c == 'D', in_class));
    }
    static constexpr std::array<std::pair<char, std::string_view>, 4> kEscapes = {{
        {'s', R"(\p{White_Space})"},
        {'S', R"(\P{White_Space})"},
        {'v', R"(\x{b})"},
        {'e', R"(\x{1b})"},
    }};
    for (const auto& [letter, text] : kEscapes) {
      if (c != letter) continue;
      at_ += 2;
      return std::optional(std::string(text));
    }
    if (c == 'x' || c == 'u') return Hexadecimal();
    const bool control = c == 'n' || c == 'r' || c == 't' || c == 'f' || c == 'a';
    if (control || (!IsLetter(c) && !IsDigit(c) && static_cast<unsigned char>(c) < 0x80)) {
      at_ += 2;
      return std::optional(std::string{'\\', c});
    }
    return std::optional<std::string>();
  }

  // \xHH, \x{H...} or \uHHHH.
  Result<std::optional<std::string>> Hexadecimal() {
    const bool braces = at_ + 2 < pattern_.size() && pattern_[at_ + 2] == '{';
    const size_t first = at_ + (braces ? 3 : 2);
    const size_t length =
        braces ? pattern_.find('}', first) - first : (pattern_[at_ + 1] == 'u' ? 4 : 2);
    if (length == 0 || length > 8 || first + length > pattern_.size()) {
      return Refuse("a malformed character code");
    }
    const std::string_view digits = pattern_.substr(first, length);
    if (digits.find_first_not_of("0123456789abcdefABCDEF") != kNone) {
      return Refuse("a malformed character code");
    }
    at_ = first + length + (braces ? 1 : 0);
    return std::optional(fmt::format("\\x{{{}}}", digits));
  }

  Status Escape() {
    if (at_ + 1 >= pattern_.size()) return Refuse("a lone backslash");
    WEFT_ASSIGN_OR_RETURN(const std::optional<std::string> shared, SharedEscape(false));
    if (shared.has_value()) {
      Atom(*shared, 0);
      return OkStatus();
    }
    const char c = pattern_[at_ + 1];
    const std::string word = WordCharacters();
    if (c == 'w') {
      Atom("[" + word + "]", 2);
    } else if (c == 'W') {
      Atom("[^" + word + "]", 2);
    } else if (c == 'h') {
      Atom("[0-9a-fA-F]", 2);
    } else if (c == 'H') {
      Atom("[^0-9a-fA-F]", 2);
    } else if (c == 'b') {
      Mark(fmt::format("(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))", word), 2);
    } else if (c == 'B') {
      Mark(fmt::format("(?:(?<=[{0}])(?=[{0}])|(?<![{0}])(?![{0}]))", word), 2);
    } else if (c == 'A' || c == 'z' || c == 'Z') {
      Mark(pattern_.substr(at_, 2), 2);
    } else if (c >= '1' && c <= '9') {
      Atom(fmt::format("\\g{{{}}}", c), 2);
    } else {
      return Refuse("an unknown escape");
    }
    return OkStatus();
  }

  Status Class() {
    const size_t start = out_.size();
    out_.push_back('[');
    ++at_;
    if (Has("^")) {
      out_.push_back('^');
      ++at_;
    }
    for (bool first = true; !Has("]") || first; first = false) {
      if (at_ >= pattern_.size()) return Refuse("a class that is not closed");
      if (Has("[")) return Refuse("a class inside a class");
      if (Has("&&")) return Refuse("an intersection of classes");
      if (Has("\\")) {
        WEFT_RETURN_IF_ERROR(ClassEscape());
        continue;
      }
      const size_t length = Utf8Length(pattern_[at_]);
      if (first && Has("]")) out_.push_back('\\');
      out_.append(pattern_.substr(at_, length));
      at_ += length;
    }
    ++at_;
    out_.push_back(']');
    atom_ = start;
    after_interval_ = false;
    return OkStatus();
  }

  Status ClassEscape() {
    if (at_ + 1 >= pattern_.size()) return Refuse("a lone backslash");
    WEFT_ASSIGN_OR_RETURN(const std::optional<std::string> shared, SharedEscape(true));
    if (shared.has_value()) {
      out_.append(*shared);
      return OkStatus();
    }
    const char c = pattern_[at_ + 1];
    if (c == 'w') {
      out_.append(WordCharacters());
    } else if (c == 'h') {
      out_.append("0-9a-fA-F");
    } else if (c == 'b') {
      out_.append("\\x{8}");
    } else {
      return Refuse("an unknown escape in a class");
    }
    at_ += 2;
    return OkStatus();
  }

  std::string_view pattern_;
  size_t at_ = 0;
  std::string out_;
  std::vector<Group> groups_;
  size_t atom_ = kNone;          // Where in out_ that begins which a quantifier would repeat.
  bool after_interval_ = false;  // The last thing was {n,m}.
};

}  // namespace

Result<std::string> TranslateOniguruma(std::string_view pattern) {
  if (FindInvalidUtf8(pattern).has_value()) {
    return MakeError(ErrorCode::kInvalidArgument, "a regular expression is not UTF-8");
  }
  return Translator(pattern).Run();
}

std::string EscapeForPcre2(std::string_view literal) {
  std::string out;
  for (const char c : literal) {
    const bool plain = IsLetter(c) || IsDigit(c) || static_cast<unsigned char>(c) >= 0x80;
    if (!plain) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

}  // namespace weft::text
