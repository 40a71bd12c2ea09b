#include "ops/cuda/attention_plan.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "ops/cuda/attention_work.h"

namespace weft::ops::cuda {
namespace {

/// Packed queries of a tile: decodes, short prefill chunks, long ones.
constexpr int32_t kDecodeTile = 16;
constexpr int32_t kSmallTile = 64;
constexpr int32_t kLargeTile = 128;
/// Tokens of KV of an item are a multiple of what a block of any tile takes at once.
constexpr int32_t kChunkGranule = 128;
constexpr int32_t kDecodeGranule = 64;  ///< Of our own decode kernel; of a narrow block.
/// Fixed under `deterministic`: short enough that a long sequence alone keeps the machine busy,
/// long enough that few sequences need a merge.
constexpr int32_t kDeterministicChunk = 1024;
/// What starting an item costs, and what merging costs a pass, in tokens of KV that one block could
/// have read instead.
constexpr int32_t kItemCost = 48;
constexpr int32_t kMergeCost = 80;
constexpr int32_t kBlocksPerMultiprocessor = 2;
/// Our own decode kernel serves up to this many (sequence, kv head) pairs a multiprocessor.
constexpr int32_t kOwnDecodeWaves = 2;
/// Partial rows beyond one for each row: bounds scratch memory, and so how far prefill is split.
constexpr int32_t kExtraPartialRows = 2048;

constexpr int64_t kAlignment = 128;

int32_t CeilDivide(int64_t a, int64_t b) { return static_cast<int32_t>((a + b - 1) / b); }
int32_t KvLength(const AttentionSequence& sequence) { return sequence.position + sequence.rows; }

}  // namespace

/// A plan being written: where, and how far each of its arrays is.
struct AttentionPlanner::Filling {
  std::byte* plan = nullptr;
  AttentionLaunch* launch = nullptr;
  int32_t sequences = 0;
  int32_t pages = 0;
  int32_t items = 0;
  int32_t merges = 0;
  int32_t decode_partials = 0;
  /// Slices of one sequence share its page indices.
  const PageIndex* last_pages = nullptr;
  int32_t last_begin = 0;

  int32_t* At(int64_t offset) const { return reinterpret_cast<int32_t*>(plan + offset); }
};

AttentionPlanner::AttentionPlanner(const AttentionShape& shape, const AttentionLimits& limits)
    : shape_(shape), limits_(limits), group_(shape.heads / shape.kv_heads) {
  WEFT_CHECK(shape.heads % shape.kv_heads == 0 && shape.tokens_per_page % 16 == 0);
  WEFT_CHECK(limits.max_rows > 0 && limits.multiprocessors > 0 && limits.max_context > 0);
  // What the fixed chunks of all sequences come to when each has pages of its own.
  const int32_t own_chunks =
      limits.max_rows +
      CeilDivide(int64_t{limits.max_pages} * shape.tokens_per_page, kDeterministicChunk);
  max_partial_rows_ = std::max(limits.max_rows + kExtraPartialRows, own_chunks);
  // A row alone in its tile is the worst case of tiles; the rest is what splitting adds.
  max_items_ = limits.max_rows * CeilDivide(group_, kDecodeTile) + max_partial_rows_;
  max_passes_ = 2;
  if (limits.deterministic) {
    const int32_t chunks = CeilDivide(limits.max_context, kDeterministicChunk);
    WEFT_CHECK(chunks <= max_partial_rows_);
    max_passes_ = 2 + CeilDivide(int64_t{limits.max_rows} * chunks * 2, max_partial_rows_);
    decode_chunks_ = own_chunks;
    max_items_ = (TilesOf(limits.max_rows, kSmallTile) + max_passes_) * chunks +
                 own_chunks * TilesOf(1, kSmallTile);
  }
  int64_t next = 0;
  const auto place = [&next](int64_t count, int64_t size) {
    const int64_t at = next;
    next = (next + count * size + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  };
  const int64_t sequences = int64_t{limits.max_rows} + 1;
  layout_.segments = place(kMaxSegments * 2, 4);
  for (int64_t* array : {&layout_.page_begin, &layout_.first_row, &layout_.row_count,
                         &layout_.kv_length, &layout_.partial_begin})
    *array = place(sequences, 4);
  layout_.chunk = place(max_passes_, 4);
  for (int64_t* array : {&layout_.merge_row, &layout_.merge_begin, &layout_.merge_count})
    *array = place(limits.max_rows, 4);
  layout_.pages = place(limits.max_pages, 4);
  for (int64_t* array : {&layout_.item_sequence, &layout_.item_tile, &layout_.item_chunk})
    *array = place(max_items_, 4);
  layout_.item_valid = place(max_items_, 1);
  layout_.counters = place(sequences * shape.kv_heads, 4);
  layout_.bytes = next;
}

int32_t AttentionPlanner::TilesOf(int32_t rows, int32_t tile_rows) const {
  return CeilDivide(int64_t{rows} * group_, tile_rows);
}

/// FlashInfer's kernel reads many long sequences faster (64 of 4,096 tokens: 251 us against 282 on
/// an H200), the one built for latency few of them (16 of 1,024: 23 us against 28).
bool AttentionPlanner::OwnDecode(int64_t sequences) const {
  return !limits_.deterministic && DecodeServes(shape_.head_dim, group_) &&
         sequences * shape_.kv_heads <= kOwnDecodeWaves * limits_.multiprocessors;
}

/// Where every pair has a multiprocessor to itself it also has all of it.
bool AttentionPlanner::WideDecode(int64_t sequences) const {
  return limits_.decode_room.wide && sequences * shape_.kv_heads <= limits_.multiprocessors;
}

AttentionPlanner::Blocks AttentionPlanner::BlocksOf(bool decode, int64_t sequences) const {
  if (!decode) return {kBlocksPerMultiprocessor * limits_.multiprocessors, kChunkGranule, 1};
  const int32_t sharing = WideDecode(sequences) ? 1 : limits_.decode_room.narrow_blocks;
  return {sharing * limits_.multiprocessors, kDecodeGranule, sharing};
}

int32_t AttentionPlanner::DecodeItems(int32_t bucket) const {
  if (limits_.deterministic) {
    const int32_t chunks = CeilDivide(limits_.max_context, kDeterministicChunk);
    return std::min(bucket * chunks, decode_chunks_) * TilesOf(1, kSmallTile);
  }
  const int32_t tiles = TilesOf(1, kDecodeTile);
  const int32_t blocks = OwnDecode(bucket) ? BlocksOf(true, bucket).at_once
                                           : 2 * kBlocksPerMultiprocessor * limits_.multiprocessors;
  return bucket * tiles + CeilDivide(blocks, shape_.kv_heads);
}

/// The chunk with the least estimated time, in tokens of KV that one block reads: blocks start as
/// others end, so the time lies between full waves and an even spread with the longest item last.
int32_t AttentionPlanner::ChooseChunk(std::span<const AttentionSequence> sequences,
                                      const Blocks& blocks, int32_t tile_rows,
                                      int32_t max_items) const {
  int32_t longest = 0;
  for (const auto& sequence : sequences) longest = std::max(longest, KvLength(sequence));
  const int64_t slots = blocks.at_once;
  const int32_t item_cost = kItemCost / blocks.sharing;
  const int32_t merge_cost = kMergeCost / blocks.sharing;
  int32_t best = 0;
  int64_t best_cost = 0;
  const int32_t whole = CeilDivide(longest, blocks.granule) * blocks.granule;
  // From one chunk to ever smaller ones: by fifths, and whatever parts the longest evenly.
  const auto next = [&](int32_t chunk) {
    const int32_t smaller = chunk - blocks.granule;
    if (smaller == 0) return 0;
    const int32_t even = CeilDivide(longest, CeilDivide(longest, smaller));
    const int32_t fifth = chunk * 4 / 5 / blocks.granule * blocks.granule;
    return std::max(CeilDivide(even, blocks.granule) * blocks.granule, fifth);
  };
  for (int32_t chunk = whole; chunk >= 2 * blocks.granule || chunk == whole; chunk = next(chunk)) {
    int64_t items = 0;
    int64_t tokens = 0;
    int64_t partial_rows = 0;
    for (const auto& sequence : sequences) {
      const int64_t tiles = TilesOf(sequence.rows, tile_rows);
      const int64_t chunks = CeilDivide(KvLength(sequence), chunk);
      items += tiles * chunks;
      tokens += tiles * KvLength(sequence);
      partial_rows += sequence.rows * chunks;
    }
    const bool fits = items <= max_items && partial_rows <= max_partial_rows_;
    if (!fits && chunk != whole) break;
    const int64_t last = std::min(chunk, longest) + item_cost;
    const int64_t waves = CeilDivide(items * shape_.kv_heads, slots) * last;
    const int64_t spread = (tokens + items * item_cost) * shape_.kv_heads / slots;
    const int64_t cost =
        std::max(spread, std::min(waves, spread + last)) + (chunk < longest ? merge_cost : 0);
    if (best == 0 || cost < best_cost) {
      best = chunk;
      best_cost = cost;
    }
  }
  return best;
}

void AttentionPlanner::AddSequence(const AttentionSequence& sequence, const AttentionPass& pass,
                                   int32_t chunk, Filling& filling) const {
  const int32_t id = ++filling.sequences;
  WEFT_CHECK(id <= limits_.max_rows);
  const int32_t kv_length = KvLength(sequence);
  const int32_t pages = CeilDivide(kv_length, shape_.tokens_per_page);
  WEFT_CHECK(std::ssize(sequence.pages) >= pages && kv_length <= limits_.max_context);
  if (sequence.pages.data() != filling.last_pages) {
    filling.last_pages = sequence.pages.data();
    filling.last_begin = filling.pages;
  }
  WEFT_CHECK(filling.last_begin + pages <= limits_.max_pages);
  filling.At(layout_.page_begin)[id] = filling.last_begin;
  for (; filling.pages < filling.last_begin + pages; ++filling.pages)
    filling.At(layout_.pages)[filling.pages] =
        sequence.pages[static_cast<size_t>(filling.pages - filling.last_begin)].value();
  filling.At(layout_.first_row)[id] = sequence.first_row;
  filling.At(layout_.row_count)[id] = sequence.rows;
  filling.At(layout_.kv_length)[id] = kv_length;
  const bool split = pass.decode ? kv_length > chunk : pass.split;
  const int32_t chunks = split ? CeilDivide(kv_length, chunk) : 1;
  WEFT_CHECK(!pass.decode || chunks <= kMaxDecodeParts);
  const int32_t tiles = TilesOf(sequence.rows, pass.tile_rows);
  WEFT_CHECK(filling.items + tiles * chunks <= max_items_);
  // A causal tile further back has more to read: the long ones first.
  for (int32_t tile = tiles - 1; tile >= 0; --tile)
    for (int32_t part = 0; part < chunks; ++part) {
      const int32_t item = filling.items++;
      filling.At(layout_.item_sequence)[item] = id;
      filling.At(layout_.item_tile)[item] = tile;
      filling.At(layout_.item_chunk)[item] = part;
      filling.plan[layout_.item_valid + item] = std::byte{1};
    }
  if (pass.decode) {
    filling.At(layout_.partial_begin)[id] = filling.decode_partials;
    filling.decode_partials += split ? chunks : 0;
    WEFT_CHECK(filling.decode_partials <= max_partial_rows_);
    return;
  }
  if (!pass.split) {
    filling.At(layout_.partial_begin)[id] = sequence.first_row;
    return;
  }
  int32_t partial = 0;
  if (filling.merges > pass.first_merge)
    partial = filling.At(layout_.merge_begin)[filling.merges - 1] +
              filling.At(layout_.merge_count)[filling.merges - 1];
  WEFT_CHECK(partial + sequence.rows * chunks <= max_partial_rows_);
  filling.At(layout_.partial_begin)[id] = partial;
  for (int32_t row = 0; row < sequence.rows; ++row) {
    const int32_t merge = filling.merges++;
    filling.At(layout_.merge_row)[merge] = sequence.first_row + row;
    filling.At(layout_.merge_begin)[merge] = partial + row * chunks;
    filling.At(layout_.merge_count)[merge] = chunks;
  }
}

void AttentionPlanner::AddPass(std::span<const AttentionSequence> sequences, bool decode,
                               int32_t tile_rows, int32_t chunk, Filling& filling) const {
  if (sequences.empty()) return;
  AttentionPass pass;
  pass.index = static_cast<int32_t>(filling.launch->passes.size());
  WEFT_CHECK(pass.index < max_passes_);
  pass.decode = decode;
  pass.wide = decode && WideDecode(std::ssize(sequences));
  pass.tile_rows = tile_rows;
  for (const auto& sequence : sequences) pass.split |= KvLength(sequence) > chunk;
  pass.first_item = filling.items;
  pass.first_merge = filling.merges;
  filling.At(layout_.chunk)[pass.index] = chunk;
  for (const auto& sequence : sequences) AddSequence(sequence, pass, chunk, filling);
  pass.items = filling.items - pass.first_item;
  pass.merges = filling.merges - pass.first_merge;
  filling.launch->passes.push_back(pass);
}

/// Says what was filled, so that only that is copied to the device.
void AttentionPlanner::Finish(const Filling& filling) const {
  filling.At(layout_.page_begin)[0] = filling.pages;
  const int64_t sequences = (int64_t{filling.sequences} + 1) * 4;
  const int64_t items = int64_t{filling.items} * 4;
  const int64_t merges = int64_t{filling.merges} * 4;
  const std::pair<int64_t, int64_t> filled[] = {
      {layout_.page_begin, sequences},
      {layout_.first_row, sequences},
      {layout_.row_count, sequences},
      {layout_.kv_length, sequences},
      {layout_.partial_begin, sequences},
      {layout_.chunk, std::ssize(filling.launch->passes) * 4},
      {layout_.merge_row, merges},
      {layout_.merge_begin, merges},
      {layout_.merge_count, merges},
      {layout_.pages, int64_t{filling.pages} * 4},
      {layout_.item_sequence, items},
      {layout_.item_tile, items},
      {layout_.item_chunk, items},
      {layout_.item_valid, filling.items},
      {layout_.counters, filling.decode_partials > 0 ? sequences * shape_.kv_heads : 0},
  };
  static_assert(std::size(filled) <= kMaxSegments);
  std::memset(filling.plan + layout_.counters, 0, static_cast<size_t>(sequences * shape_.kv_heads));
  int32_t* segment = filling.At(layout_.segments);
  std::memset(segment, 0, kMaxSegments * 2 * 4);
  for (const auto& [offset, bytes] : filled) {
    *segment++ = static_cast<int32_t>(offset);
    *segment++ = static_cast<int32_t>(bytes);
  }
}

void AttentionPlanner::Plan(std::span<const AttentionSequence> sequences, std::byte* plan,
                            AttentionLaunch* launch) const {
  launch->passes.clear();
  Filling filling{.plan = plan, .launch = launch};
  if (limits_.deterministic) {
    PlanDeterministic(sequences, filling);
    Finish(filling);
    return;
  }
  const bool own = OwnDecode(std::count_if(
      sequences.begin(), sequences.end(), [](const auto& sequence) { return sequence.rows == 1; }));
  std::vector<AttentionSequence> few, many;
  int64_t packed = 0;
  for (const auto& sequence : sequences) {
    const bool decodes = sequence.rows == 1 || (!own && sequence.rows * group_ <= kDecodeTile);
    (decodes ? few : many).push_back(sequence);
    if (!decodes) packed += int64_t{sequence.rows} * group_;
  }
  const bool large = packed > kSmallTile * std::ssize(many);
  const int32_t tile = large ? kLargeTile : kSmallTile;
  if (!few.empty())
    AddPass(few, own, kDecodeTile,
            ChooseChunk(few, BlocksOf(own, std::ssize(few)), kDecodeTile, max_items_), filling);
  if (!many.empty())
    AddPass(many, false, tile,
            ChooseChunk(many, BlocksOf(false, std::ssize(many)), tile, max_items_ - filling.items),
            filling);
  Finish(filling);
}

/// Every row in tiles of one size over chunks of one size. Sequences whose rows need more partial
/// rows than there are get several passes.
void AttentionPlanner::PlanDeterministic(std::span<const AttentionSequence> sequences,
                                         Filling& filling) const {
  std::vector<AttentionSequence> pass;
  int64_t partial_rows = 0;
  const auto flush = [&] {
    AddPass(pass, false, kSmallTile, kDeterministicChunk, filling);
    pass.clear();
    partial_rows = 0;
  };
  for (const auto& sequence : sequences) {
    for (int32_t done = 0; done < sequence.rows;) {
      AttentionSequence slice = sequence;
      slice.first_row += done;
      slice.position += done;
      slice.rows = sequence.rows - done;
      const int32_t chunks = CeilDivide(KvLength(sequence), kDeterministicChunk);
      const auto fitting = static_cast<int32_t>((max_partial_rows_ - partial_rows) / chunks);
      if (fitting == 0 || (fitting < slice.rows && partial_rows > 0)) {
        flush();
        continue;
      }
      slice.rows = std::min(slice.rows, fitting);
      pass.push_back(slice);
      partial_rows += int64_t{slice.rows} * chunks;
      done += slice.rows;
    }
  }
  flush();
}

void AttentionPlanner::PlanDecode(std::span<const AttentionSequence> sequences, int32_t bucket,
                                  std::byte* plan, AttentionLaunch* launch) const {
  launch->passes.clear();
  WEFT_CHECK(bucket <= limits_.max_rows && std::ssize(sequences) <= bucket);
  Filling filling{.plan = plan, .launch = launch};
  AttentionPass pass;
  pass.decode = OwnDecode(bucket);
  pass.wide = pass.decode && WideDecode(bucket);
  pass.split = !pass.decode;
  pass.tile_rows = limits_.deterministic ? kSmallTile : kDecodeTile;
  pass.items = DecodeItems(bucket);
  // A row that no sequence has takes an item too.
  const auto spare = static_cast<int32_t>(bucket - std::ssize(sequences));
  const int32_t items = pass.items - (pass.decode ? spare : 0);
  const int32_t chunk = limits_.deterministic ? kDeterministicChunk
                        : sequences.empty()   ? kChunkGranule
                                            : ChooseChunk(sequences, BlocksOf(pass.decode, bucket),
                                                          kDecodeTile, items);
  filling.At(layout_.chunk)[0] = chunk;
  std::vector<bool> present(static_cast<size_t>(bucket));
  for (const auto& sequence : sequences) {
    WEFT_CHECK(sequence.rows == 1 && sequence.first_row < bucket);
    present[static_cast<size_t>(sequence.first_row)] = true;
    AddSequence(sequence, pass, chunk, filling);
  }
  for (int32_t row = 0; row < bucket; ++row) {
    if (present[static_cast<size_t>(row)]) continue;
    if (pass.decode) {
      // A sequence of no tokens: its row becomes zero.
      AddSequence({.first_row = row, .rows = 1, .position = -1, .pages = {}}, pass, chunk, filling);
      continue;
    }
    filling.At(layout_.merge_row)[filling.merges] = row;
    filling.At(layout_.merge_begin)[filling.merges] = 0;
    filling.At(layout_.merge_count)[filling.merges++] = 0;
  }
  WEFT_CHECK(filling.items <= pass.items);
  for (; filling.items < pass.items; ++filling.items) {
    filling.At(layout_.item_sequence)[filling.items] = 0;
    filling.At(layout_.item_chunk)[filling.items] = 0;
    plan[layout_.item_valid + filling.items] = std::byte{0};
  }
  pass.merges = pass.decode ? 0 : bucket;
  launch->passes.push_back(pass);
  Finish(filling);
}

}  // namespace weft::ops::cuda
