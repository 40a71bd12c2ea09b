#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"

namespace weft::device {

/// Memory of a device, or pinned memory of its host. Owns it, moves, frees it when it goes; whoever
/// holds it makes sure that no stream still touches it. On a CPU both kinds are aligned to a huge
/// page, or to 64 bytes when smaller.
class Buffer {
 public:
  using Release = std::function<void(std::byte* data, Bytes size)>;

  Buffer() = default;
  Buffer(std::byte* data, Bytes size, Release release)
      : data_(data), size_(size), release_(std::move(release)) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(release_, other.release_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) release_(data_, size_);
  }

  std::byte* data() const { return data_; }
  Bytes size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  Bytes size_ = 0;
  Release release_;
};

/// A point in a stream's work. Complete when never recorded, or when the stream has done everything
/// that lay before the latest Record. May be recorded again. Any thread may ask; it outlives
/// neither its device nor needs to outlive the streams that saw it.
class Event {
 public:
  virtual ~Event() = default;
  /// Never blocks.
  virtual bool IsComplete() const = 0;
  /// Blocks until complete: never on the engine thread.
  virtual void Synchronize() const = 0;
};

/// What a byte of a page becomes that nobody owns: all ones is a NaN in bf16, fp16 and fp32.
inline constexpr std::byte kPoison{0xFF};

/// Most pieces of work that may wait in one stream. More is a program error: whoever feeds a stream
/// bounds what it has in flight.
inline constexpr size_t kStreamQueueLimit = 16384;

/// Work in order. Two streams run side by side (copies beside compute). Every method but
/// Synchronize returns at once and may be called from any thread; work of several threads is in
/// some order. The destructor waits for what is queued.
class Stream {
 public:
  virtual ~Stream() = default;
  /// Both sides stay valid until the copy is done. Device to device, host to device or back.
  virtual void Copy(std::byte* destination, const std::byte* source, Bytes bytes) = 0;
  /// Sets every byte; tests poison freed pages so.
  virtual void Fill(std::byte* destination, std::byte value, Bytes bytes) = 0;
  /// Runs on a thread of the stream, when what was queued before is done: where a step computes. On
  /// a GPU it gives the device its work and waits for what it needs of it.
  virtual void Call(std::function<void()> function) = 0;
  virtual void Record(Event& event) = 0;
  /// Later work of this stream waits for what `event` was last recorded for.
  virtual void WaitFor(const Event& event) = 0;
  /// Blocks until all queued work is done: never on the engine thread.
  virtual void Synchronize() = 0;
};

enum class StreamPriority : uint8_t { kCompute, kCopy };

enum class DeviceKind : uint8_t { kCpu, kCuda };

/// Where a model computes. Owned by the command, outlives all buffers, streams and events of it.
/// Any thread may call.
class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceKind kind() const = 0;
  /// For people and logs: "cpu: 2 threads, avx512bf16".
  virtual std::string name() const = 0;
  /// Zeroed memory, backed from the start: what succeeds here cannot run out later. Blocks.
  virtual Result<Buffer> AllocateDevice(Bytes bytes) = 0;
  /// The same on the host, pinned where a copy engine needs it. Blocks.
  virtual Result<Buffer> AllocateHost(Bytes bytes) = 0;
  /// `name` is at most 15 letters: the thread's in top and gdb.
  /// The same two for memory that nobody touches at once, such as arenas: they may return as soon
  /// as the memory is set aside for this process, and make it present in the background.
  virtual Result<Buffer> ReserveDevice(Bytes bytes) { return AllocateDevice(bytes); }
  virtual Result<Buffer> ReserveHost(Bytes bytes) { return AllocateHost(bytes); }
  virtual std::unique_ptr<Stream> CreateStream(StreamPriority priority, std::string_view name) = 0;
  virtual std::unique_ptr<Event> CreateEvent() = 0;
  /// What this process may use of the device's memory in all (a container's limit counts), and what
  /// is free of it now.
  virtual Bytes total_memory() const = 0;
  virtual Bytes free_memory() const = 0;
  /// The same of the host's.
  virtual Bytes total_host_memory() const = 0;
  virtual Bytes free_host_memory() const = 0;
};

/// The machine's own processors and memory. A stream is a thread, host and device memory are alike.
std::unique_ptr<Device> CreateCpuDevice();

/// The first GPU that CUDA shows. Opens libweft_cuda.so. Errors, each saying what to do: the
/// library or CUDA 13 is missing, no GPU, a driver or a GPU that is too old.
Result<std::unique_ptr<Device>> CreateCudaDevice();

}  // namespace weft::device
