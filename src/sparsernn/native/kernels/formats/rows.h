#pragma once

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "floats.h"

namespace sparsernn {
namespace {

// float32, an entry: a number of each of sixteen rows, and which of a place's 32 columns it reads. Two registers hold
// the place, and a permutation takes the place of a gather.
struct RowsOfNumbers : FloatVectors<false> {
    static constexpr Format format = Format::rows;
    static constexpr std::int64_t width = format_sizes[static_cast<int>(format)].place_width;

    // The numbers of a place.
    struct Table {
#if defined(__AVX512F__)
        __m512 low, high;
        explicit Table(const float* numbers) : low(_mm512_loadu_ps(numbers)), high(_mm512_loadu_ps(numbers + lanes)) {}
        inline Floats at(const std::uint8_t* indices) const {
            const __m512i index = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(indices)));
            Floats made;
            made.part[0] = _mm512_permutex2var_ps(low, index, high);
            return made;
        }
#else
        const float* numbers;
        explicit Table(const float* from) : numbers(from) {}
        inline Floats at(const std::uint8_t* indices) const {
            float made[lanes];
            for (int i = 0; i < lanes; ++i) made[i] = numbers[indices[i]];
            return Floats::load(made);
        }
#endif
    };

    // As Blocks::accumulate.
    template <int many>
    [[gnu::noinline]] static void accumulate(const PackedWeight& weight, std::int64_t begin, std::int64_t end, const Panel<float>& panel,
                           float* sums, std::int64_t row) {
        Table table(panel.numbers);
        std::int64_t place = 0;
        for (std::int64_t run = begin; run < end; ++run) {
            float* const to = sums + weight.owners[run] * lanes;
            for (int n = 0; n < many; ++n) {
                if (many > 1 || weight.places[run] != place) {
                    place = weight.places[run];
                    table = Table(panel.numbers + n * panel.vector + place * width);
                }
                one(weight, run, table, to + n * row);
            }
        }
    }

private:
    static inline void one(const PackedWeight& weight, std::int64_t run, const Table& table, float* to) {
        const float* const values = reinterpret_cast<const float*>(weight.values);
        const std::int64_t last = weight.starts[run + 1];
        Floats sum = Floats::load(to), other{};
        std::int64_t k = weight.starts[run];
        for (; k + 2 <= last; k += 2) {
            sum = multiply_add(Floats::load(values + k * lanes), table.at(weight.indices + k * lanes), sum);
            other = multiply_add(Floats::load(values + (k + 1) * lanes), table.at(weight.indices + (k + 1) * lanes), other);
        }
        if (k < last) sum = multiply_add(Floats::load(values + k * lanes), table.at(weight.indices + k * lanes), sum);
        (sum + other).store(to);
    }
};

}  // namespace
}  // namespace sparsernn
