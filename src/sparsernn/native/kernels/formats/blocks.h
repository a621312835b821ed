#pragma once

#include "floats.h"

namespace sparsernn {
namespace {

// float32, an entry: sixteen rows of one column.
struct Blocks : FloatVectors<true> {
    static constexpr Format format = Format::blocks;

    // Adds what runs make of `many` vectors; sums: [vector, slice 16], a vector's `row` numbers from the next.
    template <int many>
    [[gnu::noinline]] static void accumulate(const PackedWeight& weight, std::int64_t begin, std::int64_t end, const Panel<float>& panel,
                           float* sums, std::int64_t row) {
        const float* const values = reinterpret_cast<const float*>(weight.values);
        for (std::int64_t run = begin; run < end; ++run) {
            const std::int64_t first = weight.starts[run], last = weight.starts[run + 1];
            float* const to = sums + weight.owners[run] * lanes;
            if constexpr (many == 1)
                one(weight, values, first, last, panel, to);
            else
                for (int n = 0; n < many; n += in_registers) several<std::min(many, in_registers)>(weight, values, first, last, panel.numbers + n, many, to + n * row, row);
        }
    }

private:
    [[gnu::always_inline]] static inline void one(const PackedWeight& weight, const float* values, std::int64_t first, std::int64_t last,
                           const Panel<float>& panel, float* to) {
        Floats sums[4] = {Floats::load(to)};
        std::int64_t k = first;
        for (; k + 4 <= last; k += 4)
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) {
                __builtin_prefetch(values + (k + i + 32) * lanes);
                sums[i] = add(weight, values, k + i, panel, sums[i]);
            }
        for (; k < last; ++k) sums[0] = add(weight, values, k, panel, sums[0]);
        ((sums[0] + sums[1]) + (sums[2] + sums[3])).store(to);
    }

    template <int some>
    [[gnu::always_inline]] static inline void several(const PackedWeight& weight, const float* values, std::int64_t first, std::int64_t last,
                               const float* numbers, int many, float* to, std::int64_t row) {
        Floats sums[some];
#pragma GCC unroll 16
        for (int n = 0; n < some; ++n) sums[n] = Floats::load(to + n * row);
        for (std::int64_t k = first; k < last; ++k) {
            const Floats value = Floats::load(values + k * lanes);
            const float* const read = numbers + weight.places[k] * many;
#pragma GCC unroll 16
            for (int n = 0; n < some; ++n) sums[n] = multiply_add(value, Floats::all(read[n]), sums[n]);
        }
#pragma GCC unroll 16
        for (int n = 0; n < some; ++n) sums[n].store(to + n * row);
    }

    [[gnu::always_inline]] static inline Floats add(const PackedWeight& weight, const float* values, std::int64_t k, const Panel<float>& panel,
                             const Floats& sum) {
        return multiply_add(Floats::load(values + k * lanes), Floats::all(panel.numbers[weight.places[k]]), sum);
    }
};

}  // namespace
}  // namespace sparsernn
