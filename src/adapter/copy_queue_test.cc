#include "adapter/copy_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace weft::adapter {
namespace {

constexpr Bytes kPage = 64;

class CopyQueueTest : public ::testing::Test {
 protected:
  /// Copies the host pages to the device pages, both numbered.
  CopyJob Job(int64_t version, const std::vector<int>& host, const std::vector<int>& device,
              CopyUrgency urgency = CopyUrgency::kRequested) {
    CopyJob job{.version = AdapterVersion(version), .urgency = urgency};
    for (const int page : host) job.host.push_back(host_.data() + page * kPage);
    for (const int page : device) job.device.push_back(device_.data() + page * kPage);
    job.cancelled = std::make_shared<CancelFlag>(false);
    return job;
  }
  /// The next piece: version, first device page, pages.
  std::vector<int64_t> Next() {
    const CopyQueue::Piece piece = queue_.TakePiece();
    EXPECT_EQ((piece.from - host_.data()) % kPage, 0);
    return {piece.of->job.version.value(), (piece.to - device_.data()) / kPage,
            piece.bytes / kPage};
  }

  std::vector<std::byte> host_ = std::vector<std::byte>(100 * kPage);
  std::vector<std::byte> device_ = std::vector<std::byte>(100 * kPage);
  CopyQueue queue_{kPage, 4 * kPage};
};

using Piece = std::vector<int64_t>;

TEST_F(CopyQueueTest, MergesWhatIsNeighbouringOnBothSides) {
  queue_.Add(Job(1, {0, 1, 2, 3, 4, 5, 9, 10}, {10, 11, 12, 13, 14, 15, 16, 20}));
  EXPECT_EQ(Next(), (Piece{1, 10, 4}));  // As much as a piece takes.
  EXPECT_EQ(Next(), (Piece{1, 14, 2}));  // The host's pages part.
  EXPECT_EQ(Next(), (Piece{1, 16, 1}));  // The device's pages part.
  EXPECT_FALSE(queue_.empty());
  EXPECT_EQ(Next(), (Piece{1, 20, 1}));
  EXPECT_TRUE(queue_.empty());
}

TEST_F(CopyQueueTest, APageLargerThanAPieceGoesAlone) {
  CopyQueue queue(kPage, kPage / 2);
  queue.Add(Job(1, {0, 1}, {0, 1}));
  EXPECT_EQ(queue.TakePiece().bytes, kPage);
}

TEST_F(CopyQueueTest, UrgentOvertakesPrefetchBetweenTwoPieces) {
  queue_.Add(Job(1, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}, CopyUrgency::kPrefetch));
  EXPECT_EQ(Next(), (Piece{1, 0, 4}));
  queue_.Add(Job(2, {5, 6}, {50, 60}));
  queue_.Add(Job(3, {7}, {7}));
  EXPECT_EQ(Next(), (Piece{2, 50, 1}));
  EXPECT_EQ(Next(), (Piece{2, 60, 1}));  // Equals in order of arrival.
  EXPECT_EQ(Next(), (Piece{3, 7, 1}));
  EXPECT_EQ(Next(), (Piece{1, 4, 1}));
}

TEST_F(CopyQueueTest, APromotedJobTakesItsPlaceAmongTheUrgent) {
  queue_.Add(Job(1, {0}, {0}, CopyUrgency::kPrefetch));
  queue_.Add(Job(2, {1}, {1}, CopyUrgency::kPrefetch));
  queue_.Add(Job(3, {2}, {2}));
  queue_.Promote(AdapterVersion(2));
  queue_.Promote(AdapterVersion(77));  // Already copied: nothing happens.
  EXPECT_EQ(Next().front(), 2);
  EXPECT_EQ(Next().front(), 3);
  EXPECT_EQ(Next().front(), 1);
}

TEST_F(CopyQueueTest, CancelledJobsLeave) {
  CopyJob job = Job(1, {0, 1}, {0, 5});
  const auto flag = job.cancelled;
  queue_.Add(std::move(job));
  queue_.Add(Job(2, {3}, {3}));
  EXPECT_TRUE(queue_.TakeCancelled().empty());
  EXPECT_EQ(Next(), (Piece{1, 0, 1}));
  *flag = true;
  const auto cancelled = queue_.TakeCancelled();
  ASSERT_EQ(cancelled.size(), 1U);
  EXPECT_EQ(cancelled[0]->job.version, AdapterVersion(1));
  EXPECT_EQ(cancelled[0]->next_page, 1U);
  EXPECT_FALSE(cancelled[0]->queued);
  EXPECT_EQ(Next(), (Piece{2, 3, 1}));
}

TEST_F(CopyQueueTest, RandomJobsAreCopiedWholeAndOnce) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 100; ++round) {
    std::vector<int> host(100);
    std::vector<int> device(100);
    for (int i = 0; i < 100; ++i) host[static_cast<size_t>(i)] = device[static_cast<size_t>(i)] = i;
    if (round % 2 == 0) std::ranges::shuffle(host, random);
    if (round % 3 == 0) std::ranges::shuffle(device, random);
    for (size_t i = 0; i < host_.size(); ++i) host_[i] = static_cast<std::byte>(random());
    std::ranges::fill(device_, std::byte{0});
    for (int first = 0, version = 1; first < 100; ++version) {
      const int count = std::min(100 - first, static_cast<int>(1 + random() % 20));
      queue_.Add(Job(version, {host.begin() + first, host.begin() + first + count},
                     {device.begin() + first, device.begin() + first + count},
                     random() % 2 == 0 ? CopyUrgency::kPrefetch : CopyUrgency::kRequested));
      first += count;
    }
    Bytes copied = 0;
    while (!queue_.empty()) {
      const CopyQueue::Piece piece = queue_.TakePiece();
      std::copy_n(piece.from, piece.bytes, piece.to);
      copied += piece.bytes;
    }
    ASSERT_EQ(copied, 100 * kPage);
    for (int i = 0; i < 100; ++i) {
      const auto* from = host_.data() + host[static_cast<size_t>(i)] * kPage;
      ASSERT_TRUE(
          std::equal(from, from + kPage, device_.data() + device[static_cast<size_t>(i)] * kPage));
    }
  }
}

}  // namespace
}  // namespace weft::adapter
