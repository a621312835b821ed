#pragma once

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "places.h"

namespace sparsernn {
namespace {

// float32, an entry: a number of each of sixteen rows, and which of a place's 64 columns it reads. Four registers hold
// the place, and permutations stand in for a gather.
struct RowsOfNumbers : FloatVectors<false> {
    static constexpr std::int64_t width = format_sizes[static_cast<int>(Format::rows)].place_width;

    // The numbers of a place.
    struct Table {
#if defined(__AVX512F__)
        __m512 quarter[4];
        Table() = default;
        explicit Table(const float* numbers) {
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) quarter[i] = _mm512_loadu_ps(numbers + lanes * i);
        }
        struct Index {
            __m512i columns;
            __mmask16 upper;
        };
        static inline Index index(const std::uint8_t* indices) {
            const __m512i columns = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(indices)));
            return {columns, _mm512_test_epi32_mask(columns, _mm512_set1_epi32(32))};
        }
        inline Floats at(const Index& index) const {
            const __m512 low = _mm512_permutex2var_ps(quarter[0], index.columns, quarter[1]);
            const __m512 high = _mm512_permutex2var_ps(quarter[2], index.columns, quarter[3]);
            Floats made;
            made.part[0] = _mm512_mask_blend_ps(index.upper, low, high);
            return made;
        }
#else
        const float* numbers = nullptr;
        Table() = default;
        explicit Table(const float* from) : numbers(from) {}
        static inline const std::uint8_t* index(const std::uint8_t* indices) { return indices; }
        inline Floats at(const std::uint8_t* indices) const {
            float made[lanes];
            for (int i = 0; i < lanes; ++i) made[i] = numbers[indices[i]];
            return Floats::load(made);
        }
#endif
    };

    // As Blocks::accumulate.
    template <int many>
    [[gnu::always_inline]] static inline void accumulate(const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                                             const Panel<float>& panel, float* sums, std::int64_t row) {
        const auto work = [&](const auto& tables, std::int64_t run, int, float* to) {
            add_run(weight, run, tables, to, row);
        };
        each_place<Table, many>(weight, begin, end, panel, width, sums, row, work);
    }

private:
    template <std::size_t some>
    [[gnu::always_inline]] static inline void add_run(const PackedWeight& weight, std::int64_t run,
                                                      const std::array<Table, some>& tables, float* to,
                                                      std::int64_t row) {
        constexpr int ahead = some > 1 ? 1 : 2;  // entries whose sums do not wait for each other
        const float* values = reinterpret_cast<const float*>(weight.values) + weight.starts[run] * lanes;
        const std::uint8_t* indices = weight.indices + weight.starts[run] * lanes;
        Floats parts[ahead][some] = {};
        for (std::size_t n = 0; n < some; ++n) parts[0][n] = Floats::load(to + n * row);
        std::int64_t count = weight.starts[run + 1] - weight.starts[run];
        for (; count >= ahead; count -= ahead, values += ahead * lanes, indices += ahead * lanes)
#pragma GCC unroll 4
            for (int i = 0; i < ahead; ++i) {
                __builtin_prefetch(values + (i + 32) * lanes);
                if (i == 0) __builtin_prefetch(indices + 32 * lanes);
                add_entry(values + i * lanes, indices + i * lanes, tables, parts[i]);
            }
        for (; count > 0; --count, values += lanes, indices += lanes) add_entry(values, indices, tables, parts[0]);
        for (int i = 1; i < ahead; ++i)
            for (std::size_t n = 0; n < some; ++n) parts[0][n] = parts[0][n] + parts[i][n];
        for (std::size_t n = 0; n < some; ++n) parts[0][n].store(to + n * row);
    }

    template <std::size_t some>
    [[gnu::always_inline]] static inline void add_entry(const float* values, const std::uint8_t* indices,
                                                        const std::array<Table, some>& tables, Floats* sums) {
        const Floats value = Floats::load(values);
        const auto index = Table::index(indices);
#pragma GCC unroll 4
        for (std::size_t n = 0; n < some; ++n) sums[n] = multiply_add(value, tables[n].at(index), sums[n]);
    }
};

}  // namespace
}  // namespace sparsernn
