#pragma once

#include <string>

#include "model/step_profiler.h"

namespace weft::model {

/// The least time that `work` can take on a device: the larger of what its bytes and what its
/// operations take at their ceilings. 0 when those are not known.
double FloorSeconds(const Work& work, const Profile& profile);

/// A table for each kind of step that there was.
std::string ProfileText(const Profile& profile);
/// The same figures, unrounded, in seconds, bytes and operations; a JSON object.
std::string ProfileJson(const Profile& profile);

}  // namespace weft::model
