#include "memory/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>

namespace weft::memory {
namespace {

using ::testing::ElementsAre;

constexpr AdapterVersion kOne{1};
constexpr AdapterVersion kTwo{2};

/// A pool, a cache of two tokens a page, and short ways to say things.
class PrefixCacheTest : public ::testing::Test {
 protected:
  PageIndex NewPage() { return pool_.Allocate(1, PageUse::kKv)->front(); }
  PrefixCache::NodeId Publish(AdapterVersion version, PrefixCache::NodeId parent,
                              std::vector<TokenId> tokens) {
    return *cache_.Publish(version, parent, tokens, NewPage());
  }
  /// Publishes a chain, then ends its holds.
  std::vector<PrefixCache::NodeId> PublishUnused(AdapterVersion version,
                                                 std::vector<TokenId> tokens) {
    std::vector<PrefixCache::NodeId> nodes = {0};
    for (size_t i = 0; i < tokens.size(); i += 2) {
      nodes.push_back(Publish(version, nodes.back(), {tokens[i], tokens[i + 1]}));
    }
    nodes.erase(nodes.begin());
    for (const auto node : nodes) cache_.Unhold(node, StepId(0));
    return nodes;
  }
  size_t HitLength(AdapterVersion version, std::vector<TokenId> tokens) {
    const auto match = cache_.Hold(version, tokens, 100);
    for (const auto node : match.nodes) cache_.Unhold(node, StepId(0));
    return match.nodes.size();
  }

  PagePool pool_{100};
  PrefixCache cache_{pool_, 2};
};

TEST_F(PrefixCacheTest, FindsTheLongestRunOfWholePages) {
  const auto nodes = PublishUnused(kOne, {1, 2, 3, 4, 5, 6});
  const std::vector<TokenId> tokens = {1, 2, 3, 4, 5, 7, 8};
  const auto match = cache_.Hold(kOne, tokens, 100);
  EXPECT_THAT(match.nodes, ElementsAre(nodes[0], nodes[1]));
  EXPECT_EQ(match.pages.size(), 2U);
  EXPECT_EQ(cache_.evictable(), 1);
  EXPECT_EQ(cache_.Hold(kOne, tokens, 1).nodes.size(), 1U);
  EXPECT_EQ(HitLength(kOne, {1}), 0U);
}

TEST_F(PrefixCacheTest, VersionsShareNothing) {
  PublishUnused(kOne, {1, 2, 3, 4});
  EXPECT_EQ(HitLength(kTwo, {1, 2, 3, 4}), 0U);
  PublishUnused(kTwo, {1, 2});
  EXPECT_EQ(HitLength(kTwo, {1, 2, 3, 4}), 1U);
  EXPECT_EQ(HitLength(kOne, {1, 2, 3, 4}), 2U);
}

TEST_F(PrefixCacheTest, PublishingWhatIsThereLeavesThePageToTheCaller) {
  const auto nodes = PublishUnused(kOne, {1, 2});
  const PageIndex page = NewPage();
  const std::vector<TokenId> tokens = {1, 2};
  EXPECT_FALSE(cache_.Publish(kOne, 0, tokens, page));
  EXPECT_EQ(cache_.cached(), 1);
  EXPECT_EQ(cache_.HoldChild(kOne, 0, tokens), nodes[0]);
  const std::vector<TokenId> others = {2, 1};
  EXPECT_FALSE(cache_.HoldChild(kOne, 0, others));
  EXPECT_EQ(cache_.evictable(), 0);
}

TEST_F(PrefixCacheTest, EvictsTheLeafUsedLongestAgoAndNoParentBeforeItsChild) {
  const auto nodes = PublishUnused(kOne, {1, 2, 3, 4});
  const auto other = Publish(kOne, nodes[0], {5, 6});
  cache_.Unhold(other, StepId(0));
  EXPECT_EQ(HitLength(kOne, {1, 2, 3, 4}), 2U);
  EXPECT_EQ(cache_.evictable(), 3);
  ASSERT_TRUE(cache_.EvictLeastRecent());
  EXPECT_EQ(HitLength(kOne, {1, 2, 5, 6}), 1U);
  EXPECT_EQ(HitLength(kOne, {1, 2, 3, 4}), 2U);
  ASSERT_TRUE(cache_.EvictLeastRecent());
  EXPECT_EQ(HitLength(kOne, {1, 2, 3, 4}), 1U);
  ASSERT_TRUE(cache_.EvictLeastRecent());
  EXPECT_FALSE(cache_.EvictLeastRecent());
  EXPECT_EQ(pool_.free(), pool_.total());
}

TEST_F(PrefixCacheTest, AnEvictedPageWaitsForTheLastStepThatReadsIt) {
  const auto node = Publish(kOne, 0, {1, 2});
  const std::vector<TokenId> tokens = {1, 2};
  cache_.HoldChild(kOne, 0, tokens);
  cache_.Unhold(node, StepId(9));
  EXPECT_FALSE(cache_.EvictLeastRecent());
  cache_.Unhold(node, StepId(8));
  EXPECT_TRUE(cache_.EvictLeastRecent());
  pool_.StepCompleted(StepId(8));
  EXPECT_EQ(pool_.used(PageUse::kKv), 1);
  pool_.StepCompleted(StepId(9));
  EXPECT_EQ(pool_.used(PageUse::kKv), 0);
}

TEST_F(PrefixCacheTest, AHeldChildKeepsItsUnusedParents) {
  const auto nodes = PublishUnused(kOne, {1, 2, 3, 4});
  const std::vector<TokenId> tokens = {3, 4};
  cache_.HoldChild(kOne, nodes[0], tokens);
  EXPECT_EQ(cache_.evictable(), 0);
  EXPECT_FALSE(cache_.EvictLeastRecent());
  cache_.DropUnused(kOne);
  EXPECT_EQ(cache_.cached(), 2);
  cache_.Unhold(nodes[1], StepId(0));
  EXPECT_EQ(cache_.evictable(), 2);
}

TEST_F(PrefixCacheTest, DropUnusedFreesOneVersionAndKeepsWhatIsHeld) {
  PublishUnused(kOne, {1, 2, 3, 4});
  PublishUnused(kTwo, {1, 2});
  const auto held = Publish(kOne, 0, {9, 9});
  cache_.Unhold(Publish(kOne, held, {8, 8}), StepId(0));
  cache_.DropUnused(kOne);
  EXPECT_EQ(cache_.cached(), 2);
  EXPECT_EQ(HitLength(kOne, {9, 9, 8, 8}), 1U);
  EXPECT_EQ(HitLength(kTwo, {1, 2}), 1U);
  cache_.Unhold(held, StepId(0));
  cache_.DropUnused(std::nullopt);
  EXPECT_EQ(cache_.cached(), 0);
  EXPECT_EQ(pool_.free(), pool_.total());
}

TEST_F(PrefixCacheTest, RecencyIsTheTurnAndThenTheOrderInTheTurn) {
  EXPECT_EQ(cache_.OldestUnused(), std::nullopt);
  cache_.SetNow(5);
  PublishUnused(kOne, {1, 2});
  PublishUnused(kOne, {3, 4});
  cache_.SetNow(8);
  PublishUnused(kTwo, {5, 6});
  EXPECT_EQ(HitLength(kOne, {1, 2}), 1U);  // Used again in turn 8.
  EXPECT_EQ(cache_.OldestUnused(), 5);
  ASSERT_TRUE(cache_.EvictLeastRecent());
  EXPECT_EQ(HitLength(kOne, {3, 4}), 0U);
  EXPECT_EQ(cache_.OldestUnused(), 8);
  ASSERT_TRUE(cache_.EvictLeastRecent());
  EXPECT_EQ(HitLength(kTwo, {5, 6}), 0U);
}

TEST(PrefixCacheHash, CollidingPagesAreToldApartByTheirTokens) {
  PagePool pool(10);
  PrefixCache cache(pool, 2, [](std::span<const TokenId>) { return uint64_t{42}; });
  const std::vector<TokenId> first = {1, 2};
  const std::vector<TokenId> second = {3, 4};
  const auto page = [&] { return pool.Allocate(1, PageUse::kKv)->front(); };
  const auto a = *cache.Publish(kOne, 0, first, page());
  const auto b = *cache.Publish(kOne, 0, second, page());
  EXPECT_EQ(cache.HoldChild(kOne, 0, first), a);
  EXPECT_EQ(cache.HoldChild(kOne, 0, second), b);
  cache.Unhold(a, StepId(0));
  cache.Unhold(a, StepId(0));
  EXPECT_TRUE(cache.EvictLeastRecent());
  EXPECT_FALSE(cache.HoldChild(kOne, 0, first));
  EXPECT_EQ(cache.HoldChild(kOne, 0, second), b);
}

TEST(PrefixCacheHash, DependsOnOrder) {
  const std::vector<TokenId> forward = {1, 2};
  const std::vector<TokenId> backward = {2, 1};
  EXPECT_NE(HashTokens(forward), HashTokens(backward));
}

/// The same cache as a map from whole prefixes; every question is answered by looking at all.
struct NaiveCache {
  struct Entry {
    PageIndex page;
    int holds = 0;
    int64_t last_use = 0;
  };
  using Key = std::pair<AdapterVersion, std::vector<TokenId>>;
  std::map<Key, Entry> entries;
  int64_t time = 0;

  static bool IsPrefix(const Key& shorter, const Key& longer) {
    return shorter.first == longer.first && shorter.second.size() < longer.second.size() &&
           std::equal(shorter.second.begin(), shorter.second.end(), longer.second.begin());
  }
  bool Evictable(const Key& key) const {
    return entries.at(key).holds == 0 && std::ranges::none_of(entries, [&](const auto& other) {
             return other.second.holds > 0 && IsPrefix(key, other.first);
           });
  }
  bool Leaf(const Key& key) const {
    return std::ranges::none_of(entries,
                                [&](const auto& other) { return IsPrefix(key, other.first); });
  }
  int32_t CountEvictable() const {
    return static_cast<int32_t>(
        std::ranges::count_if(entries, [&](const auto& entry) { return Evictable(entry.first); }));
  }
  void Touch(const Key& key, int holds) {
    entries.at(key).holds += holds;
    entries.at(key).last_use = ++time;
  }
  bool EvictLeastRecent() {
    const Key* oldest = nullptr;
    for (const auto& [key, entry] : entries) {
      if (entry.holds > 0 || !Leaf(key)) continue;
      if (oldest == nullptr || entry.last_use < entries.at(*oldest).last_use) oldest = &key;
    }
    if (oldest == nullptr) return false;
    entries.erase(Key(*oldest));
    return true;
  }
  void DropUnused(std::optional<AdapterVersion> version) {
    std::vector<Key> gone;
    for (const auto& [key, entry] : entries) {
      if ((!version || key.first == *version) && Evictable(key)) gone.push_back(key);
    }
    for (const Key& key : gone) entries.erase(key);
  }
};

/// A hash with many collisions.
uint64_t FirstToken(std::span<const TokenId> tokens) { return static_cast<uint64_t>(tokens[0]); }

/// Both caches side by side; a walk is what one sequence holds.
class Twin {
 public:
  explicit Twin(uint64_t seed) : random_(seed), weak_hash_(seed % 2 == 0) {}

  void Step() {
    const uint64_t kind = random_() % 20;
    if (kind < 9) {
      Walk();
    } else if (kind < 15) {
      EndOne();
    } else if (kind < 19) {
      ASSERT_EQ(cache_.EvictLeastRecent(), naive_.EvictLeastRecent());
    } else {
      const auto version = random_() % 3 == 0 ? std::nullopt : std::optional(AnyVersion());
      cache_.DropUnused(version);
      naive_.DropUnused(version);
    }
    ASSERT_EQ(cache_.cached(), static_cast<int32_t>(naive_.entries.size()));
    ASSERT_EQ(cache_.evictable(), naive_.CountEvictable());
    ASSERT_EQ(pool_.used(PageUse::kKv), cache_.cached());
  }

  /// evictable() is what really can be evicted.
  void Finish() {
    const int32_t promised = cache_.evictable();
    int32_t evicted = 0;
    while (cache_.EvictLeastRecent()) ++evicted;
    ASSERT_EQ(evicted, promised);
    ASSERT_EQ(cache_.evictable(), 0);
    while (!holds_.empty()) EndOne();
    cache_.DropUnused(std::nullopt);
    ASSERT_EQ(pool_.free(), pool_.total());
  }

 private:
  struct Held {
    PrefixCache::NodeId node;
    NaiveCache::Key key;
  };

  AdapterVersion AnyVersion() { return AdapterVersion(static_cast<int64_t>(random_() % 3)); }

  void Walk() {
    const AdapterVersion version = AnyVersion();
    std::vector<TokenId> tokens(random_() % 13);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random_() % 3);
    const auto max_pages = static_cast<int32_t>(random_() % 6);
    const int32_t peeked = cache_.Peek(version, tokens, max_pages);
    const auto match = cache_.Hold(version, tokens, max_pages);
    ASSERT_EQ(peeked, static_cast<int32_t>(match.nodes.size()));
    std::vector<TokenId> prefix;
    size_t found = 0;
    while (static_cast<int32_t>(found) < max_pages && prefix.size() + 2 <= tokens.size()) {
      prefix.insert(prefix.end(), tokens.begin() + static_cast<std::ptrdiff_t>(prefix.size()),
                    tokens.begin() + static_cast<std::ptrdiff_t>(prefix.size()) + 2);
      const NaiveCache::Key key{version, prefix};
      if (!naive_.entries.contains(key)) break;
      ASSERT_LT(found, match.nodes.size());
      ASSERT_EQ(match.pages[found], naive_.entries.at(key).page);
      naive_.Touch(key, 1);
      holds_.push_back({match.nodes[found], key});
      ++found;
    }
    ASSERT_EQ(match.nodes.size(), found);
    Extend(version, tokens, found, found == 0 ? 0 : match.nodes.back());
  }

  /// Publishes the pages of `tokens` past the first `pages`.
  void Extend(AdapterVersion version, const std::vector<TokenId>& tokens, size_t pages,
              PrefixCache::NodeId parent) {
    for (; (pages + 1) * 2 <= tokens.size() && pool_.free() > 0; ++pages) {
      const auto begin = tokens.begin();
      const NaiveCache::Key key{version,
                                {begin, begin + static_cast<std::ptrdiff_t>(2 * pages + 2)}};
      const std::span last(tokens.data() + 2 * pages, 2);
      const PageIndex page = pool_.Allocate(1, PageUse::kKv)->front();
      const auto node = cache_.Publish(version, parent, last, page);
      ASSERT_EQ(node.has_value(), !naive_.entries.contains(key));
      if (node) {
        naive_.entries[key] = {page, 0, 0};
        parent = *node;
      } else {
        pool_.Release(std::span(&page, 1), StepId(0));
        parent = *cache_.HoldChild(version, parent, last);
      }
      naive_.Touch(key, 1);
      holds_.push_back({parent, key});
    }
  }

  void EndOne() {
    if (holds_.empty()) return;
    std::swap(holds_[random_() % holds_.size()], holds_.back());
    cache_.Unhold(holds_.back().node, StepId(0));
    naive_.Touch(holds_.back().key, -1);
    holds_.pop_back();
  }

  std::mt19937_64 random_;
  const bool weak_hash_;
  PagePool pool_{80};
  PrefixCache cache_{pool_, 2, weak_hash_ ? &FirstToken : &HashTokens};
  NaiveCache naive_;
  std::deque<Held> holds_;
};

TEST(PrefixCacheTwin, BehavesAsTheNaiveModel) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    Twin twin(seed);
    for (int i = 0; i < 300; ++i) {
      twin.Step();
      if (::testing::Test::HasFatalFailure()) return;
    }
    twin.Finish();
    if (::testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace weft::memory
