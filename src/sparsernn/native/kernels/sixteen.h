#pragma once

#include <cstdint>

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
        for (int i = 0; i < parts; ++i) numbers.part[i] = Part{} + number;
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

// exp(x) = 2^n exp(r) as in elementary.h; infinite from 2^128 on, not less than the smallest normal number.
inline Floats::Part exponential(Floats::Part x) {
    using N = Number<float>;
    const Floats::Part none{};
    Floats::Part near = x < none - N::largest ? none - N::largest : x;
    near = near > none + 89.f ? none + 89.f : near;
    const Floats::Part shifted = near * 1.4426950408889634f + N::rounding, n = shifted - N::rounding;
    const Floats::Part r = (near - n * N::ln2_high) - n * N::ln2_low;
    Floats::Part series = none + inverse_factorial<float>(N::exp_terms - 1);
#pragma GCC unroll 8
    for (int term = N::exp_terms - 2; term >= 0; --term) series = series * r + inverse_factorial<float>(term);
    return series * bits_of<Floats::Part>((bits_of<Bits>(shifted) << N::fraction_bits) + N::one_bits);
}

inline Floats sigmoid(const Floats& numbers) {
    return by_parts([](Floats::Part x) { return 1.f / (1.f + exponential(-x)); }, numbers);
}

// (1 - e) / (1 + e) with e = exp(-2 |x|); near 0, where that loses digits, a polynomial (Moshier, Cephes).
inline Floats hyperbolic_tangent(const Floats& numbers) {
    return by_parts(
        [](Floats::Part x) {
            const Floats::Part size = absolute(x), e = exponential(-2.f * size), far = (1.f - e) / (1.f + e);
            const Floats::Part square = x * x;
            Floats::Part series = square * -5.70498872745e-3f + 2.06390887954e-2f;
            series = series * square - 5.37397155531e-2f;
            series = series * square + 1.33314422036e-1f;
            series = series * square - 3.33332819422e-1f;
            const Bits sign = bits_of<Bits>(x) & static_cast<std::int32_t>(0x80000000);
            const Floats::Part other = bits_of<Floats::Part>(bits_of<Bits>(far) | sign);
            return size < Floats::Part{} + 0.625f ? series * square * x + x : other;
        },
        numbers);
}

inline Floats rectified(const Floats& numbers) {
    return by_parts([](Floats::Part x) { return x < Floats::Part{} ? Floats::Part{} : x; }, numbers);
}

inline Floats larger(const Floats& a, const Floats& b) {
    return by_parts([](auto x, auto y) { return x > y ? x : y; }, a, b);
}

inline float largest(const Floats& numbers) {
    float values[16], most = 0.f;
    numbers.store(values);
    for (float value : values) most = value > most ? value : most;
    return most;
}

}  // namespace
}  // namespace sparsernn
