#include "adapter/copier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <random>

#include "device/device_for_test.h"

namespace weft::adapter {
namespace {

using ::testing::ElementsAre;

constexpr Bytes kPage = 4096;

/// A device whose stream works only when told to, so that a test sees what is in flight.
class ManualDevice final : public device::Device {
 public:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::pair<std::byte*, Bytes>> copies;  ///< In the order issued.
    size_t completed = 0;
  };

  class ManualEvent final : public device::Event {
   public:
    explicit ManualEvent(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
    bool IsComplete() const override {
      std::lock_guard lock(shared_->mutex);
      return shared_->completed >= after;
    }
    void Synchronize() const override {
      std::unique_lock lock(shared_->mutex);
      shared_->changed.wait(lock, [&] { return shared_->completed >= after; });
    }
    size_t after = 0;

   private:
    const std::shared_ptr<Shared> shared_;
  };

  class ManualStream final : public device::Stream {
   public:
    explicit ManualStream(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
    void Copy(std::byte* to, const std::byte* /*from*/, Bytes bytes) override {
      std::lock_guard lock(shared_->mutex);
      shared_->copies.emplace_back(to, bytes);
      shared_->changed.notify_all();
    }
    void Record(device::Event& event) override {
      std::lock_guard lock(shared_->mutex);
      static_cast<ManualEvent&>(event).after = shared_->copies.size();
    }
    void Fill(std::byte*, std::byte, Bytes) override { std::abort(); }
    void Call(std::function<void()>) override { std::abort(); }
    void WaitFor(const device::Event&) override { std::abort(); }
    void Synchronize() override { std::abort(); }

   private:
    const std::shared_ptr<Shared> shared_;
  };

  device::DeviceKind kind() const override { return device::DeviceKind::kCpu; }
  std::string name() const override { return "manual"; }
  Result<device::Buffer> AllocateDevice(Bytes) override { std::abort(); }
  Result<device::Buffer> AllocateHost(Bytes) override { std::abort(); }
  std::unique_ptr<device::Stream> CreateStream(device::StreamPriority, std::string_view) override {
    return std::make_unique<ManualStream>(shared_);
  }
  std::unique_ptr<device::Event> CreateEvent() override {
    return std::make_unique<ManualEvent>(shared_);
  }
  Bytes total_memory() const override { return 0; }
  Bytes free_memory() const override { return 0; }
  Bytes total_host_memory() const override { return 0; }
  Bytes free_host_memory() const override { return 0; }

  /// Lets the stream finish its first `count` copies of all.
  void CompleteUpTo(size_t count) {
    std::lock_guard lock(shared_->mutex);
    shared_->completed = count;
    shared_->changed.notify_all();
  }
  /// Waits until so many copies were issued in all.
  void WaitForIssued(size_t count) {
    std::unique_lock lock(shared_->mutex);
    shared_->changed.wait(lock, [&] { return shared_->copies.size() >= count; });
  }
  std::vector<std::pair<std::byte*, Bytes>> copies() {
    std::lock_guard lock(shared_->mutex);
    return shared_->copies;
  }

 private:
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

/// Collects answers; tests wait for them.
class Answers {
 public:
  std::function<void(AdapterCopied)> sink() {
    return [this](AdapterCopied answer) {
      std::lock_guard lock(mutex_);
      const int64_t version = answer.version.value();
      EXPECT_FALSE(by_version_.contains(version)) << "answered twice";
      order_.push_back(version);
      by_version_.emplace(version, std::move(answer));
      changed_.notify_all();
    };
  }
  AdapterCopied Wait(int64_t version) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return by_version_.contains(version); });
    return by_version_.at(version);
  }
  size_t count() {
    std::lock_guard lock(mutex_);
    return by_version_.size();
  }
  std::vector<int64_t> order() {
    std::lock_guard lock(mutex_);
    return order_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, AdapterCopied> by_version_;
  std::vector<int64_t> order_;
};

class CopierTest : public ::testing::Test {
 protected:
  /// `pages` pages from `first`, every second one, so that nothing is merged.
  CopyJob Job(int64_t version, int first, int pages,
              CopyUrgency urgency = CopyUrgency::kRequested) {
    CopyJob job{.version = AdapterVersion(version), .urgency = urgency};
    for (int i = 0; i < pages; ++i) {
      job.host.push_back(from_ + (first + 2 * i) * kPage);
      job.device.push_back(to_ + (first + 2 * i) * kPage);
    }
    job.cancelled = std::make_shared<CancelFlag>(false);
    return job;
  }
  int64_t PageOf(const std::pair<std::byte*, Bytes>& copy) { return (copy.first - to_) / kPage; }

  std::vector<std::byte> host_ = std::vector<std::byte>(200 * kPage, std::byte{7});
  std::vector<std::byte> device_ = std::vector<std::byte>(200 * kPage);
  const std::byte* from_ = host_.data();
  std::byte* to_ = device_.data();
  SteadyClock clock_;
  CopierOptions options_{.page_bytes = kPage};
  Answers answers_;
  ManualDevice manual_;
};

TEST_F(CopierTest, AtMostFourPiecesAreInFlightAndUrgentOvertakesThere) {
  Copier copier(manual_, options_, clock_, answers_.sink());
  copier.Copy(Job(1, 0, 10, CopyUrgency::kPrefetch));
  manual_.WaitForIssued(4);
  copier.Copy(Job(2, 100, 2));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(manual_.copies().size(), 4U);
  manual_.CompleteUpTo(2);
  manual_.WaitForIssued(6);
  EXPECT_EQ(PageOf(manual_.copies()[4]), 100);
  EXPECT_EQ(PageOf(manual_.copies()[5]), 102);
  EXPECT_EQ(answers_.count(), 0U);
  manual_.CompleteUpTo(1000);
  EXPECT_TRUE(answers_.Wait(1).status.ok());
  EXPECT_THAT(answers_.order(), ElementsAre(2, 1));
  EXPECT_EQ(answers_.Wait(2).bytes, 2 * kPage);
  EXPECT_EQ(copier.link_use().bytes, 12 * kPage);
}

/// What overtakes a copy is not counted twice, and a long copy counts before its end.
TEST_F(CopierTest, TheLinkIsNeverBusierThanTimePasses) {
  const Moment began = clock_.Now();
  Copier copier(manual_, options_, clock_, answers_.sink());
  copier.Copy(Job(1, 0, 10, CopyUrgency::kPrefetch));
  manual_.WaitForIssued(4);
  copier.Copy(Job(2, 100, 2));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  manual_.CompleteUpTo(6);
  EXPECT_TRUE(answers_.Wait(2).status.ok());
  EXPECT_EQ(answers_.count(), 1U);
  EXPECT_GE(copier.link_use().busy, std::chrono::milliseconds(5));
  EXPECT_GE(copier.link_use().bytes, 6 * kPage);
  manual_.CompleteUpTo(1000);
  const Duration took = answers_.Wait(1).took + answers_.Wait(2).took;
  const Duration passed = clock_.Now() - began;
  EXPECT_LE(copier.link_use().busy, passed);
  EXPECT_GT(took, copier.link_use().busy);
}

TEST_F(CopierTest, ACancelledCopyIsAnsweredOnlyWhenNothingTouchesItsPages) {
  Copier copier(manual_, options_, clock_, answers_.sink());
  CopyJob job = Job(1, 0, 10);
  const auto flag = job.cancelled;
  copier.Copy(std::move(job));
  manual_.WaitForIssued(4);
  *flag = true;
  manual_.CompleteUpTo(3);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(answers_.count(), 0U);  // The fourth is still in flight.
  manual_.CompleteUpTo(4);
  const AdapterCopied answer = answers_.Wait(1);
  EXPECT_EQ(answer.status.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(answer.bytes, 4 * kPage);
  EXPECT_EQ(manual_.copies().size(), 4U);
}

TEST_F(CopierTest, AJobCancelledWhileItWaitsNeverBegins) {
  Copier copier(manual_, options_, clock_, answers_.sink());
  copier.Copy(Job(1, 0, 6));
  CopyJob job = Job(2, 100, 3);
  const auto flag = job.cancelled;
  copier.Copy(std::move(job));
  manual_.WaitForIssued(4);
  *flag = true;
  manual_.CompleteUpTo(1000);
  EXPECT_EQ(answers_.Wait(2).bytes, 0);
  EXPECT_EQ(answers_.Wait(2).took, Duration::zero());
  EXPECT_TRUE(answers_.Wait(1).status.ok());
  EXPECT_EQ(manual_.copies().size(), 6U);
}

TEST_F(CopierTest, StopAnswersEveryJobOnce) {
  Copier copier(manual_, options_, clock_, answers_.sink());
  copier.Copy(Job(5, 60, 4));
  manual_.WaitForIssued(4);  // As many as may be in flight: the others wait together.
  copier.Copy(Job(1, 0, 2));
  copier.Copy(Job(2, 20, 20));
  copier.Copy(Job(3, 100, 3));
  manual_.CompleteUpTo(4);
  manual_.WaitForIssued(8);
  auto stopped = std::async(std::launch::async, [&] { copier.Stop(); });
  EXPECT_EQ(stopped.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout)
      << "it must wait for what is in flight";
  manual_.CompleteUpTo(1000);
  stopped.get();
  EXPECT_TRUE(answers_.Wait(5).status.ok());
  EXPECT_TRUE(answers_.Wait(1).status.ok());
  EXPECT_EQ(answers_.Wait(2).status.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(answers_.Wait(3).status.error().code, ErrorCode::kCancelled);
  copier.Copy(Job(4, 0, 1));
  EXPECT_EQ(answers_.Wait(4).status.error().code, ErrorCode::kCancelled);
  copier.Stop();
  EXPECT_EQ(answers_.count(), 5U);
}

TEST_F(CopierTest, DestructionJoinsAnIdleThread) {
  for (int i = 0; i < 50; ++i) Copier copier(manual_, options_, clock_, answers_.sink());
}

TEST_F(CopierTest, ACapHoldsAndCanBeCalledOff) {
  options_.bytes_per_second = 10 * kPage;
  options_.piece_bytes = kPage;
  manual_.CompleteUpTo(1000);
  Copier copier(manual_, options_, clock_, answers_.sink());
  const Moment begin = clock_.Now();
  copier.Copy(Job(1, 0, 4));
  EXPECT_TRUE(answers_.Wait(1).status.ok());
  EXPECT_GE(clock_.Now() - begin, std::chrono::milliseconds(300) - Throttle::kCredit);
  CopyJob job = Job(2, 0, 50);
  const auto flag = job.cancelled;
  copier.Copy(std::move(job));
  *flag = true;
  EXPECT_EQ(answers_.Wait(2).status.error().code, ErrorCode::kCancelled);
  EXPECT_LT(clock_.Now() - begin, std::chrono::seconds(3));
}

TEST_F(CopierTest, ImagesArriveWholeOnARealStreamWhileJobsComeAndGo) {
  const auto device = device::CreateDeviceForTest();
  const device::Buffer host = std::move(device->AllocateHost(200 * kPage)).value();
  const device::Buffer arrived = std::move(device->AllocateDevice(200 * kPage)).value();
  from_ = host.data();
  to_ = arrived.data();
  std::mt19937_64 random(11);
  std::generate_n(host.data(), 200 * kPage, [&] { return static_cast<std::byte>(random()); });
  std::mutex spans_mutex;
  std::map<int64_t, Bytes> in_spans;
  Moment last_end{};
  const LoadSpanSink spans = [&](const LoadSpan& span) {
    std::lock_guard lock(spans_mutex);
    EXPECT_EQ(span.kind, LoadSpan::Kind::kCopy);
    EXPECT_LE(last_end, span.begin) << "one stream, one piece at a time";
    EXPECT_LE(span.begin, span.end);
    last_end = span.end;
    in_spans[span.version.value()] += span.bytes;
  };
  {
    Copier copier(*device, options_, clock_, answers_.sink(), spans);
    for (int i = 0; i < 20; ++i) {
      copier.Copy(Job(i, (i / 2) * 20 + i % 2, 10,
                      i % 3 == 0 ? CopyUrgency::kPrefetch : CopyUrgency::kRequested));
      if (i % 5 == 0) copier.Promote(AdapterVersion(i - 2));
    }
    for (int i = 0; i < 20; ++i) {
      const AdapterCopied answer = answers_.Wait(i);
      EXPECT_TRUE(answer.status.ok());
      EXPECT_EQ(answer.bytes, 10 * kPage);
    }
    EXPECT_GT(copier.link_use().busy, Duration::zero());
  }
  const device::Buffer read = device::ReadBack(*device, arrived);
  EXPECT_TRUE(std::equal(host.data(), host.data() + 200 * kPage, read.data()));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(in_spans[i], 10 * kPage);
}

}  // namespace
}  // namespace weft::adapter
