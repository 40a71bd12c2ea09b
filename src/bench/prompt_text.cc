#include "bench/prompt_text.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <cstdint>
#include <string_view>

#include "bench/mersenne_twister.h"

namespace weft::bench {
namespace {

constexpr std::array<std::string_view, 24> kPeople = {
    "the gardener",  "my neighbour", "a ship's cook",   "the new teacher", "our engineer",
    "the old clerk", "a beekeeper",  "the night nurse", "her brother",     "the librarian",
    "a stonemason",  "the pilot",    "the apprentice",  "a violinist",     "the surveyor",
    "the baker",     "two students", "the postman",     "a glassblower",   "the translator",
    "the ferryman",  "a botanist",   "the carpenter",   "their captain"};
constexpr std::array<std::string_view, 24> kVerbs = {
    "measured",    "described", "repaired", "forgot",       "compared",   "collected",
    "painted",     "sold",      "borrowed", "explained",    "weighed",    "sketched",
    "lost",        "found",     "counted",  "photographed", "questioned", "rebuilt",
    "recommended", "hid",       "examined", "remembered",   "opened",     "translated"};
constexpr std::array<std::string_view, 24> kThings = {
    "the copper kettle",   "an unsigned letter",   "the tide tables",     "a box of seeds",
    "the broken clock",    "seven blue notebooks", "the harbour map",     "a wooden bridge",
    "the winter schedule", "an early telescope",   "the price of flour",  "a borrowed bicycle",
    "the village well",    "a recipe for soup",    "the signal lamps",    "an uneven staircase",
    "the annual report",   "a jar of honey",       "the northern window", "a crate of oranges",
    "the spare engine",    "a faded photograph",   "the rain gauge",      "an argument about bees"};
constexpr std::array<std::string_view, 16> kWhen = {
    "before breakfast",         "in the third week of March", "after the storm",
    "without telling anyone",   "on the last train home",     "during the long repair",
    "while the others slept",   "for the second time",        "at the edge of the market",
    "under a low grey sky",     "with surprising care",       "in less than an hour",
    "as the bells rang",        "between two meetings",       "at the mouth of the river",
    "because nobody else would"};
constexpr std::array<std::string_view, 8> kQuestions = {
    "Why would that matter?",         "What should happen next?",
    "Could it have ended otherwise?", "Who else knew about it?",
    "How would you summarise this?",  "Is there a simpler explanation?",
    "What did the report leave out?", "Which detail seems out of place?"};

constexpr int kSentences = 18;
constexpr int kQuestionEvery = 5;

}  // namespace

std::string PromptPassage(size_t index) {
  MersenneTwister random = MersenneTwister::FromSeed(static_cast<uint32_t>(index) + 0x57454654u);
  const auto pick = [&random](const auto& list) { return list[random.NextUint32() % list.size()]; };
  std::string passage;
  for (int i = 0; i < kSentences; ++i) {
    std::string sentence =
        fmt::format("{} {} {} {}.", pick(kPeople), pick(kVerbs), pick(kThings), pick(kWhen));
    sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(sentence[0])));
    if (!passage.empty()) passage += ' ';
    passage += sentence;
    if (i % kQuestionEvery == kQuestionEvery - 1) passage.append(" ").append(pick(kQuestions));
  }
  return passage;
}

}  // namespace weft::bench
