#pragma once

#include "quantised.h"

namespace sparsernn {
namespace {

// int8, an entry: sixteen rows of four neighbouring columns.
struct Int8Blocks : QuantisedVectors<true> {
    static constexpr Format format = Format::int8_blocks;
    static constexpr std::int64_t width = 4, bytes = 64;

    template <int many>
    static inline void multiply(const PackedWeight& weight, std::int64_t slice, const Panel<std::uint8_t>& panel,
                                Floats* sums) {
        const std::int64_t first = weight.starts[slice], last = weight.starts[slice + 1];
        if (first == last) return;
        const std::int32_t* const shifts = weight.shifts + slice * lanes;
        if constexpr (many == 1) {
            FourBySixteen whole(shifts), other;
            std::int64_t k = first;
            for (; k + 2 <= last; k += 2) {
                whole.add_same(panel.numbers + weight.places[k] * width, weight.values + k * bytes);
                other.add_same(panel.numbers + weight.places[k + 1] * width, weight.values + (k + 1) * bytes);
            }
            if (k < last) whole.add_same(panel.numbers + weight.places[k] * width, weight.values + k * bytes);
            whole.add(other);
            sums[0] = add(weight, slice, panel.scales[0], whole.total(), sums[0]);
        } else {
            constexpr int some = many < in_registers ? many : in_registers;
            for (int begin = 0; begin < many; begin += some) {
                FourBySixteen whole[some];
#pragma GCC unroll 16
                for (int n = 0; n < some; ++n) whole[n] = FourBySixteen(shifts);
                for (std::int64_t k = first; k < last; ++k) {
                    const std::uint8_t* const read = panel.numbers + (weight.places[k] * many + begin) * width;
#pragma GCC unroll 16
                    for (int n = 0; n < some; ++n) whole[n].add_same(read + n * width, weight.values + k * bytes);
                }
#pragma GCC unroll 16
                for (int n = 0; n < some; ++n)
                    sums[begin + n] = add(weight, slice, panel.scales[begin + n], whole[n].total(), sums[begin + n]);
            }
        }
    }
};

}  // namespace
}  // namespace sparsernn
