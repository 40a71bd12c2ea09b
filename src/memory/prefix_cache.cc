#include "memory/prefix_cache.h"

#include <algorithm>

#include "base/check.h"

namespace weft::memory {
namespace {

/// The finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

/// Recency is the turn, and below it the order within the turn.
constexpr int kOrderBits = 32;

}  // namespace

uint64_t HashTokens(std::span<const TokenId> tokens) {
  uint64_t hash = 0x9e3779b97f4a7c15U;
  for (const TokenId token : tokens) hash = Mix(hash + static_cast<uint32_t>(token));
  return hash;
}

PrefixCache::PrefixCache(PagePool& pool, int32_t tokens_per_page, TokenHash hash)
    : pool_(pool), tokens_per_page_(tokens_per_page), hash_(hash) {
  WEFT_CHECK(tokens_per_page > 0);
}

size_t PrefixCache::EdgeHash::operator()(const Edge& edge) const noexcept {
  return Mix(edge.hash + Mix(static_cast<uint64_t>(edge.parent)) +
             static_cast<uint64_t>(edge.version.value()));
}

PrefixCache::Match PrefixCache::Hold(AdapterVersion version, std::span<const TokenId> tokens,
                                     int32_t max_pages) {
  Match match;
  const auto page_tokens = static_cast<size_t>(tokens_per_page_);
  NodeId parent = 0;
  while (static_cast<int32_t>(match.pages.size()) < max_pages && tokens.size() >= page_tokens) {
    const std::optional<NodeId> node = HoldChild(version, parent, tokens.subspan(0, page_tokens));
    if (!node) break;
    match.nodes.push_back(*node);
    match.pages.push_back(nodes_.at(*node).page);
    parent = *node;
    tokens = tokens.subspan(page_tokens);
  }
  return match;
}

int32_t PrefixCache::Peek(AdapterVersion version, std::span<const TokenId> tokens,
                          int32_t max_pages) const {
  const auto page_tokens = static_cast<size_t>(tokens_per_page_);
  int32_t pages = 0;
  NodeId parent = 0;
  while (pages < max_pages && tokens.size() >= page_tokens) {
    const auto page = tokens.subspan(0, page_tokens);
    const std::optional<NodeId> node = FindChild(EdgeOf(version, parent, page), page);
    if (!node) break;
    ++pages;
    parent = *node;
    tokens = tokens.subspan(page_tokens);
  }
  return pages;
}

void PrefixCache::SetNow(int64_t turn) {
  use_counter_ = std::max(use_counter_, turn << kOrderBits);
}

std::optional<int64_t> PrefixCache::OldestUnused() const {
  if (unused_leaves_.empty()) return std::nullopt;
  return unused_leaves_.begin()->first >> kOrderBits;
}

std::optional<PrefixCache::NodeId> PrefixCache::Publish(AdapterVersion version, NodeId parent,
                                                        std::span<const TokenId> tokens,
                                                        PageIndex page) {
  const Edge edge = EdgeOf(version, parent, tokens);
  if (FindChild(edge, tokens)) return std::nullopt;
  WEFT_CHECK(pool_.use(page) == PageUse::kKv);
  const NodeId id = next_node_++;
  if (parent != 0) {
    Node& above = nodes_.at(parent);
    WEFT_CHECK(above.version == version);
    ++above.children;
    UpdateLeaf(parent, above);
  }
  nodes_.emplace(id, Node{.version = version,
                          .parent = parent,
                          .page = page,
                          .hash = edge.hash,
                          .tokens = {tokens.begin(), tokens.end()}});
  edges_.emplace(edge, id);
  ++evictable_;
  HoldNode(id);
  return id;
}

std::optional<PrefixCache::NodeId> PrefixCache::HoldChild(AdapterVersion version, NodeId parent,
                                                          std::span<const TokenId> tokens) {
  const std::optional<NodeId> id = FindChild(EdgeOf(version, parent, tokens), tokens);
  if (id) HoldNode(*id);
  return id;
}

void PrefixCache::Unhold(NodeId id, StepId last_step) {
  Node& node = nodes_.at(id);
  WEFT_CHECK(node.holds > 0);
  --node.holds;
  node.last_step = std::max(node.last_step, last_step);
  node.last_use = ++use_counter_;
  UpdateLeaf(id, node);
  for (Node* above = &node; --above->pins == 0;) {
    ++evictable_;
    if (above->parent == 0) break;
    above = &nodes_.at(above->parent);
  }
}

bool PrefixCache::EvictLeastRecent() {
  if (unused_leaves_.empty()) return false;
  Remove(unused_leaves_.begin()->second);
  return true;
}

void PrefixCache::DropUnused(std::optional<AdapterVersion> version) {
  std::vector<NodeId> leaves;
  for (const auto& [last_use, id] : unused_leaves_) {
    if (!version || nodes_.at(id).version == *version) leaves.push_back(id);
  }
  for (NodeId id : leaves) {
    while (id != 0 && nodes_.at(id).leaf_use) {
      const NodeId parent = nodes_.at(id).parent;
      Remove(id);
      id = parent;
    }
  }
}

PrefixCache::Edge PrefixCache::EdgeOf(AdapterVersion version, NodeId parent,
                                      std::span<const TokenId> tokens) const {
  WEFT_CHECK(static_cast<int32_t>(tokens.size()) == tokens_per_page_);
  return Edge{version, parent, hash_(tokens)};
}

std::optional<PrefixCache::NodeId> PrefixCache::FindChild(const Edge& edge,
                                                          std::span<const TokenId> tokens) const {
  const auto [begin, end] = edges_.equal_range(edge);
  for (auto it = begin; it != end; ++it) {
    if (std::ranges::equal(nodes_.at(it->second).tokens, tokens)) return it->second;
  }
  return std::nullopt;
}

void PrefixCache::HoldNode(NodeId id) {
  Node& node = nodes_.at(id);
  ++node.holds;
  node.last_use = ++use_counter_;
  UpdateLeaf(id, node);
  for (Node* above = &node; ++above->pins == 1;) {
    --evictable_;
    if (above->parent == 0) break;
    above = &nodes_.at(above->parent);
  }
}

void PrefixCache::Remove(NodeId id) {
  const auto found = nodes_.find(id);
  const Node& node = found->second;
  WEFT_CHECK(node.holds == 0 && node.children == 0);
  unused_leaves_.erase({*node.leaf_use, id});
  --evictable_;
  const auto [begin, end] = edges_.equal_range(Edge{node.version, node.parent, node.hash});
  for (auto it = begin; it != end; ++it) {
    if (it->second == id) {
      edges_.erase(it);
      break;
    }
  }
  if (node.parent != 0) {
    Node& above = nodes_.at(node.parent);
    --above.children;
    UpdateLeaf(node.parent, above);
  }
  pool_.Release(std::span(&node.page, 1), node.last_step);
  nodes_.erase(found);
}

void PrefixCache::UpdateLeaf(NodeId id, Node& node) {
  if (node.leaf_use) unused_leaves_.erase({*node.leaf_use, id});
  node.leaf_use.reset();
  if (node.holds > 0 || node.children > 0) return;
  node.leaf_use = node.last_use;
  unused_leaves_.emplace(node.last_use, id);
}

}  // namespace weft::memory
