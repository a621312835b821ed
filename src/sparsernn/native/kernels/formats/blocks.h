#pragma once

#include "floats.h"

namespace sparsernn {
namespace {

// float32, an entry: sixteen rows of one column.
struct Blocks : FloatVectors<true> {
    // Adds what runs make of `many` vectors; sums: [vector, slice 16], a vector's `row` numbers from the next.
    template <int many>
    [[gnu::always_inline]] static inline void accumulate(const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                                             const Panel<float>& panel, float* sums, std::int64_t row) {
        constexpr int some = std::min(many, in_registers);
        each_slice<float>(weight, begin, end, sums, [&](std::int64_t run, std::int64_t count, auto& entries, float* to) {
            const float* const numbers = panel.numbers + weight.base(run) * many;
            if constexpr (many == 1) {
                one(count, entries, numbers, to);
            } else {
                for (int n = 0; n < many; n += some)
                    several<some>(count, entries, numbers + n, many, to + n * row, row);
                entries.pass(count);
            }
        });
    }

private:
    [[gnu::always_inline]] static inline void one(std::int64_t count, Entries<float>& entries, const float* numbers,
                                                  float* to) {
        Floats sums[4] = {Floats::load(to)};
        for (std::int64_t fours = count / 4; fours > 0; --fours, entries.pass(4))
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) {
                entries.fetch(i);
                const Floats read = Floats::all(numbers[entries.places[i]]);
                sums[i] = multiply_add(Floats::load(entries.values + i * lanes), read, sums[i]);
            }
        for (std::int64_t rest = count % 4; rest > 0; --rest, entries.pass(1))
            sums[0] = multiply_add(Floats::load(entries.values), Floats::all(numbers[*entries.places]), sums[0]);
        ((sums[0] + sums[1]) + (sums[2] + sums[3])).store(to);
    }

    template <int some>
    [[gnu::always_inline]] static inline void several(std::int64_t count, Entries<float> entries, const float* numbers,
                                                      int many, float* to, std::int64_t row) {
        Floats sums[some];
#pragma GCC unroll 16
        for (int n = 0; n < some; ++n) sums[n] = Floats::load(to + n * row);
        for (; count > 0; --count, entries.pass(1)) {
            const Floats value = Floats::load(entries.values);
            const float* const read = numbers + *entries.places * many;
#pragma GCC unroll 16
            for (int n = 0; n < some; ++n) sums[n] = multiply_add(value, Floats::all(read[n]), sums[n]);
        }
#pragma GCC unroll 16
        for (int n = 0; n < some; ++n) sums[n].store(to + n * row);
    }
};

}  // namespace
}  // namespace sparsernn
