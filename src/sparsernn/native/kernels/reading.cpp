#include "../reading.h"

#include "sixteen.h"

namespace sparsernn {
namespace {

std::int32_t read_through(const std::uint8_t* bytes, std::int64_t count) {
    constexpr std::int64_t line = 64;
    const Ints none = Ints::all(0);
    Ints sums[4] = {none, none, none, none};
    const auto at = [&](std::int64_t k) { return Ints::load(reinterpret_cast<const std::int32_t*>(bytes + k)); };
    std::int64_t k = 0;
    for (; k + 4 * line <= count; k += 4 * line)
        for (int i = 0; i < 4; ++i) sums[i] = sums[i] + at(k + i * line);
    for (; k + line <= count; k += line) sums[0] = sums[0] + at(k);
    std::int32_t numbers[16], total = 0;
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).store(numbers);
    for (const std::int32_t number : numbers) total ^= number;
    return total;
}

}  // namespace

namespace SPARSERNN_INSTRUCTIONS {

ReadThrough reading_kernel() { return &read_through; }

}  // namespace SPARSERNN_INSTRUCTIONS
}  // namespace sparsernn
