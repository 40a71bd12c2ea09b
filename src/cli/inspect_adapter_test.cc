// Inspecting adapters says what a server's loader says of them.
#include "cli/inspect_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <filesystem>
#include <future>
#include <optional>
#include <set>

#include "adapter/loader.h"
#include "base/source_folder_for_test.h"
#include "checkpoint/model_files.h"

namespace weft::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kAdapters = SourceFolder() + "/tests/data/adapters";
const std::string kRefused = SourceFolder() + "/tests/data/adapters-refused";

std::vector<std::string> Folders(const std::string& path) {
  auto names = LocalFiles().ListFolders(path);
  return names.ok() ? *names : std::vector<std::string>();
}

ServedShape Base(const std::string& name, DType dtype = DType::kBFloat16) {
  const std::string path = SourceFolder() + "/tests/data/models/" + name;
  auto model = checkpoint::OpenModelConfigOnly(LocalFiles(), path);
  EXPECT_TRUE(model.ok()) << name;
  auto shape = ServedShape::Create(model->config, dtype);
  EXPECT_TRUE(shape.ok()) << name;
  return *std::move(shape);
}

std::string BaseOf(const std::string& file, const std::string& name) {
  simdjson::dom::parser parser;
  simdjson::dom::element json = parser.load(file);
  if (!name.empty()) json = json[name];
  return std::string(std::string_view(json["base_model"]));
}

/// What serving does with an adapter before the first copy to the device.
class ServedLoad {
 public:
  ServedLoad(const std::string& path, const ServedShape& base,
             const checkpoint::AdapterLimits& limits = {})
      : format_{base.operators->tile_packer(), base.pages.page_bytes},
        loader_(
            LocalFiles(), base.config, limits, format_, {}, clock_,
            [this](adapter::AdapterOpened done) { opened_.set_value(std::move(done.opened)); },
            [this](adapter::AdapterRead done) { read_.set_value(std::move(done.status)); }) {
    loader_.Open({AdapterVersion(1), path, ""});
    auto opened = opened_.get_future().get();
    if (!opened.ok()) {
      reason = opened.error().message;
      return;
    }
    pages = (*opened)->layout.pages;
    std::vector<std::byte> memory(static_cast<size_t>(pages * format_.page_bytes));
    adapter::ReadJob job{AdapterVersion(1), *opened, {}, nullptr};
    for (int32_t i = 0; i < pages; ++i) job.pages.push_back(memory.data() + i * format_.page_bytes);
    loader_.Read(std::move(job));
    const Status read = read_.get_future().get();
    if (!read.ok()) reason = read.error().message;
  }

  std::string reason;
  int32_t pages = 0;

 private:
  const SteadyClock clock_;
  std::promise<Result<std::shared_ptr<const adapter::OpenedAdapter>>> opened_;
  std::promise<Status> read_;
  adapter::ImageFormat format_;
  adapter::Loader loader_;
};

std::string JsonOf(const Inspection& inspection, const std::string& key) {
  for (const Fact& fact : inspection.facts)
    if (fact.key == key) return fact.json;
  return "absent";
}

std::string TestName(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
}

class RefusedAdapter : public ::testing::TestWithParam<std::string> {};

TEST_P(RefusedAdapter, HasTheReasonThatServingGives) {
  const std::string path = kRefused + "/" + GetParam();
  const ServedShape base = Base(BaseOf(kRefused + "/refused.json", GetParam()));
  const ServedLoad served(path, base);
  ASSERT_THAT(served.reason, ::testing::Not(IsEmpty()));
  const Inspection inspection = InspectAdapter(LocalFiles(), path, &base, {}, true);
  EXPECT_EQ(inspection.verdict, Verdict::kNo);
  EXPECT_EQ(inspection.reason, served.reason);
}

/// Only what these are refused for needs a base model, or the weights.
TEST_P(RefusedAdapter, IsRefusedWithoutABaseModelUnlessThatIsWhatItDoesNotFit) {
  const std::set<std::string> fits_some_model = {"infinity", "nan", "other-model"};
  const Inspection inspection =
      InspectAdapter(LocalFiles(), kRefused + "/" + GetParam(), nullptr, {}, true);
  EXPECT_EQ(inspection.verdict,
            fits_some_model.contains(GetParam()) ? Verdict::kNotKnown : Verdict::kNo);
  EXPECT_EQ(inspection.reason.empty(), inspection.verdict == Verdict::kNotKnown);
}

INSTANTIATE_TEST_SUITE_P(All, RefusedAdapter, ::testing::ValuesIn(Folders(kRefused)), TestName);

class GoodAdapter : public ::testing::TestWithParam<std::string> {};

TEST_P(GoodAdapter, WouldLoadAndTakesThePagesThatServingTakes) {
  const std::string path = kAdapters + "/" + GetParam();
  for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    const ServedShape base = Base(BaseOf(path + "/expected.json", ""), dtype);
    const ServedLoad served(path, base);
    ASSERT_EQ(served.reason, "");
    const Inspection inspection = InspectAdapter(LocalFiles(), path, &base, {}, true);
    EXPECT_EQ(inspection.verdict, Verdict::kYes) << inspection.reason;
    EXPECT_EQ(JsonOf(inspection, "pages"), std::to_string(served.pages));
    EXPECT_EQ(JsonOf(inspection, "host_bytes"),
              std::to_string(served.pages * base.pages.page_bytes));
    EXPECT_THAT(inspection.not_checked, IsEmpty());
  }
}

TEST_P(GoodAdapter, IsNotRefusedWithoutItsBaseModel) {
  const Inspection inspection =
      InspectAdapter(LocalFiles(), kAdapters + "/" + GetParam(), nullptr, {}, false);
  EXPECT_EQ(inspection.verdict, Verdict::kNotKnown) << inspection.reason;
  EXPECT_EQ(JsonOf(inspection, "pages"), "absent");
}

INSTANTIATE_TEST_SUITE_P(All, GoodAdapter, ::testing::ValuesIn(Folders(kAdapters)), TestName);

TEST(InspectAdapter, TheFoldersAreThere) {
  EXPECT_GE(Folders(kRefused).size(), 40u);
  EXPECT_GE(Folders(kAdapters).size(), 20u);
}

TEST(InspectAdapter, WithoutReadingTheWeightsNaNIsNotSeenAndThatIsSaid) {
  const ServedShape base = Base("llama");
  const Inspection inspection = InspectAdapter(LocalFiles(), kRefused + "/nan", &base, {}, false);
  EXPECT_EQ(inspection.verdict, Verdict::kYes);
  EXPECT_THAT(inspection.not_checked, ::testing::ElementsAre(HasSubstr("--full")));
}

TEST(InspectAdapter, SaysRanksScalingModulesAndTypes) {
  const Inspection patterns =
      InspectAdapter(LocalFiles(), kAdapters + "/patterns", nullptr, {}, false);
  EXPECT_EQ(JsonOf(patterns, "max_rank"), "12");
  EXPECT_EQ(JsonOf(patterns, "ranks"), R"({"2":2,"4":2,"6":1,"8":8,"12":1})");
  EXPECT_EQ(JsonOf(patterns, "alpha"), "16.0");
  EXPECT_EQ(JsonOf(patterns, "min_scaling"), "0.5");
  EXPECT_EQ(JsonOf(patterns, "max_scaling"), "8.0");
  EXPECT_EQ(JsonOf(patterns, "rslora"), "false");
  const Inspection one =
      InspectAdapter(LocalFiles(), kAdapters + "/one-layer-number", nullptr, {}, false);
  EXPECT_EQ(JsonOf(one, "layers"), "[0]");
  EXPECT_EQ(JsonOf(one, "target_modules"), R"(["q_proj","gate_proj"])");
  EXPECT_EQ(JsonOf(one, "modules"), "2");
  const Inspection halves =
      InspectAdapter(LocalFiles(), kAdapters + "/qwen3-rslora-bfloat16", nullptr, {}, false);
  EXPECT_EQ(JsonOf(halves, "rslora"), "true");
  EXPECT_THAT(JsonOf(halves, "stored_types"), HasSubstr("{\"BF16\":"));
  EXPECT_EQ(JsonOf(halves, "base_model"), "\"tests/qwen3\"");
}

TEST(InspectAdapter, LimitsOfTheServerCountAsWhenServing) {
  const std::string path = kAdapters + "/r8";
  const ServedShape base = Base("llama");
  checkpoint::AdapterLimits small;
  small.max_rank = 4;
  checkpoint::AdapterLimits narrow;
  narrow.allowed[static_cast<size_t>(Projection::kUp)] = false;
  for (const checkpoint::AdapterLimits& limits : {small, narrow}) {
    const ServedLoad served(path, base, limits);
    for (const ServedShape* given : {&base, static_cast<const ServedShape*>(nullptr)}) {
      const Inspection inspection = InspectAdapter(LocalFiles(), path, given, limits, false);
      EXPECT_EQ(inspection.verdict, Verdict::kNo);
      EXPECT_EQ(inspection.reason, served.reason);
    }
  }
}

}  // namespace
}  // namespace weft::cli
