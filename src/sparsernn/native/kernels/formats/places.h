#pragma once

#include <array>

#include "floats.h"

namespace sparsernn {
namespace {

// Goes through runs whose entries choose columns of a place. Tables hold the numbers of that place, of up to four
// vectors at once; work(tables, run, first vector, where its sums are).
template <typename Table, int many, typename Number, typename Work>
[[gnu::always_inline]] inline void each_place(const PackedWeight& weight, std::int64_t begin, std::int64_t end, const Panel<Number>& panel,
                       std::int64_t width, float* sums, std::int64_t row, Work work) {
    constexpr int some = many < 4 ? many : 4;
    std::array<Table, some> tables;
    std::int64_t place = -1;
    for (std::int64_t run = begin; run < end; ++run) {
        float* const to = sums + weight.owners[run] * lanes;
        for (int first = 0; first < many; first += some) {
            if (many > some || weight.places[run] != place) {
                place = weight.places[run];
#pragma GCC unroll 4
                for (int n = 0; n < some; ++n)
                    tables[n] = Table(panel.numbers + (first + n) * panel.vector + place * width);
            }
            work(tables, run, first, to + first * row);
        }
    }
}

}  // namespace
}  // namespace sparsernn
