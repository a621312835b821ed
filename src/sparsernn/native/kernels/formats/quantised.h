#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <cstring>

#include "floats.h"

namespace sparsernn {
namespace {

// One vector as uint8 numbers 128 + x / scale, where the scale is the largest number's size / 127.
[[gnu::noinline]] inline void quantise(const float* x, std::int64_t columns, float size, std::uint8_t* to) {
    const float inverse = size > 0.f ? 127.f / size : 0.f;
    constexpr float shift = Number<float>::rounding + 128.f;  // leaves the rounded number in the lowest byte
    std::int64_t j = 0;
    for (; j + lanes <= columns; j += lanes) {
        const Floats shifted = multiply_add(Floats::load(x + j), Floats::all(inverse), Floats::all(shift));
#if defined(__AVX512F__)
        const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_castps_si512(shifted.part[0]));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + j), bytes);
#elif defined(__AVX2__)
        const __m256i lowest = _mm256_set1_epi32(0xff);
        const __m256i first = _mm256_and_si256(_mm256_castps_si256(shifted.part[0]), lowest);
        const __m256i second = _mm256_and_si256(_mm256_castps_si256(shifted.part[1]), lowest);
        const __m256i pairs = _mm256_permute4x64_epi64(_mm256_packus_epi32(first, second), 0b11011000);
        const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + j), bytes);
#else
        std::int32_t bits[lanes];
        std::memcpy(bits, &shifted, sizeof bits);
        for (int i = 0; i < lanes; ++i) to[j + i] = static_cast<std::uint8_t>(bits[i]);
#endif
    }
    for (; j < columns; ++j) to[j] = static_cast<std::uint8_t>(bits_of<std::int32_t>(x[j] * inverse + shift));
}

// As FloatVectors, but of uint8, four columns together.
template <bool alternating>
struct QuantisedVectors {
    using Number = std::uint8_t;

    static unsigned prepare(const Vectors& vectors, std::int64_t many, std::int64_t columns, std::uint8_t* at) {
        const std::int64_t vector = rounded_up(columns, margin);
        float* const scales = reinterpret_cast<float*>(at);
        std::uint8_t* const numbers = at + side_by_side * sizeof(float);
        std::uint8_t* const apart = alternating && many > 1 ? numbers + side_by_side * vector : numbers;
        unsigned damaged = 0;
        const auto put = [&](std::int64_t n, const float* x, std::int32_t bits) {
            const float size = bits_of<float>(bits);
            std::uint8_t* const to = apart + n * vector;
            scales[n] = size / 127.f;
            quantise(x, columns, size, to);
            if (alternating && many > 1)
                for_tile(many, [&](auto tile) {
                    for (std::int64_t j = 0; j < columns; j += 4) std::memcpy(numbers + j * tile + 4 * n, to + j, 4);
                });
        };
        vectors.each([&](std::int64_t n, const float* x) {
            std::vector<float> finite;
            std::int32_t bits;
            while ((bits = largest_size(x, columns)) >= bits_of_infinity) {
                damaged |= 1u << n;
                finite = finite_part(x, columns);
                x = finite.data();
            }
            put(n, x, bits);
        });
        return damaged;
    }

    static Panel<std::uint8_t> panel(const std::uint8_t* at, std::int64_t columns) {
        return {at + side_by_side * sizeof(float), rounded_up(columns, margin), reinterpret_cast<const float*>(at)};
    }
};

// Four uint8 by four int8 of each of sixteen rows, their products' sums added. In whole numbers, so that the
// order in which an instruction set adds makes no difference.
#if defined(__AVX512VNNI__)
struct FourBySixteen {
    __m512i sums;
    explicit FourBySixteen(const std::int32_t* from) : sums(_mm512_loadu_si512(from)) {}
    FourBySixteen() : sums(_mm512_setzero_si512()) {}
    inline void add(__m512i read, const std::uint8_t* values) {
        sums = _mm512_dpbusd_epi32(sums, read, _mm512_loadu_si512(values));
    }
    inline void add_same(const std::uint8_t* read, const std::uint8_t* values) {
        std::int32_t four;
        std::memcpy(&four, read, 4);
        add(_mm512_set1_epi32(four), values);
    }
    inline void add(const FourBySixteen& other) { sums = _mm512_add_epi32(sums, other.sums); }
    inline Ints total() const {
        Ints made;
        made.part[0] = bits_of<Bits>(sums);
        return made;
    }
};
#elif defined(__AVX2__)
struct FourBySixteen {
    __m256i sums[4];  // two for each row
    FourBySixteen() : sums{} {}
    explicit FourBySixteen(const std::int32_t* from) {
        for (int i = 0; i < 4; ++i)
            sums[i] = _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 4 * i)));
    }
    static inline __m256i values_of(const std::uint8_t* values, int i) {
        return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values + 16 * i)));
    }
    inline void add_same(const std::uint8_t* read, const std::uint8_t* values) {
        std::int32_t four;
        std::memcpy(&four, read, 4);
        const __m256i numbers = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
        for (int i = 0; i < 4; ++i) sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(numbers, values_of(values, i)));
    }
    inline void add_own(const std::uint8_t* read, const std::uint8_t* values) {
        for (int i = 0; i < 4; ++i) {
            const __m256i numbers =
                _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(read + 16 * i)));
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(numbers, values_of(values, i)));
        }
    }
    inline void add(const FourBySixteen& other) {
        for (int i = 0; i < 4; ++i) sums[i] = _mm256_add_epi32(sums[i], other.sums[i]);
    }
    inline Ints total() const {
        Ints made;
        for (int i = 0; i < 2; ++i) {
            const __m256i halves = _mm256_hadd_epi32(sums[2 * i], sums[2 * i + 1]);
            made.part[i] = bits_of<Bits>(_mm256_permute4x64_epi64(halves, 0b11011000));
        }
        return made;
    }
};
#else
struct FourBySixteen {
    std::int32_t sums[16];
    FourBySixteen() : sums{} {}
    explicit FourBySixteen(const std::int32_t* from) { std::memcpy(sums, from, sizeof sums); }
    inline void add_same(const std::uint8_t* read, const std::uint8_t* values) { add(read, values, 0); }
    inline void add_own(const std::uint8_t* read, const std::uint8_t* values) { add(read, values, 4); }
    inline void add(const std::uint8_t* read, const std::uint8_t* values, int stride) {
        const std::int8_t* const numbers = reinterpret_cast<const std::int8_t*>(values);
        for (int row = 0; row < 16; ++row) {
            std::int32_t sum = sums[row];
            for (int j = 0; j < 4; ++j) sum += read[row * stride + j] * numbers[4 * row + j];
            sums[row] = sum;
        }
    }
    inline void add(const FourBySixteen& other) {
        for (int row = 0; row < 16; ++row) sums[row] += other.sums[row];
    }
    inline Ints total() const { return Ints::load(sums); }
};
#endif

// Adds what the whole sums of a run stand for to the numbers of its slice.
inline void add(const PackedWeight& weight, std::int64_t run, float scale, const FourBySixteen& whole, float* to) {
    const Floats scales = Floats::load(weight.scales + weight.owners[run] * lanes) * Floats::all(scale);
    multiply_add(to_floats(whole.total()), scales, Floats::load(to)).store(to);
}

}  // namespace
}  // namespace sparsernn
