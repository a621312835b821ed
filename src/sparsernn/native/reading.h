#pragma once

#include <cstdint>

#include "instructions.h"

namespace sparsernn {

// Reads every whole 64 bytes once and does nothing else: how fast weights could be read at best.
using ReadThrough = std::int32_t (*)(const std::uint8_t* bytes, std::int64_t count);

ReadThrough reading_kernel(Instructions instructions);

}  // namespace sparsernn
