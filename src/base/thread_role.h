#pragma once

namespace weft {

/// Marks the calling thread as the engine's for as long as it lives. Promise P1: the engine thread
/// never reads a file, converts a weight, pins memory or waits for a copy.
class EngineThreadScope {
 public:
  EngineThreadScope();
  ~EngineThreadScope();
  EngineThreadScope(const EngineThreadScope&) = delete;
  EngineThreadScope& operator=(const EngineThreadScope&) = delete;
};

bool OnEngineThread();

/// First line of every call that may block: file reads, pinning, conversions, waiting for a stream.
/// Aborts on the engine thread. Costs one thread-local read, so it stays on in release builds.
void AssertMayBlock(const char* what);

}  // namespace weft
