#pragma once

#include "places.h"
#include "quantised.h"

namespace sparsernn {
namespace {

// int8, an entry: four numbers of each of sixteen rows, and which of a place's 256 columns they read. Four registers
// hold the place, and permutations of bytes take the place of a gather.
struct Int8Lookup : QuantisedVectors<false> {
    static constexpr std::int64_t width = format_sizes[static_cast<int>(Format::int8_lookup)].place_width, bytes = 64;

    // The numbers of a place.
    struct Table {
#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
        __m512i quarter[4];
        Table() = default;
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
        const std::uint8_t* numbers = nullptr;
        Table() = default;
        explicit Table(const std::uint8_t* from) : numbers(from) {}
        inline void add(const std::uint8_t* indices, const std::uint8_t* values, FourBySixteen& whole) const {
            whole.add_own(look_up(indices).numbers, values);
        }

    private:
        struct LookedUp {
            alignas(bytes) std::uint8_t numbers[bytes];
        };
#if defined(__AVX2__)
        // In registers first, so that what is read back was written in one piece.
        [[gnu::noinline]] LookedUp look_up(const std::uint8_t* indices) const {
            typedef std::uint8_t Part __attribute__((vector_size(16)));
            LookedUp made;
            for (int part = 0; part < bytes; part += 16) {
                Part read{};
#pragma GCC unroll 16
                for (int i = 0; i < 16; ++i) read[i] = numbers[indices[part + i]];
                std::memcpy(made.numbers + part, &read, sizeof read);
            }
            return made;
        }
#else
        inline LookedUp look_up(const std::uint8_t* indices) const {
            LookedUp made;
            for (int i = 0; i < bytes; ++i) made.numbers[i] = numbers[indices[i]];
            return made;
        }
#endif
#endif
    };

    // As Blocks::accumulate.
    template <int many>
    [[gnu::always_inline]] static inline void accumulate(const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                                             const Panel<std::uint8_t>& panel, float* sums, std::int64_t row) {
        const auto work = [&](const auto& tables, std::int64_t run, int first, float* to) {
            add_run(weight, run, tables, panel.scales + first, to, row);
        };
        each_place<Table, many>(weight, begin, end, panel, width, sums, row, work);
    }

private:
    template <std::size_t some>
    [[gnu::always_inline]] static inline void add_run(const PackedWeight& weight, std::int64_t run,
                                                      const std::array<Table, some>& tables, const float* scales,
                                                      float* to, std::int64_t row) {
        constexpr int ahead = some > 1 ? 1 : 2;  // entries whose sums do not wait for each other
        const std::uint8_t* values = weight.values + weight.starts[run] * bytes;
        const std::uint8_t* indices = weight.indices + weight.starts[run] * bytes;
        FourBySixteen whole[ahead][some] = {};
        for (std::size_t n = 0; n < some; ++n) whole[0][n] = FourBySixteen(weight.shifts + run * lanes);
        std::int64_t count = weight.starts[run + 1] - weight.starts[run];
        for (; count >= ahead; count -= ahead, values += ahead * bytes, indices += ahead * bytes)
#pragma GCC unroll 2
            for (int i = 0; i < ahead; ++i) {
                __builtin_prefetch(values + (i + 16) * bytes);
                __builtin_prefetch(indices + (i + 16) * bytes);
#pragma GCC unroll 4
                for (std::size_t n = 0; n < some; ++n)
                    tables[n].add(indices + i * bytes, values + i * bytes, whole[i][n]);
            }
        if (ahead > 1 && count > 0) tables[0].add(indices, values, whole[0][0]);
        for (std::size_t n = 0; n < some; ++n) {
            for (int i = 1; i < ahead; ++i) whole[0][n].add(whole[i][n]);
            add(weight, run, scales[n], whole[0][n], to + n * row);
        }
    }
};

}  // namespace
}  // namespace sparsernn
