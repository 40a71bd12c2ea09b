#pragma once

#include <string>

#include "base/file.h"
#include "base/result.h"
#include "checkpoint/peft_adapter.h"
#include "cli/inspection.h"
#include "cli/served_shape.h"

namespace weft::cli {

/// What is in the PEFT folder at `path`, and whether a server with these limits would load it for
/// `base`. A null `base`: what can be known without one. `full`: the weights are read and packed as
/// a loader does; needs a base. Blocks.
Inspection InspectAdapter(FileSystem& files, const std::string& path, const ServedShape* base,
                          const checkpoint::AdapterLimits& limits, bool full);

}  // namespace weft::cli
