#pragma once

#include "quantised.h"

namespace sparsernn {
namespace {

// int8, an entry: sixteen rows of four neighbouring columns.
struct Int8Blocks : QuantisedVectors<true> {
    static constexpr Format format = Format::int8_blocks;
    static constexpr std::int64_t width = 4, bytes = 64;

    // As Blocks::accumulate.
    template <int many>
    static void accumulate(const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                           const Panel<std::uint8_t>& panel, float* sums, std::int64_t row) {
        for (std::int64_t run = begin; run < end; ++run) {
            float* const to = sums + weight.owners[run] * lanes;
            if constexpr (many == 1)
                one(weight, run, panel, to);
            else
                for (int n = 0; n < many; n += in_registers)
                    several<std::min(many, in_registers)>(weight, run, panel, n, many, to + n * row, row);
        }
    }

private:
    static inline void one(const PackedWeight& weight, std::int64_t run, const Panel<std::uint8_t>& panel, float* to) {
        const std::int64_t last = weight.starts[run + 1];
        FourBySixteen whole(weight.shifts + run * lanes), other;
        std::int64_t k = weight.starts[run];
        for (; k + 2 <= last; k += 2) {
            whole.add_same(panel.numbers + weight.places[k] * width, weight.values + k * bytes);
            other.add_same(panel.numbers + weight.places[k + 1] * width, weight.values + (k + 1) * bytes);
        }
        if (k < last) whole.add_same(panel.numbers + weight.places[k] * width, weight.values + k * bytes);
        whole.add(other);
        add(weight, run, panel.scales[0], whole, to);
    }

    template <int some>
    static inline void several(const PackedWeight& weight, std::int64_t run, const Panel<std::uint8_t>& panel, int begin,
                               int many, float* to, std::int64_t row) {
        FourBySixteen whole[some];
#pragma GCC unroll 16
        for (int n = 0; n < some; ++n) whole[n] = FourBySixteen(weight.shifts + run * lanes);
        for (std::int64_t k = weight.starts[run]; k < weight.starts[run + 1]; ++k) {
            const std::uint8_t* const read = panel.numbers + (weight.places[k] * many + begin) * width;
#pragma GCC unroll 16
            for (int n = 0; n < some; ++n) whole[n].add_same(read + n * width, weight.values + k * bytes);
        }
#pragma GCC unroll 16
        for (int n = 0; n < some; ++n) add(weight, run, panel.scales[begin + n], whole[n], to + n * row);
    }
};

}  // namespace
}  // namespace sparsernn
