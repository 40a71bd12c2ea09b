#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft::text {

/// Watches a sequence's text for stop strings, wherever the borders of its tokens lie. Text that
/// could be the beginning of a stop string is held back until that is decided, so nothing of a stop
/// string is ever handed out.
///
/// The stop string that is complete first wins, as if the text came byte by byte; of several that
/// end at the same byte the longest. So the result depends on the text alone, never on the borders
/// of its tokens. Aho-Corasick: O(bytes fed), whatever the number of stop strings. One owner, one
/// thread at a time.
class StopStringMatcher {
 public:
  /// Empty stop strings are ignored.
  StopStringMatcher(std::vector<std::string> stop_strings, bool include_stop_in_output);

  struct Piece {
    std::string text;                  ///< Decided by this call; may be empty.
    std::optional<size_t> stop_index;  ///< Which of the stop strings ended the text.
  };

  /// Feeds decoded text. After a match, everything fed is ignored.
  Piece Append(std::string_view text);
  /// The text ends: what was held back is text after all.
  std::string Finish();

  bool stopped() const { return stopped_; }
  const std::vector<std::string>& stop_strings() const { return stop_strings_; }

 private:
  /// A state of the automaton: the longest suffix of the text that begins a stop string.
  struct Node {
    std::vector<std::pair<unsigned char, int>> children;
    int suffix = 0;   // The longest proper suffix that is a node too.
    int output = -1;  // The longest stop string that ends here.
    int depth = 0;
  };

  void Build();
  /// -1: none.
  int Child(int node, unsigned char byte) const;
  int Next(int node, unsigned char byte) const;

  std::vector<std::string> stop_strings_;
  bool include_stop_in_output_;
  std::vector<Node> nodes_;
  int node_ = 0;
  bool stopped_ = false;
  std::string held_;  // Fed, not yet handed out; the node's text is its suffix.
};

}  // namespace weft::text
