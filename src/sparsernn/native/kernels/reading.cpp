#include "../reading.h"

#include "sixteen.h"

namespace sparsernn {
namespace {

std::int32_t read_through(const std::uint8_t* bytes, std::int64_t count) {
    constexpr std::int64_t line = 64;
    Ints seen[4] = {Ints::all(0), Ints::all(0), Ints::all(0), Ints::all(0)};
    const auto see = [&](int i, std::int64_t k) {
        const Ints numbers = Ints::load(reinterpret_cast<const std::int32_t*>(bytes + k));
        seen[i] = by_parts([](auto x, auto y) { return x ^ y; }, seen[i], numbers);
    };
    std::int64_t k = 0;
    for (; k + 4 * line <= count; k += 4 * line)
        for (int i = 0; i < 4; ++i) see(i, k + i * line);
    for (; k + line <= count; k += line) see(0, k);
    std::int32_t numbers[16], total = 0;
    for (const Ints& one : seen) {
        one.store(numbers);
        for (const std::int32_t number : numbers) total ^= number;
    }
    return total;
}

}  // namespace

namespace SPARSERNN_INSTRUCTIONS {

ReadThrough reading_kernel() { return &read_through; }

}  // namespace SPARSERNN_INSTRUCTIONS
}  // namespace sparsernn
