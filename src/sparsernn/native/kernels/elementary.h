#pragma once

// Elementary functions in plain arithmetic, so that loops over them become vector code. Compiled once per
// instruction set: everything is local to the file that includes it, and nothing of the standard library is called.

// Before a loop whose numbers do not depend on each other: it is made one of vectors without asking where they lie.
#if defined(__clang__)
#define SPARSERNN_LANES _Pragma("clang loop vectorize(enable)")
#elif defined(__GNUC__)
#define SPARSERNN_LANES _Pragma("GCC ivdep")
#else
#define SPARSERNN_LANES
#endif

namespace sparsernn {
namespace {

template <typename T>
struct Number;

template <>
struct Number<float> {
    using Bits = int;
    static constexpr int fraction_bits = 23, exp_terms = 7, log_terms = 5;
    static constexpr float largest = 87.3f;        // exp of it and of its negative are normal numbers
    static constexpr float rounding = 12582912.f;  // adding it leaves a whole number in the lowest bits
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr Bits one_bits = 0x3f800000;
};

template <>
struct Number<double> {
    using Bits = long long;
    static constexpr int fraction_bits = 52, exp_terms = 13, log_terms = 11;
    static constexpr double largest = 708.0;
    static constexpr double rounding = 6755399441055744.0;
    static constexpr double ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10;
    static constexpr Bits one_bits = 0x3ff0000000000000;
};

template <typename To, typename From>
inline To bits_of(From value) {
    return __builtin_bit_cast(To, value);
}

// 1 / n!
template <typename T>
constexpr T inverse_factorial(int n) {
    double product = 1;
    for (int i = 2; i <= n; ++i) product *= i;
    return static_cast<T>(1 / product);
}

// exp(x) = 2^n exp(r) with |r| <= ln(2) / 2, by the Taylor series of r.
template <typename T>
inline T exponential(T x) {
    using N = Number<T>;
    T near = x < -N::largest ? -N::largest : x;
    near = near > N::largest ? N::largest : near;
    const T shifted = near * T(1.4426950408889634) + N::rounding;
    const T n = shifted - N::rounding;
    const T r = (near - n * N::ln2_high) - n * N::ln2_low;
    T series = inverse_factorial<T>(N::exp_terms);
#pragma GCC unroll 16
    for (int term = N::exp_terms - 1; term >= 0; --term) series = series * r + inverse_factorial<T>(term);
    using Bits = typename N::Bits;
    const Bits power = static_cast<Bits>(static_cast<unsigned long long>(bits_of<Bits>(shifted)) << N::fraction_bits);
    return x < -N::largest ? T(0) : series * bits_of<T>(static_cast<Bits>(power + N::one_bits));
}

// log(1 + x) for 0 <= x <= 1: 2 atanh(y / (2 + y)), with 1 + x brought near 1.
template <typename T>
inline T log_of_one_plus(T x) {
    const bool halve = x > T(0.41421356237309503);
    const T y = halve ? (x - T(1)) * T(0.5) : x;
    const T s = y / (T(2) + y), square = s * s;
    T series = T(0);
#pragma GCC unroll 16
    for (int term = Number<T>::log_terms - 1; term >= 0; --term) series = series * square + T(1) / T(2 * term + 1);
    return T(2) * s * series + (halve ? T(0.69314718055994531) : T(0));
}

template <typename T>
inline T sigmoid(T x) {
    return x < -Number<T>::largest ? T(0) : T(1) / (T(1) + exponential(-x));
}

template <typename T>
inline T log_sigmoid(T x) {
    const T size = x < T(0) ? -x : x;
    return (x < T(0) ? x : T(0)) - log_of_one_plus(exponential(-size));
}

}  // namespace
}  // namespace sparsernn
