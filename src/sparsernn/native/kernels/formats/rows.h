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

    template <int many>
    static inline void multiply(const PackedWeight& weight, std::int64_t slice, const Panel<float>& panel, Floats* sums) {
        const std::int64_t first = weight.starts[slice], last = weight.starts[slice + 1];
        const float* const values = reinterpret_cast<const float*>(weight.values);
        for (int n = 0; n < many; ++n) {
            const float* const read = panel.numbers + n * panel.vector;
            Floats sum = sums[n], other{};
            std::int64_t k = first;
            for (; k + 2 <= last; k += 2) {
                sum = multiply_add(Floats::load(values + k * lanes), look_up(weight, k, read), sum);
                other = multiply_add(Floats::load(values + (k + 1) * lanes), look_up(weight, k + 1, read), other);
            }
            if (k < last) sum = multiply_add(Floats::load(values + k * lanes), look_up(weight, k, read), sum);
            sums[n] = sum + other;
        }
    }

private:
    static inline Floats look_up(const PackedWeight& weight, std::int64_t k, const float* read) {
        const float* const table = read + weight.places[k] * width;
        const std::uint8_t* const indices = weight.indices + k * lanes;
        Floats numbers;
#if defined(__AVX512F__)
        const __m512i index = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(indices)));
        numbers.part[0] = _mm512_permutex2var_ps(_mm512_loadu_ps(table), index, _mm512_loadu_ps(table + lanes));
#else
        float looked_up[lanes];
        for (int i = 0; i < lanes; ++i) looked_up[i] = table[indices[i]];
        numbers = Floats::load(looked_up);
#endif
        return numbers;
    }
};

}  // namespace
}  // namespace sparsernn
