#include "adapter/threaded_adapter_io.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>

#include "adapter/adapter_table.h"
#include "adapter/memory_files_for_test.h"
#include "device/device_for_test.h"

namespace weft::adapter {
namespace {

constexpr Bytes kPage = 8192;

std::vector<std::byte*> PagesIn(const device::Buffer& buffer, int32_t count) {
  std::vector<std::byte*> pages;
  for (int32_t page = 0; page < count; ++page) pages.push_back(buffer.data() + page * kPage);
  return pages;
}

TEST(ThreadedAdapterIo, BringsAnAdapterFromItsFilesToTheDevice) {
  const ModelConfig model = SmallModel();
  MemoryFiles files;
  AdapterFolder folder(model, 20, checkpoint::StoredType::kF16, 4);
  folder.WriteTo(files, "/a");
  const PlainPacker packer(DType::kBFloat16);
  const auto device = device::CreateDeviceForTest();
  const SteadyClock clock;
  std::promise<AdapterOpened> opened_promise;
  std::promise<AdapterRead> read_promise;
  std::promise<AdapterCopied> copied_promise;
  const AdapterIoReplies replies{
      .opened = [&](AdapterOpened answer) { opened_promise.set_value(std::move(answer)); },
      .read = [&](AdapterRead answer) { read_promise.set_value(std::move(answer)); },
      .copied = [&](AdapterCopied answer) { copied_promise.set_value(std::move(answer)); }};
  ThreadedAdapterIo io(files, model, packer, *device, {.page_bytes = kPage}, clock, replies);

  constexpr AdapterVersion kVersion{7};
  io.Open(OpenJob{kVersion, "/a"});
  const auto opened = *opened_promise.get_future().get().opened;

  const int32_t count = opened->layout.pages;
  const Bytes bytes = count * kPage;
  const device::Buffer host = std::move(device->AllocateHost(bytes)).value();
  const auto flag = std::make_shared<CancelFlag>(false);
  io.Read(ReadJob{kVersion, opened, PagesIn(host, count), flag});
  ASSERT_TRUE(read_promise.get_future().get().status.ok());

  // The device's pages lie the other way round.
  const device::Buffer device_pages = device::AllocatePoisoned(*device, bytes);
  std::vector<std::byte*> to = PagesIn(device_pages, count);
  std::ranges::reverse(to);
  const std::vector<std::byte*> from = PagesIn(host, count);
  io.Copy(CopyJob{kVersion, {from.begin(), from.end()}, to, CopyUrgency::kPrefetch, flag});
  io.Promote(kVersion);
  const AdapterCopied copied = copied_promise.get_future().get();
  ASSERT_TRUE(copied.status.ok());
  EXPECT_EQ(copied.bytes, bytes);
  EXPECT_EQ(io.link_use().bytes, copied.bytes);
  EXPECT_GT(io.link_use().busy, Duration::zero());

  const device::Buffer arrived = device::ReadBack(*device, device_pages);
  std::vector<std::byte*> pages = PagesIn(arrived, count);
  std::ranges::reverse(pages);
  const ops::AdapterTable table = BuildAdapterTable(opened->layout, model, pages);
  const ops::LoraModule& module = table.Module(LayerIndex(3), Projection::kGate);
  ASSERT_EQ(module.tiles.size(), 2U);
  EXPECT_FLOAT_EQ(module.scaling, 32.0F / 20.0F);
  const auto& a = folder.Matrix(3, Projection::kGate, 'A');
  for (int32_t in = 0; in < 64; ++in) {
    const auto column = static_cast<size_t>(in);
    EXPECT_EQ(packer.Get(module.tiles[0].a, 5 * 64 + column), a[5 * 64 + column]);
    EXPECT_EQ(packer.Get(module.tiles[1].a, 3 * 64 + column), a[19 * 64 + column]);
    EXPECT_EQ(packer.Get(module.tiles[1].a, 4 * 64 + column), 0.0F);
  }
  io.Stop();
}

TEST(ThreadedAdapterIo, AfterStopEveryJobIsAnsweredAtOnce) {
  const ModelConfig model = SmallModel();
  MemoryFiles files;
  AdapterFolder(model, 4, checkpoint::StoredType::kF16, 4).WriteTo(files, "/a");
  const PlainPacker packer(DType::kBFloat16);
  const auto device = device::CreateDeviceForTest();
  const SteadyClock clock;
  int cancelled = 0;
  const auto count = [&](const Error& error) { cancelled += error.code == ErrorCode::kCancelled; };
  const AdapterIoReplies replies{
      .opened = [&](AdapterOpened answer) { count(answer.opened.error()); },
      .read = [&](AdapterRead answer) { count(answer.status.error()); },
      .copied = [&](AdapterCopied answer) { count(answer.status.error()); }};
  ThreadedAdapterIo io(files, model, packer, *device, {.page_bytes = kPage}, clock, replies);
  io.Stop();
  const auto opened = *OpenForImage(files, "/a", model, {}, ImageFormat{packer, kPage});
  TestPages pages(opened->layout.pages, kPage);
  const auto to = pages.addresses();
  io.Open(OpenJob{AdapterVersion(1), "/a"});
  io.Read(ReadJob{AdapterVersion(1), opened, to, nullptr});
  io.Copy(CopyJob{AdapterVersion(1), {to.begin(), to.end()}, to});
  EXPECT_EQ(cancelled, 3);
}

}  // namespace
}  // namespace weft::adapter
