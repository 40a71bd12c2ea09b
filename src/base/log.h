#pragma once

#include <spdlog/spdlog.h>

#include <string_view>

#include "base/result.h"

namespace weft {

enum class LogFormat { kText, kJson };

/// Sets the process-wide logger's level (trace, debug, info, warning, error, off) and format. Call
/// once at start. Everything is written to standard error. Log through spdlog::info(...) and its
/// siblings.
Status SetUpLogging(std::string_view level, LogFormat format);

}  // namespace weft
