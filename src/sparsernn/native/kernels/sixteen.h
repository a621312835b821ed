#pragma once

#include <cstdint>

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include "elementary.h"

// Sixteen numbers in as many registers as they need. Compiled once per instruction set: everything is local to the
// file that includes it.

namespace sparsernn {
namespace {

#if defined(__AVX512F__)
constexpr int register_bytes = 64;
#elif defined(__AVX__)
constexpr int register_bytes = 32;
#else
constexpr int register_bytes = 16;
#endif

template <typename T>
struct Sixteen {
    static constexpr int parts = 16 * static_cast<int>(sizeof(T)) / register_bytes;
    static constexpr int width = register_bytes / static_cast<int>(sizeof(T));
    typedef T Part __attribute__((vector_size(register_bytes)));
    Part part[parts];

    static inline Sixteen load(const T* from) {
        Sixteen numbers;
#pragma GCC unroll 4
        for (int i = 0; i < parts; ++i) __builtin_memcpy(&numbers.part[i], from + i * width, register_bytes);
        return numbers;
    }
    static inline Sixteen all(T number) {
        Sixteen numbers;
#pragma GCC unroll 4
        for (int i = 0; i < parts; ++i) numbers.part[i] = number - Part{};  // not a sum: -0 + 0 is 0
        return numbers;
    }
    inline void store(T* to) const {
#pragma GCC unroll 4
        for (int i = 0; i < parts; ++i) __builtin_memcpy(to + i * width, &part[i], register_bytes);
    }
};

using Floats = Sixteen<float>;
using Ints = Sixteen<std::int32_t>;

// A function of every register of some numbers.
template <typename T, typename Function, typename... Others>
inline auto by_parts(Function function, const Sixteen<T>& first, const Others&... others) {
    Sixteen<T> made;
#pragma GCC unroll 4
    for (int i = 0; i < Sixteen<T>::parts; ++i) made.part[i] = function(first.part[i], others.part[i]...);
    return made;
}

template <typename T>
inline Sixteen<T> operator+(const Sixteen<T>& a, const Sixteen<T>& b) {
    return by_parts([](auto x, auto y) { return x + y; }, a, b);
}
template <typename T>
inline Sixteen<T> operator-(const Sixteen<T>& a, const Sixteen<T>& b) {
    return by_parts([](auto x, auto y) { return x - y; }, a, b);
}
template <typename T>
inline Sixteen<T> operator*(const Sixteen<T>& a, const Sixteen<T>& b) {
    return by_parts([](auto x, auto y) { return x * y; }, a, b);
}

// a b + c
inline Floats multiply_add(const Floats& a, const Floats& b, const Floats& c) {
    return by_parts([](auto x, auto y, auto z) { return x * y + z; }, a, b, c);
}

inline Floats to_floats(const Ints& numbers) {
    Floats made;
#pragma GCC unroll 4
    for (int i = 0; i < Floats::parts; ++i) made.part[i] = __builtin_convertvector(numbers.part[i], Floats::Part);
    return made;
}

using Bits = Ints::Part;

inline Floats::Part absolute(Floats::Part x) {
    return bits_of<Floats::Part>(bits_of<Bits>(x) & 0x7fffffff);
}

// The larger and the smaller of two; `b` where either is not a number.
inline Floats::Part larger(Floats::Part a, Floats::Part b) {
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX__)
    return _mm256_max_ps(a, b);
#else
    return a > b ? a : b;
#endif
}

inline Floats::Part smaller(Floats::Part a, Floats::Part b) {
#if defined(__AVX512F__)
    return _mm512_min_ps(a, b);
#elif defined(__AVX__)
    return _mm256_min_ps(a, b);
#else
    return a < b ? a : b;
#endif
}

// x brought between two bounds; what is not a number stays so.
inline Floats::Part between(Floats::Part x, float low, float high) {
    return smaller(high - Floats::Part{}, larger(low - Floats::Part{}, x));
}

// exp(x) = 2^n exp(r) with |r| <= ln(2) / 2, by the polynomial of r whose largest relative error, 8e-8, is least.
// Infinite from 2^128 on, not less than the smallest normal number.
inline Floats::Part exponential(Floats::Part x) {
    using N = Number<float>;
    const Floats::Part near = between(x, -N::largest, 89.f);
    const Floats::Part shifted = near * 1.4426950408889634f + N::rounding, n = shifted - N::rounding;
    const Floats::Part r = (near - n * N::ln2_high) - n * N::ln2_low;
    Floats::Part series = r * 8.297619466e-3f + 4.191562925e-2f;
    series = series * r + 1.666757654e-1f;
    series = series * r + 4.999889266e-1f;
    series = series * r + 9.999996911e-1f;
    series = series * r + 1.000000072f;
    return series * bits_of<Floats::Part>((bits_of<Bits>(shifted) << N::fraction_bits) + N::one_bits);
}

// tanh(x) = above / below, a rational function within 3e-7 of it everywhere (that of Eigen, MPL 2.0).
struct Fraction {
    Floats::Part above, below;
};

inline Fraction tanh_fraction(Floats::Part x) {
    const Floats::Part near = between(x, -7.90531110763549805f, 7.90531110763549805f), square = near * near;
    Floats::Part above = square * -2.76076847742355e-16f + 2.00018790482477e-13f;
    above = above * square - 8.60467152213735e-11f;
    above = above * square + 5.12229709037114e-08f;
    above = above * square + 1.48572235717979e-05f;
    above = above * square + 6.37261928875436e-04f;
    above = above * square + 4.89352455891786e-03f;
    Floats::Part below = square * 1.19825839466702e-06f + 1.18534705686654e-04f;
    below = below * square + 2.26843463243900e-03f;
    below = below * square + 4.89352518554385e-03f;
    return {near * above, below};
}

inline Floats sigmoid(const Floats& numbers) {
    return by_parts([](Floats::Part x) { return 1.f / (1.f + exponential(-x)); }, numbers);
}

inline Floats hyperbolic_tangent(const Floats& numbers) {
    return by_parts(
        [](Floats::Part x) {
            const Fraction tanh = tanh_fraction(x);
            return tanh.above / tanh.below;
        },
        numbers);
}

// sigmoid(gate) tanh(x) with one division.
inline Floats gated_tangent(const Floats& gates, const Floats& numbers) {
    return by_parts(
        [](Floats::Part gate, Floats::Part x) {
            const Fraction tanh = tanh_fraction(x);
            return tanh.above / (tanh.below * (1.f + exponential(-gate)));
        },
        gates, numbers);
}

inline Floats rectified(const Floats& numbers) {
    return by_parts([](Floats::Part x) { return x < Floats::Part{} ? Floats::Part{} : x; }, numbers);
}

inline std::int32_t largest(const Ints& numbers) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_epi32(bits_of<__m512i>(numbers.part[0]));
#else
    std::int32_t values[16];
    numbers.store(values);
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) values[i] = values[i] > values[i + half] ? values[i] : values[i + half];
    return values[0];
#endif
}

}  // namespace
}  // namespace sparsernn
