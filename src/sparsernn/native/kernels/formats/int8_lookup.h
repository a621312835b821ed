#pragma once

#include "quantised.h"

namespace sparsernn {
namespace {

// int8, an entry: four numbers of each of sixteen rows, and which of a place's 256 columns they read. Four registers
// hold the place, and permutations of bytes take the place of a gather.
struct Int8Lookup : QuantisedVectors<false> {
    static constexpr Format format = Format::int8_lookup;
    static constexpr std::int64_t width = format_sizes[static_cast<int>(format)].place_width, bytes = 64;

    template <int many>
    static inline void multiply(const PackedWeight& weight, std::int64_t slice, const Panel<std::uint8_t>& panel,
                                Floats* sums) {
        const std::int64_t first = weight.starts[slice], last = weight.starts[slice + 1];
        if (first == last) return;
        for (int n = 0; n < many; ++n) {
            const std::uint8_t* const read = panel.numbers + n * panel.vector;
            FourBySixteen whole(weight.shifts + slice * lanes);
            for (std::int64_t k = first; k < last; ++k)
                add_entry(read + weight.places[k] * width, weight.indices + k * bytes, weight.values + k * bytes, whole);
            sums[n] = add(weight, slice, panel.scales[n], whole.total(), sums[n]);
        }
    }

private:
    using QuantisedVectors::add;

    static inline void add_entry(const std::uint8_t* table, const std::uint8_t* indices, const std::uint8_t* values,
                                 FourBySixteen& whole) {
#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
        const __m512i index = _mm512_loadu_si512(indices);
        const __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512(table), index, _mm512_loadu_si512(table + 64));
        const __m512i high =
            _mm512_permutex2var_epi8(_mm512_loadu_si512(table + 128), index, _mm512_loadu_si512(table + 192));
        whole.add(_mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high), values);
#else
        std::uint8_t looked_up[bytes];
        for (int i = 0; i < bytes; ++i) looked_up[i] = table[indices[i]];
        whole.add_own(looked_up, values);
#endif
    }
};

}  // namespace
}  // namespace sparsernn
