#pragma once

#include <cstddef>
#include <cstdint>

namespace sparsernn {

// Bit i of byte i / 8, lowest bit first, is 1 where flags[i] is not 0. Unused bits of the last byte are 0.
void pack_bits(const std::uint8_t* flags, std::size_t count, std::uint8_t* bits);

// The inverse: flags become 0 or 1.
void unpack_bits(const std::uint8_t* bits, std::size_t count, std::uint8_t* flags);

}  // namespace sparsernn
