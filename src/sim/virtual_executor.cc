#include "sim/virtual_executor.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "sim/virtual_model.h"

namespace weft::sim {

VirtualExecutor::VirtualExecutor(EventQueue& events, const Clock& clock, Random random,
                                 Timing timing, VirtualArena& device, int32_t tokens_per_page,
                                 int32_t max_jobs)
    : events_(events),
      clock_(clock),
      random_(random),
      timing_(timing),
      device_(device),
      tokens_per_page_(tokens_per_page),
      max_jobs_(static_cast<size_t>(max_jobs)) {}

void VirtualExecutor::Submit(engine::StepJob job) {
  if (jobs_.size() == max_jobs_) violation("more steps were submitted than may be under way");
  last_step_ = job.id;
  jobs_.push_back(std::move(job));
  if (jobs_.size() == 1) Begin();
}

void VirtualExecutor::Begin() {
  engine::StepJob& job = jobs_.front();
  for (const model::CarriedToken& carry : job.batch.carried) {
    if (carry.sample < 0 || carry.sample >= std::ssize(chosen_)) {
      violation("a step takes up a token that the step before did not choose");
      return;
    }
  }
  job.batch.TakeCarried(chosen_);
  std::set<PageIndex> written;
  for (const model::SequenceSlice& slice : job.batch.slices) {
    const uint64_t content = ReadAdapter(slice, "at the step's start");
    ReadHistory(slice, content, "at the step's start");
    for (int32_t row = 0; row < slice.rows; ++row) {
      const PageIndex page =
          slice.pages.at(static_cast<size_t>((slice.position + row) / tokens_per_page_));
      if (page == PageIndex(0)) violation("a step writes page 0");
      if (row == 0 || (slice.position + row) % tokens_per_page_ == 0) {
        if (!written.insert(page).second) violation("two sequences write one page in one step");
      }
    }
  }
  const Duration length =
      (timing_.step + timing_.row * static_cast<int64_t>(job.batch.tokens.size())) *
      random_.Between(100 - timing_.jitter_percent, 100 + timing_.jitter_percent) / 100;
  events_.After(length, [this, begin = clock_.Now()] { Finish(begin); });
}

KvCell& VirtualExecutor::Cell(const model::SequenceSlice& slice, int32_t position) {
  VirtualPage& page = device_.At(slice.pages.at(static_cast<size_t>(position / tokens_per_page_)));
  page.kv.resize(static_cast<size_t>(tokens_per_page_));
  return page.kv[static_cast<size_t>(position % tokens_per_page_)];
}

uint64_t VirtualExecutor::ReadAdapter(const model::SequenceSlice& slice, const char* when) {
  if (slice.adapter == nullptr) return 0;
  uint64_t content = 0;
  for (size_t i = 0; i < slice.adapter->tiles.size(); ++i) {
    for (const bool is_a : {true, false}) {
      const ops::LoraTile& tile = slice.adapter->tiles[i];
      const std::byte* address = is_a ? tile.a : tile.b;
      const VirtualPage& page = device_.At(address);
      if (page.content == 0 || !page.kv.empty()) {
        violation(fmt::format("{}: page {} is read as an adapter's and holds none", when,
                              device_.PageOf(address).value()));
        return 0;
      }
      if (content != 0 && page.content != content) {
        violation(fmt::format("{}: one adapter's pages hold two contents", when));
      }
      content = page.content;
      const auto& tiles = page.image->layout.tiles;
      if (i >= tiles.size() ||
          (is_a ? tiles[i].a : tiles[i].b) !=
              adapter::ImageOffset{page.image_page, device_.OffsetInPage(address)}) {
        violation(
            fmt::format("{}: tile {} of an adapter is looked for in page {}, which holds page "
                        "{} of its image",
                        when, i, device_.PageOf(address).value(), page.image_page));
        return content;
      }
    }
  }
  return content;
}

uint64_t VirtualExecutor::ReadHistory(const model::SequenceSlice& slice, uint64_t content,
                                      const char* when) {
  uint64_t state = 0;
  for (int32_t position = 0; position < slice.position; ++position) {
    const KvCell& cell = Cell(slice, position);
    state = VirtualModel::Extend(state, cell.token, content);
    if (cell.content != content || cell.state != state) {
      violation(fmt::format("{}: position {} of a sequence lies in page {}, which holds another's",
                            when, position,
                            slice.pages[static_cast<size_t>(position / tokens_per_page_)].value()));
      return state;
    }
  }
  return state;
}

void VirtualExecutor::Finish(Moment begin) {
  const engine::StepJob job = std::move(jobs_.front());
  jobs_.pop_front();
  size_t token = 0;
  std::vector<uint64_t> states;  // Of each logits row.
  for (const model::SequenceSlice& slice : job.batch.slices) {
    const uint64_t content = ReadAdapter(slice, "at the step's end");
    uint64_t state = ReadHistory(slice, content, "at the step's end");
    for (int32_t row = 0; row < slice.rows; ++row) {
      const TokenId input = job.batch.tokens.at(token++);
      state = VirtualModel::Extend(state, input, content);
      VirtualPage& page = device_.At(
          slice.pages.at(static_cast<size_t>((slice.position + row) / tokens_per_page_)));
      page.content = 0;
      page.image = nullptr;
      Cell(slice, slice.position + row) = {state, content, input};
      if (row >= slice.first_logits_row) states.push_back(state);
    }
  }
  engine::StepDone result;
  result.id = job.id;
  result.begin = begin;
  result.end = clock_.Now();
  for (const ops::SampleRow& row : job.batch.samples) {
    ops::SampledToken sample;
    const uint64_t state = states.at(static_cast<size_t>(row.logits_row));
    sample.token =
        row.sample ? VirtualModel::Choose(state, row.params->seed, row.position) : row.given_token;
    result.samples.push_back(sample);
  }
  chosen_.clear();
  for (const ops::SampledToken& sample : result.samples) chosen_.push_back(sample.token);
  if (!jobs_.empty()) Begin();
  done(std::move(result));
}

}  // namespace weft::sim
