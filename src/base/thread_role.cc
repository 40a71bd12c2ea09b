#include "base/thread_role.h"

#include <cstdio>
#include <cstdlib>

#include "base/check.h"

namespace weft {
namespace {

thread_local bool on_engine_thread = false;

}  // namespace

EngineThreadScope::EngineThreadScope() {
  WEFT_CHECK(!on_engine_thread);
  on_engine_thread = true;
}

EngineThreadScope::~EngineThreadScope() { on_engine_thread = false; }

bool OnEngineThread() { return on_engine_thread; }

void AssertMayBlock(const char* what) {
  if (!on_engine_thread) return;
  std::fprintf(stderr, "promise P1 broken: the engine thread called %s\n", what);
  std::abort();
}

}  // namespace weft
