#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/strong_id.h"
#include "memory/page_pool.h"

namespace weft::memory {

/// What finds a page's tokens quickly. Two different pages of tokens may have the same hash; the
/// tokens themselves decide.
using TokenHash = uint64_t (*)(std::span<const TokenId>);
uint64_t HashTokens(std::span<const TokenId> tokens);

/// Full KV pages by what they hold: a tree whose edges are the tokens of one page, rooted at an
/// adapter version (never at content, so equal files under two names share nothing). A node in use
/// by a sequence cannot be evicted; one that nobody uses stays until DropUnused or EvictLeastRecent
/// takes it. Owned by the engine's thread. Every call costs O(log nodes) a page it touches;
/// DropUnused looks at all unused leaves.
class PrefixCache {
 public:
  /// Opaque; 0 is "before the first page".
  using NodeId = int64_t;

  PrefixCache(PagePool& pool, int32_t tokens_per_page, TokenHash hash = &HashTokens);

  struct Match {
    std::vector<PageIndex> pages;
    std::vector<NodeId> nodes;  ///< As many as pages; each is held until Unhold.
  };
  /// The longest cached run of whole pages that begins `tokens`, at most `max_pages` of them. Every
  /// node of the result is held for the caller.
  Match Hold(AdapterVersion version, std::span<const TokenId> tokens, int32_t max_pages);

  /// How many pages Hold would give, without holding them.
  int32_t Peek(AdapterVersion version, std::span<const TokenId> tokens, int32_t max_pages) const;

  /// Time for recency, in turns of the engine, ascending. Uses within a turn keep their order.
  void SetNow(int64_t turn);
  /// The turn in which the page that EvictLeastRecent would free was last used.
  std::optional<int64_t> OldestUnused() const;

  /// Puts a computed page under `parent` (0: first page) and holds it for the caller; the cache
  /// owns the page from now on. Nothing when the same tokens are there already: the caller keeps
  /// its page, private.
  std::optional<NodeId> Publish(AdapterVersion version, NodeId parent,
                                std::span<const TokenId> tokens, PageIndex page);

  /// The child of `parent` with these tokens, held for the caller, if there is one.
  std::optional<NodeId> HoldChild(AdapterVersion version, NodeId parent,
                                  std::span<const TokenId> tokens);

  /// Ends a hold. `last_step`: the last step that may read the page.
  void Unhold(NodeId node, StepId last_step);

  /// Pages that EvictLeastRecent could free now, one call after another: those unused that have
  /// nothing in use below them.
  int32_t evictable() const { return evictable_; }
  int32_t cached() const { return static_cast<int32_t>(nodes_.size()); }

  /// Frees one unused page, the least recently used leaf; false when there is none.
  bool EvictLeastRecent();

  /// Frees every evictable page of one version (P9), or of all.
  void DropUnused(std::optional<AdapterVersion> version);

 private:
  struct Node {
    AdapterVersion version;
    NodeId parent = 0;
    PageIndex page;
    uint64_t hash = 0;
    std::vector<TokenId> tokens;
    int32_t holds = 0;
    int32_t children = 0;
    int32_t pins = 0;  ///< Its holds, and its children with pins: 0 means evictable.
    int64_t last_use = 0;
    StepId last_step{0};
    std::optional<int64_t> leaf_use;  ///< Its key in unused_leaves_, while it is there.
  };
  struct Edge {
    AdapterVersion version;
    NodeId parent = 0;
    uint64_t hash = 0;
    bool operator==(const Edge&) const = default;
  };
  struct EdgeHash {
    size_t operator()(const Edge& edge) const noexcept;
  };

  Edge EdgeOf(AdapterVersion version, NodeId parent, std::span<const TokenId> tokens) const;
  std::optional<NodeId> FindChild(const Edge& edge, std::span<const TokenId> tokens) const;
  void HoldNode(NodeId id);
  void Remove(NodeId id);
  /// Puts a node where unused_leaves_ should have it, or takes it out.
  void UpdateLeaf(NodeId id, Node& node);

  PagePool& pool_;
  const int32_t tokens_per_page_;
  const TokenHash hash_;
  std::unordered_map<NodeId, Node> nodes_;
  std::unordered_multimap<Edge, NodeId, EdgeHash> edges_;
  std::set<std::pair<int64_t, NodeId>> unused_leaves_;  ///< By last use.
  int32_t evictable_ = 0;
  NodeId next_node_ = 1;
  int64_t use_counter_ = 0;
};

}  // namespace weft::memory
