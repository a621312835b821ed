#pragma once

#include "quantised.h"

namespace sparsernn {
namespace {

// int8, an entry: four numbers of each of sixteen rows, and which of a place's 256 columns they read. Four registers
// hold the place, and permutations of bytes take the place of a gather.
struct Int8Lookup : QuantisedVectors<false> {
    static constexpr Format format = Format::int8_lookup;
    static constexpr std::int64_t width = format_sizes[static_cast<int>(format)].place_width, bytes = 64;

    // The numbers of a place.
    struct Table {
#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
        __m512i quarter[4];
        explicit Table(const std::uint8_t* numbers) {
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) quarter[i] = _mm512_loadu_si512(numbers + 64 * i);
        }
        inline void add(const std::uint8_t* indices, const std::uint8_t* values, FourBySixteen& whole) const {
            const __m512i index = _mm512_loadu_si512(indices);
            const __m512i low = _mm512_permutex2var_epi8(quarter[0], index, quarter[1]);
            const __m512i high = _mm512_permutex2var_epi8(quarter[2], index, quarter[3]);
            whole.add(_mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high), values);
        }
#else
        const std::uint8_t* numbers;
        explicit Table(const std::uint8_t* from) : numbers(from) {}
        inline void add(const std::uint8_t* indices, const std::uint8_t* values, FourBySixteen& whole) const {
            std::uint8_t looked_up[bytes];
            for (int i = 0; i < bytes; ++i) looked_up[i] = numbers[indices[i]];
            whole.add_own(looked_up, values);
        }
#endif
    };

    // As Blocks::accumulate.
    template <int many>
    [[gnu::noinline]] static void accumulate(const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                           const Panel<std::uint8_t>& panel, float* sums, std::int64_t row) {
        Table table(panel.numbers);
        std::int64_t place = 0;
        for (std::int64_t run = begin; run < end; ++run) {
            float* const to = sums + weight.owners[run] * lanes;
            for (int n = 0; n < many; ++n) {
                if (many > 1 || weight.places[run] != place) {
                    place = weight.places[run];
                    table = Table(panel.numbers + n * panel.vector + place * width);
                }
                FourBySixteen whole(weight.shifts + run * lanes);
                for (std::int64_t k = weight.starts[run]; k < weight.starts[run + 1]; ++k)
                    table.add(weight.indices + k * bytes, weight.values + k * bytes, whole);
                add(weight, run, panel.scales[n], whole, to + n * row);
            }
        }
    }
};

}  // namespace
}  // namespace sparsernn
