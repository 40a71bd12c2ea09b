#include "text/stop_strings.h"

#include <algorithm>
#include <deque>

namespace weft::text {

StopStringMatcher::StopStringMatcher(std::vector<std::string> stop_strings,
                                     bool include_stop_in_output)
    : stop_strings_(std::move(stop_strings)), include_stop_in_output_(include_stop_in_output) {
  Build();
}

// The Aho-Corasick automaton: a trie, and for each node its longest proper suffix in the trie.
void StopStringMatcher::Build() {
  nodes_.emplace_back();
  for (size_t i = 0; i < stop_strings_.size(); ++i) {
    if (stop_strings_[i].empty()) continue;
    int node = 0;
    for (const char c : stop_strings_[i]) {
      const auto byte = static_cast<unsigned char>(c);
      int child = Child(node, byte);
      if (child < 0) {
        child = static_cast<int>(nodes_.size());
        nodes_.emplace_back();
        nodes_[child].depth = nodes_[node].depth + 1;
        nodes_[node].children.emplace_back(byte, child);
      }
      node = child;
    }
    if (nodes_[node].output < 0) nodes_[node].output = static_cast<int>(i);
  }
  std::deque<int> queue = {0};
  while (!queue.empty()) {
    const int node = queue.front();
    queue.pop_front();
    for (const auto& [byte, child] : nodes_[node].children) {
      nodes_[child].suffix = node == 0 ? 0 : Next(nodes_[node].suffix, byte);
      const int suffix_output = nodes_[nodes_[child].suffix].output;
      if (nodes_[child].output < 0) nodes_[child].output = suffix_output;
      queue.push_back(child);
    }
  }
}

int StopStringMatcher::Child(int node, unsigned char byte) const {
  for (const auto& [edge, child] : nodes_[node].children) {
    if (edge == byte) return child;
  }
  return -1;
}

int StopStringMatcher::Next(int node, unsigned char byte) const {
  while (true) {
    const int child = Child(node, byte);
    if (child >= 0) return child;
    if (node == 0) return 0;
    node = nodes_[node].suffix;
  }
}

StopStringMatcher::Piece StopStringMatcher::Append(std::string_view text) {
  Piece piece;
  if (stopped_) return piece;
  for (size_t i = 0; i < text.size(); ++i) {
    held_.push_back(text[i]);
    node_ = Next(node_, static_cast<unsigned char>(text[i]));
    const int output = nodes_[node_].output;
    if (output < 0) continue;
    stopped_ = true;
    piece.stop_index = static_cast<size_t>(output);
    if (!include_stop_in_output_) held_.resize(held_.size() - stop_strings_[output].size());
    piece.text = std::move(held_);
    held_.clear();
    return piece;
  }
  const size_t decided = held_.size() - static_cast<size_t>(nodes_[node_].depth);
  piece.text = held_.substr(0, decided);
  held_.erase(0, decided);
  return piece;
}

std::string StopStringMatcher::Finish() {
  std::string text = std::move(held_);
  held_.clear();
  node_ = 0;
  return stopped_ ? std::string() : text;
}

}  // namespace weft::text
