#pragma once

#include <array>

#include "floats.h"

namespace sparsernn {
namespace {

// Goes through runs whose entries choose columns of a place. Tables hold the numbers of that place, of up to four
// vectors at once, and serve all its runs; work(tables, run, first vector, where its sums are).
template <typename Table, int many, typename Number, typename Work>
[[gnu::always_inline]] inline void each_place(const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                                              const Panel<Number>& panel, std::int64_t width, float* sums,
                                              std::int64_t row, Work work) {
    constexpr int some = many < 4 ? many : 4;
    for (std::int64_t run = begin, after = begin; run < end; run = after) {
        const std::int64_t base = weight.base(run), place = base + weight.places[run];
        while (after < end && weight.places[after] == weight.places[run] && weight.base(after) == base) ++after;
        for (int first = 0; first < many; first += some) {
            std::array<Table, some> tables;
#pragma GCC unroll 4
            for (int n = 0; n < some; ++n)
                tables[n] = Table(panel.numbers + (first + n) * panel.vector + place * width);
            for (std::int64_t r = run; r < after; ++r)
                work(tables, r, first, sums + weight.owners[r] * lanes + first * row);
        }
    }
}

}  // namespace
}  // namespace sparsernn
