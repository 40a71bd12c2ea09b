#include "device/cpu/reserved_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "device/cpu/cpu_memory.h"
#include "device/cpu/memory_pages.h"

namespace weft::device {
namespace {

constexpr Bytes kSize = 4 * kHugePage;

Bytes PresentBytes(std::byte* data, Bytes size) {
  std::vector<unsigned char> pages(static_cast<size_t>(size / kSmallPage));
  EXPECT_EQ(mincore(data, static_cast<size_t>(size), pages.data()), 0);
  return std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return (p & 1) != 0; }) *
         kSmallPage;
}

/// Pages of files in memory, as the system counts them.
Bytes SharedMemoryOfTheSystem() {
  std::ifstream file("/proc/meminfo");
  std::string field;
  Bytes kilobytes = 0;
  while (file >> field)
    if (field == "Shmem:" && file >> kilobytes) return kilobytes * kKiB;
  return -1;
}

/// A mapping that ends with the test.
class Mapping {
 public:
  explicit Mapping(Bytes size) : data_(MapPages(size, kHugePage)), size_(size) {}
  ~Mapping() { UnmapPages(data_, size_); }
  std::byte* data() const { return data_; }

 private:
  std::byte* const data_;
  const Bytes size_;
};

TEST(MemoryPages, ThreadsMakeEveryPagePresent) {
  constexpr Bytes kOdd = 20 * kHugePage + 3 * kSmallPage;
  const Mapping mapping(kOdd);
  ASSERT_EQ(PresentBytes(mapping.data(), kOdd), 0);
  const PresentPart part = MakePresentInThreads(mapping.data(), kOdd, Patience::kUnlimited);
  EXPECT_EQ(part.error, 0);
  EXPECT_EQ(part.bytes, kOdd);
  EXPECT_EQ(PresentBytes(mapping.data(), kOdd), kOdd);
}

TEST(MemoryPages, TheSystemsReasonIsTheAnswer) {
  auto* nothing = reinterpret_cast<std::byte*>(kHugePage);  // Nothing is mapped there.
  EXPECT_EQ(MakePresentInThreads(nothing, kHugePage, Patience::kUnlimited).error, ENOMEM);
}

TEST(ReservedMemory, PagesThatAreSetAsideAreTakenFromTheSystem) {
  constexpr Bytes kLarge = 256 * kMiB;
  const Bytes before = SharedMemoryOfTheSystem();
  std::unique_ptr<SetAsidePages> pages = SetAsidePages::Create(kLarge);
  ASSERT_NE(pages, nullptr);
  // Others use the machine as well: half is proof enough.
  EXPECT_GT(SharedMemoryOfTheSystem(), before + kLarge / 2);
  pages->GiveBack(0, kLarge);
  EXPECT_LT(SharedMemoryOfTheSystem(), before + kLarge / 2);
}

TEST(ReservedMemory, EveryPageBecomesPresentAndWhatWasWrittenBeforeStays) {
  const Mapping mapping(kSize);
  std::byte* last = mapping.data() + kSize - 1;
  *last = std::byte{7};
  const BackgroundPresence presence(mapping.data(), kSize, SetAsidePages::Create(kSize));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!presence.complete() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_TRUE(presence.complete());
  EXPECT_EQ(PresentBytes(mapping.data(), kSize), kSize);
  EXPECT_EQ(*last, std::byte{7});
  EXPECT_TRUE(std::all_of(mapping.data(), last, [](std::byte b) { return b == std::byte{0}; }));
}

TEST(ReservedMemory, EndingBeforeItIsCompleteIsNoError) {
  constexpr Bytes kLarge = 512 * kMiB;
  const Mapping mapping(kLarge);
  { const BackgroundPresence presence(mapping.data(), kLarge, SetAsidePages::Create(kLarge)); }
  EXPECT_LT(PresentBytes(mapping.data(), kLarge), kLarge);
}

TEST(ReservedMemory, AReservedBufferCanBeUsedAtOnce) {
  Result<Buffer> buffer = ReserveMemory(200 * kMiB);
  ASSERT_TRUE(buffer.ok());
  EXPECT_GE(buffer->size(), 200 * kMiB);
  for (Bytes i = 0; i < buffer->size(); i += kSmallPage) ASSERT_EQ(buffer->data()[i], std::byte{0});
}

}  // namespace
}  // namespace weft::device
