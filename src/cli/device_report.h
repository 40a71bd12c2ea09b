#pragma once

#include <string>

#include "base/clock.h"
#include "bench/file_read_rate.h"
#include "device/ceilings.h"

namespace weft::cli {

/// What `weft bench device` found.
struct DeviceReport {
  device::Ceilings ceilings;
  bench::FileReadRate file;
  Duration took{};
};

/// For people. What was not measured is a dash.
std::string DeviceTable(const DeviceReport& report);
/// One line without its end, in bytes and operations a second. What was not measured is null.
std::string DeviceJson(const DeviceReport& report);

}  // namespace weft::cli
