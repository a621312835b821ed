#pragma once

#include "floats.h"

namespace sparsernn {
namespace {

// float32, an entry: sixteen rows of one column.
struct Blocks : FloatVectors<true> {
    static constexpr Format format = Format::blocks;

    template <int many>
    static inline void multiply(const PackedWeight& weight, std::int64_t slice, const Panel<float>& panel, Floats* sums) {
        const std::int64_t first = weight.starts[slice], last = weight.starts[slice + 1];
        const float* const values = reinterpret_cast<const float*>(weight.values);
        if constexpr (many == 1) {
            Floats others[3] = {};
            std::int64_t k = first;
            for (; k + 4 <= last; k += 4) {
                sums[0] = add(weight, values, k, panel, sums[0]);
                others[0] = add(weight, values, k + 1, panel, others[0]);
                others[1] = add(weight, values, k + 2, panel, others[1]);
                others[2] = add(weight, values, k + 3, panel, others[2]);
            }
            for (; k < last; ++k) sums[0] = add(weight, values, k, panel, sums[0]);
            sums[0] = (sums[0] + others[0]) + (others[1] + others[2]);
        } else {
            constexpr int some = many < in_registers ? many : in_registers;
            for (int begin = 0; begin < many; begin += some) {
                Floats parts[some];
#pragma GCC unroll 16
                for (int n = 0; n < some; ++n) parts[n] = sums[begin + n];
                for (std::int64_t k = first; k < last; ++k) {
                    const Floats numbers = Floats::load(values + k * lanes);
                    const float* const read = panel.numbers + weight.places[k] * many + begin;
#pragma GCC unroll 16
                    for (int n = 0; n < some; ++n) parts[n] = multiply_add(numbers, Floats::all(read[n]), parts[n]);
                }
#pragma GCC unroll 16
                for (int n = 0; n < some; ++n) sums[begin + n] = parts[n];
            }
        }
    }

private:
    static inline Floats add(const PackedWeight& weight, const float* values, std::int64_t k, const Panel<float>& panel,
                             const Floats& sum) {
        return multiply_add(Floats::load(values + k * lanes), Floats::all(panel.numbers[weight.places[k]]), sum);
    }
};

}  // namespace
}  // namespace sparsernn
