#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include "../../recurrence.h"
#include "../sixteen.h"

namespace sparsernn {
namespace {

// Sums of as many vectors stay in registers while a slice's entries go by.
constexpr int in_registers = register_bytes == 64 ? 16 : register_bytes == 32 ? 4 : 2;

// Vectors that multiply a weight of a format, many side by side, as an array of the format's numbers.
template <typename Number>
struct Panel {
    const Number* numbers;
    std::int64_t vector;  // numbers from a vector to the next, where they do not alternate
    const float* scales;  // of each vector, of formats that have them
};

// Where the next entries of blocks lie, and the places that they read.
template <typename Value>
struct Entries {
    static constexpr std::int64_t size = 64 / sizeof(Value), ahead = 32;  // an entry's numbers; entries fetched early

    const std::uint16_t* places;
    const Value* values;

    inline void pass(std::int64_t count) { places += count, values += count * size; }
    inline void fetch(std::int64_t number) const { __builtin_prefetch(values + (number + ahead) * size); }
};

// Goes through runs of blocks: work(run, number of entries, entries, where their sums are) passes the entries.
template <typename Value, typename Work>
[[gnu::always_inline]] inline void each_slice(const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                                              float* sums, Work work) {
    const std::int64_t first = weight.starts[begin];
    Entries<Value> entries{weight.places + first,
                           reinterpret_cast<const Value*>(weight.values) + first * Entries<Value>::size};
    for (std::int64_t run = begin; run < end; ++run)
        work(run, weight.starts[run + 1] - weight.starts[run], entries, sums + weight.owners[run] * lanes);
}

// Calls work(many) with a number that the compiler knows, so that steps of so many numbers are quick.
template <typename Work>
[[gnu::always_inline]] inline void for_tile(std::int64_t many, Work work) {
    if (many == tiles[1]) return work(std::integral_constant<std::int64_t, tiles[1]>{});
    if (many == tiles[2]) return work(std::integral_constant<std::int64_t, tiles[2]>{});
    work(std::integral_constant<std::int64_t, tiles[3]>{});
}

constexpr std::int32_t bits_of_infinity = 0x7f800000;

// The size of the largest number of a vector, as bits: what is not a number is larger than infinity. `put` is called
// with sixteen numbers at a time, or one, and their place.
template <typename Put>
[[gnu::always_inline]] inline std::int32_t largest_size(const float* x, std::int64_t columns, Put put) {
    const auto grown = [&](const Ints& most, std::int64_t j) {
        const Floats numbers = Floats::load(x + j);
        put(numbers, j);
        return by_parts(
            [](auto most, auto number) {
                const auto size = bits_of<Bits>(number) & 0x7fffffff;
                return size > most ? size : most;
            },
            most, numbers);
    };
    Ints most[2] = {Ints::all(0), Ints::all(0)};
    std::int64_t j = 0;
    for (; j + 2 * lanes <= columns; j += 2 * lanes) most[0] = grown(most[0], j), most[1] = grown(most[1], j + lanes);
    if (j + lanes <= columns) most[0] = grown(most[0], j), j += lanes;
    std::int32_t size = largest(by_parts([](auto x, auto y) { return x > y ? x : y; }, most[0], most[1]));
    for (; j < columns; ++j) {
        put(x[j], j);
        size = std::max(size, bits_of<std::int32_t>(x[j]) & 0x7fffffff);
    }
    return size;
}

inline std::int32_t largest_size(const float* x, std::int64_t columns) {
    return largest_size(x, columns, [](const auto&, std::int64_t) {});
}

// A vector with zeros in the place of what is not finite.
[[gnu::noinline]] inline std::vector<float> finite_part(const float* x, std::int64_t columns) {
    std::vector<float> finite(x, x + columns);
    for (float& number : finite)
        if ((bits_of<std::int32_t>(number) & 0x7fffffff) >= bits_of_infinity) number = 0.f;
    return finite;
}

// How vectors of float32 are read: one after the other, or place by place, with each place's numbers of all vectors
// together.
template <bool alternating>
struct FloatVectors {
    using Number = float;

    // Writes vectors where a panel is to be, without what is not finite in them. Returns which have such numbers.
    static unsigned prepare(const Vectors& vectors, std::int64_t many, std::int64_t columns, std::uint8_t* at) {
        float* const numbers = reinterpret_cast<float*>(at);
        const std::int64_t vector = rounded_up(columns, margin);
        unsigned damaged = 0;
        const auto copied = [&](std::int64_t n, const float* x) {
            if (!alternating || many == 1) {
                float* const to = numbers + n * vector;
                return largest_size(x, columns, Copy{to});
            } else {
                for_tile(many, [&](auto tile) {
                    for (std::int64_t j = 0; j < columns; ++j) numbers[j * tile + n] = x[j];
                });
                return largest_size(x, columns);
            }
        };
        vectors.each([&](std::int64_t n, const float* x) {
            std::vector<float> finite;
            while (copied(n, x) >= bits_of_infinity) {
                damaged |= 1u << n;
                finite = finite_part(x, columns);
                x = finite.data();
            }
        });
        return damaged;
    }

    struct Copy {
        float* to;
        inline void operator()(const Floats& some, std::int64_t j) const { some.store(to + j); }
        inline void operator()(float one, std::int64_t j) const { to[j] = one; }
    };

    static Panel<float> panel(const std::uint8_t* at, std::int64_t columns) {
        return {reinterpret_cast<const float*>(at), rounded_up(columns, margin), nullptr};
    }
};

}  // namespace
}  // namespace sparsernn
