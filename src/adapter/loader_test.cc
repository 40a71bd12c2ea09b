#include "adapter/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>

#include "adapter/memory_files_for_test.h"

namespace weft::adapter {
namespace {

using checkpoint::StoredType;

constexpr Bytes kPage = 8192;

/// A door that reads of files wait at.
class Gate {
 public:
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void Pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  /// Until so many have come to the gate.
  void WaitFor(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int waiting_ = 0;
};

/// Collects answers by version; tests wait for them.
template <typename Answer>
class Answers {
 public:
  std::function<void(Answer)> sink() {
    return [this](Answer answer) {
      std::lock_guard lock(mutex_);
      const int64_t version = answer.version.value();
      EXPECT_FALSE(by_version_.contains(version)) << "answered twice: " << version;
      by_version_.emplace(version, std::move(answer));
      changed_.notify_all();
    };
  }
  Answer Wait(int64_t version) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return by_version_.contains(version); });
    return by_version_.at(version);
  }
  bool Has(int64_t version) {
    std::lock_guard lock(mutex_);
    return by_version_.contains(version);
  }
  size_t count() {
    std::lock_guard lock(mutex_);
    return by_version_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, Answer> by_version_;
};

class LoaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 4; ++i) {
      AdapterFolder(model_, 8 * i + 3, StoredType::kF32, static_cast<uint64_t>(i))
          .WriteTo(files_, Path(i));
    }
    // What each image must be, from one thread without a loader.
    for (int i = 0; i < 4; ++i) {
      const auto opened = *OpenForImage(files_, Path(i), model_, {}, format_);
      TestPages pages(opened->layout.pages, kPage);
      auto read = *ImageRead::Begin(files_, format_, clock_, opened, pages.addresses());
      PassAll monitor;
      ReadStaging staging;
      for (const LayerIndex layer : read->layers()) {
        ASSERT_TRUE(read->ReadLayer(layer, staging, monitor).ok());
      }
      ASSERT_TRUE(read->Finish().ok());
      opened_.push_back(opened);
      images_.push_back(std::move(pages.memory()));
    }
  }

  std::string Path(int adapter) { return "/adapters/" + std::to_string(adapter); }
  void Start() {
    loader_.emplace(files_, model_, checkpoint::AdapterLimits{}, format_, options_, clock_,
                    opens_.sink(), reads_.sink(), spans_);
  }
  /// Reads adapter `version` % 4 into pages of its own.
  std::shared_ptr<CancelFlag> Read(int64_t version) {
    const auto& opened = opened_[static_cast<size_t>(version % 4)];
    auto [pages, inserted] =
        pages_.emplace(version, std::make_unique<TestPages>(opened->layout.pages, kPage));
    auto flag = std::make_shared<CancelFlag>(false);
    loader_->Read(ReadJob{AdapterVersion(version), opened, pages->second->addresses(), flag});
    return flag;
  }
  void ExpectImage(int64_t version) {
    EXPECT_EQ(pages_.at(version)->memory(), images_[static_cast<size_t>(version % 4)]) << version;
  }
  static ErrorCode Code(const Status& status) {
    return status.ok() ? ErrorCode::kInternal : status.error().code;
  }

  const ModelConfig model_ = SmallModel();
  const PlainPacker packer_{DType::kBFloat16};
  const ImageFormat format_{.packer = packer_, .page_bytes = kPage, .piece_bytes = 4096};
  const SteadyClock clock_;
  MemoryFiles files_;
  std::vector<std::shared_ptr<const OpenedAdapter>> opened_;
  std::vector<std::vector<std::vector<std::byte>>> images_;
  std::map<int64_t, std::unique_ptr<TestPages>> pages_;
  Answers<AdapterOpened> opens_;
  Answers<AdapterRead> reads_;
  LoaderOptions options_;
  LoadSpanSink spans_;
  std::optional<Loader> loader_;

 private:
  class PassAll final : public ReadMonitor {
    Status BeforePiece(Bytes) override { return OkStatus(); }
    void Done(LoadSpan::Kind, Moment, Moment, Bytes) override {}
  };
};

TEST_F(LoaderTest, OpensAndReads) {
  Start();
  loader_->Open(OpenJob{AdapterVersion(1), Path(1)});
  const AdapterOpened opened = opens_.Wait(1);
  ASSERT_TRUE(opened.opened.ok());
  EXPECT_EQ((*opened.opened)->max_rank, 11);
  EXPECT_EQ((*opened.opened)->path, Path(1));
  EXPECT_GT(opened.took, Duration::zero());
  for (int version = 0; version < 4; ++version) Read(version);
  for (int version = 0; version < 4; ++version) {
    EXPECT_TRUE(reads_.Wait(version).status.ok());
    EXPECT_GT(reads_.Wait(version).took, Duration::zero());
    ExpectImage(version);
  }
}

TEST_F(LoaderTest, WhatCannotBeOpenedSaysWhy) {
  Start();
  loader_->Open(OpenJob{AdapterVersion(1), "/nowhere"});
  const AdapterOpened answer = opens_.Wait(1);
  ASSERT_FALSE(answer.opened.ok());
  EXPECT_EQ(answer.opened.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(answer.opened.error().message, ::testing::HasSubstr("/nowhere"));
}

TEST_F(LoaderTest, OneBadAdapterDisturbsNoOther) {
  Start();
  files_.Remove(Path(1) + "/adapter_model.safetensors");
  for (int version = 0; version < 4; ++version) Read(version);
  EXPECT_EQ(Code(reads_.Wait(1).status), ErrorCode::kNotFound);
  for (const int version : {0, 2, 3}) {
    EXPECT_TRUE(reads_.Wait(version).status.ok());
    ExpectImage(version);
  }
}

TEST_F(LoaderTest, ThreadsShareOneAdapterAndTakeItsLayersInOrder) {
  options_.threads = 3;
  options_.threads_per_adapter = 2;
  std::mutex mutex;
  std::condition_variable changed;
  std::set<int> threads;
  spans_ = [&](const LoadSpan& span) {
    std::unique_lock lock(mutex);
    threads.insert(span.thread);
    changed.notify_all();
    // Holds the first until a second has come, so that the test does not depend on speed.
    changed.wait(lock, [&] { return threads.size() >= 2; });
  };
  Start();
  Read(2);
  EXPECT_TRUE(reads_.Wait(2).status.ok());
  ExpectImage(2);
  EXPECT_EQ(threads.size(), 2U);
}

TEST_F(LoaderTest, TheCapHoldsForAllThreadsTogether) {
  std::mutex mutex;
  Bytes bytes = 0;
  std::optional<Moment> begin;
  Moment end{};
  spans_ = [&](const LoadSpan& span) {
    if (span.kind != LoadSpan::Kind::kRead) return;
    const std::lock_guard lock(mutex);
    begin = std::min(begin.value_or(span.begin), span.begin);
    end = std::max(end, span.end);
    bytes += span.bytes;
  };
  options_.bytes_per_second = 400'000;
  Start();
  for (int version = 0; version < 4; ++version) Read(version);
  for (int version = 0; version < 4; ++version) ASSERT_TRUE(reads_.Wait(version).status.ok());
  loader_->Stop();
  const double wanted = static_cast<double>(bytes) / static_cast<double>(options_.bytes_per_second);
  ASSERT_GT(wanted, 0.3) << "too short to tell";
  // A busy machine may be slower than the cap, never faster. One piece and the credit are free.
  EXPECT_GT(Seconds(end - *begin), 0.95 * wanted - 2 * Seconds(Throttle::kCredit));
}

TEST_F(LoaderTest, AnOpenOvertakesReadsThatWait) {
  options_.threads = 1;
  Gate gate;
  std::atomic<bool> opened_before_read = false;
  files_.OnRead([&](const std::string& path, Bytes) {
    if (path.starts_with(Path(0))) gate.Pass();
    if (path.starts_with(Path(1))) opened_before_read = opens_.Has(2);
  });
  Start();
  Read(0);
  gate.WaitFor(1);
  Read(1);
  loader_->Open(OpenJob{AdapterVersion(2), Path(2)});
  gate.Open();
  EXPECT_TRUE(reads_.Wait(1).status.ok());
  EXPECT_TRUE(opened_before_read);
}

TEST_F(LoaderTest, ACancelledReadEndsAtItsNextPieceAndTouchesNothingAfter) {
  Gate gate;
  std::atomic<int> pieces = 0;
  files_.OnRead([&](const std::string&, Bytes) {
    if (++pieces == 4) gate.Pass();
  });
  options_.threads = 1;
  Start();
  const auto flag = Read(3);
  gate.WaitFor(1);
  *flag = true;
  gate.Open();
  EXPECT_EQ(Code(reads_.Wait(3).status), ErrorCode::kCancelled);
  EXPECT_EQ(pieces, 4);
  auto& memory = pages_.at(3)->memory();
  const auto before = memory;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(memory, before);
  EXPECT_NE(memory, images_[3]);
}

TEST_F(LoaderTest, AReadCancelledInTheQueueNeverBegins) {
  options_.threads = 1;
  Gate gate;
  std::atomic<int> others = 0;
  files_.OnRead([&](const std::string& path, Bytes) {
    if (path.starts_with(Path(0))) {
      gate.Pass();
    } else {
      ++others;
    }
  });
  Start();
  Read(0);
  gate.WaitFor(1);
  *Read(1) = true;
  gate.Open();
  EXPECT_EQ(Code(reads_.Wait(1).status), ErrorCode::kCancelled);
  EXPECT_TRUE(reads_.Wait(0).status.ok());
  EXPECT_EQ(others, 0);
}

TEST_F(LoaderTest, StopAnswersEveryJobOnce) {
  options_.threads = 2;
  options_.threads_per_adapter = 1;
  Gate gate;
  files_.OnRead([&](const std::string&, Bytes) { gate.Pass(); });
  Start();
  for (int version = 0; version < 8; ++version) Read(version);
  gate.WaitFor(2);
  for (int version = 0; version < 5; ++version) {
    loader_->Open(OpenJob{AdapterVersion(version), Path(version % 4)});
  }
  auto stopped = std::async(std::launch::async, [&] { loader_->Stop(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  gate.Open();
  stopped.get();
  EXPECT_EQ(reads_.count(), 8U);
  EXPECT_EQ(opens_.count(), 5U);
  for (int version = 0; version < 8; ++version) {
    EXPECT_EQ(Code(reads_.Wait(version).status), ErrorCode::kCancelled);
  }
  Read(8);
  loader_->Open(OpenJob{AdapterVersion(8), Path(0)});
  EXPECT_EQ(Code(reads_.Wait(8).status), ErrorCode::kCancelled);
  EXPECT_EQ(opens_.Wait(8).opened.error().code, ErrorCode::kCancelled);
  loader_->Stop();
}

TEST_F(LoaderTest, DestructionJoinsIdleAndBusyThreads) {
  for (int round = 0; round < 30; ++round) {
    Start();
    if (round % 2 == 0) Read(100 + round);
    if (round % 3 == 0) loader_->Open(OpenJob{AdapterVersion(100 + round), Path(1)});
    loader_.reset();
    EXPECT_EQ(reads_.Has(100 + round), round % 2 == 0);
    EXPECT_EQ(opens_.Has(100 + round), round % 3 == 0);
  }
}

TEST_F(LoaderTest, ACapHoldsForAllThreadsTogetherAndCanBeCalledOff) {
  const Bytes file_bytes = 2 * opened_[1]->layout.used_bytes * 11 / 16;
  options_.threads = 4;
  options_.bytes_per_second = file_bytes * 5;
  Start();
  const Moment begin = clock_.Now();
  Read(1);
  Read(5);
  EXPECT_TRUE(reads_.Wait(1).status.ok());
  EXPECT_TRUE(reads_.Wait(5).status.ok());
  // Two files take 0.4 s, less a bucket's credit and the last pieces.
  EXPECT_GE(clock_.Now() - begin, std::chrono::milliseconds(300));
  ExpectImage(5);
  const auto flag = Read(3);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  *flag = true;
  EXPECT_EQ(Code(reads_.Wait(3).status), ErrorCode::kCancelled);
}

TEST_F(LoaderTest, StopDoesNotWaitForBandwidth) {
  options_.bytes_per_second = 1;
  Start();
  Read(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  loader_->Stop();
  EXPECT_EQ(Code(reads_.Wait(1).status), ErrorCode::kCancelled);
}

TEST_F(LoaderTest, ManyJobsWithCancelsAndChangesAreEachAnsweredOnce) {
  options_.threads = 4;
  options_.threads_per_adapter = 3;
  std::mt19937_64 random(21);
  Start();
  std::vector<std::shared_ptr<CancelFlag>> flags;
  for (int version = 0; version < 200; ++version) {
    flags.push_back(Read(version));
    if (random() % 4 == 0) *flags[random() % flags.size()] = true;
    if (random() % 4 == 0) loader_->Open(OpenJob{AdapterVersion(version), Path(version % 4)});
    if (version == 150) files_.Touch(Path(0) + "/adapter_config.json");
    if (random() % 8 == 0) std::this_thread::yield();
  }
  int complete = 0;
  for (int version = 0; version < 200; ++version) {
    const AdapterRead answer = reads_.Wait(version);
    if (answer.status.ok()) {
      ExpectImage(version);
      ++complete;
    } else if (Code(answer.status) != ErrorCode::kCancelled) {
      EXPECT_EQ(version % 4, 0);
      EXPECT_EQ(Code(answer.status), ErrorCode::kUnavailable);
    }
  }
  EXPECT_GT(complete, 50);
  loader_->Stop();
  EXPECT_EQ(reads_.count(), 200U);
}

}  // namespace
}  // namespace weft::adapter
