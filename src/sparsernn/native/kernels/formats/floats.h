#pragma once

#include <algorithm>

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
    static constexpr std::int64_t size = 64 / sizeof(Value), ahead = 16;  // an entry's numbers; entries fetched early

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

// Where some vectors lie: those of a few steps, each with so many sequences. Vectors of no sequence are left out.
struct Vectors {
    const float* first;
    std::int64_t step, row;               // numbers from a step, and from a sequence, to the next
    std::int64_t steps, tile, sequences;  // vectors are numbered as if each step had `tile` sequences

    // Calls work(number, vector) for each.
    template <typename Work>
    inline void each(Work work) const {
        for (std::int64_t t = 0; t < steps; ++t)
            for (std::int64_t n = 0; n < sequences; ++n) work(t * tile + n, first + t * step + n * row);
    }
};

// How vectors of float32 are read: one after the other, or place by place, with each place's numbers of all vectors
// together.
template <bool alternating>
struct FloatVectors {
    using Number = float;

    template <int many>
    static Panel<float> prepare(const Vectors& vectors, std::int64_t columns, std::uint8_t* to) {
        float* const panel = reinterpret_cast<float*>(to);
        const std::int64_t vector = rounded_up(columns, margin);
        vectors.each([&](std::int64_t n, const float* x) {
            if constexpr (alternating && many > 1)
                for (std::int64_t j = 0; j < columns; ++j) panel[j * many + n] = x[j];
            else
                std::copy_n(x, columns, panel + n * vector);
        });
        return {panel, vector, nullptr};
    }
};

}  // namespace
}  // namespace sparsernn
