#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "instructions.h"

namespace sparsernn {

constexpr std::int64_t lanes = 16;      // units that are computed together
constexpr std::int64_t side_by_side = 16;  // most sequences of a tile, and vectors that the input's matrix meets at once
constexpr std::int64_t margin = 256;    // vectors are padded to a multiple, as the widest table is

inline std::int64_t rounded_up(std::int64_t number, std::int64_t multiple) {
    return (number + multiple - 1) / multiple * multiple;
}

// How a weight is stored. An entry holds numbers of sixteen rows, a slice, which read one place of a vector.
enum class Format : int { blocks, rows, int8_blocks, int8_lookup };

struct FormatSizes {
    const char* name;
    std::int64_t place_width;    // columns of a place
    std::int64_t entry_values;   // bytes of an entry's numbers
    std::int64_t entry_indices;  // bytes that say which columns of the place they read; 0: all
    bool quantised;              // int8 numbers with a scale a row, and vectors of uint8
};

inline constexpr std::array<FormatSizes, 4> format_sizes{{
    {"blocks", 1, 64, 0, false},        // 16 float32, row by row: all read the same column
    {"rows", 64, 64, 16, false},        // 16 float32, each with its own of 64 columns
    {"int8_blocks", 4, 64, 0, true},    // 16 x 4 int8: all read the same four columns
    {"int8_lookup", 256, 64, 64, true}  // 16 x 4 int8, each with its own of 256 columns
}};

// One weight. A run is the entries of one slice, or those of them that read one place: starts[r] to starts[r + 1] - 1.
// Runs of about as many entries are neighbours, so that the processor foresees where they end. The places of a run are
// numbered from its base, so that 16 bits reach.
struct PackedWeight {
    std::int64_t runs, outer_runs;  // all, and those of gates that do not wait for others
    const std::uint32_t* starts;    // [runs + 1]
    const std::uint16_t* owners;    // [runs], each run's slice
    const std::uint32_t* bases;     // [runs] the first place that a run could read, or null: 0
    const std::uint16_t* places;    // [entries], or [runs] of formats whose entries choose their columns
    const std::uint8_t* values;     // [entries entry_values]
    const std::uint8_t* indices;    // [entries entry_indices], or null
    const float* scales;            // [slices 16], or null
    const std::int32_t* shifts;     // [runs 16] that sums start from, as vectors are stored plus 128; or null

    std::int64_t base(std::int64_t run) const { return bases == nullptr ? 0 : bases[run]; }
};

// One recurrent layer in one direction. Its rows are grouped: sixteen units at a time, a slice for each of their gates.
struct RecurrentLayer {
    std::int64_t inputs, hidden, width;  // width: of the output, which is the state that weights read
    PackedWeight input;
    const PackedWeight* recurrent;   // [levels], which read the state one after the other
    std::int64_t levels;
    const PackedWeight *memory;      // reads the memory; or null
    const PackedWeight *projection;  // makes the output of what the units are, one slice for sixteen numbers; or null
    const float* bias;               // [groups gates 16], added to what the input makes
    const float* inner_bias;         // [groups 16], added to what the state makes before another gate multiplies it
    const float* level_biases;       // [levels - 1, groups gates 16]
    const float* diagonals;          // [groups diagonals 16], numbers by which units multiply what is their own
};

// Up to `side_by_side` sequences. A step or a row is so many numbers from the next.
struct Sequences {
    std::int64_t time, count;
    const float* x;
    std::int64_t x_step, x_row;
    float* output;
    std::int64_t output_step, output_row;
    const std::int64_t* lengths;  // [count], or null
    float *hidden, *memory;       // [count width or hidden]: states before, then after; no memory for cells without
};

// Scratch of one tile at a time, aligned to 64 bytes. What is left in it from before never reaches a number that counts.
struct RecurrenceScratch {
    float *hidden, *memory, *kept, *seen;  // [side_by_side, units or numbers of the output rounded up to 16]
    std::uint8_t *of_input, *of_state;     // vectors as a format reads them
    float *projected, *products;           // [side_by_side, row_of_gates] what the input makes, and the state
};

// What numbers of a vector that are not finite add to a product without them: as if absent weights were zeros. Slices are
// those of gates from `first_gate` to `last_gate - 1`; runs those from `begin` to `end - 1`.
struct Part {
    std::int64_t gates, first_gate, last_gate, begin, end;
};
void add_what_is_not_finite(const PackedWeight& weight, const FormatSizes& sizes, std::int64_t slices, const Part& part,
                            const float* vector, std::int64_t columns, float* sums);

inline std::int64_t groups_of(std::int64_t hidden) { return rounded_up(hidden, lanes) / lanes; }

// Numbers from a vector's gates to the next one's; an odd number of lines, so that they do not share places in caches.
inline std::int64_t row_of_gates(std::int64_t slices) { return (slices | 1) * lanes; }

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

// As many vectors side by side as there is code for.
constexpr std::array<std::int64_t, 4> tiles{1, 4, 8, 16};

// What a format does with vectors: writes a panel of them, and multiplies it.
struct FormatKernel {
    const FormatSizes* sizes;
    unsigned (*prepare)(const Vectors& vectors, std::int64_t many, std::int64_t columns, std::uint8_t* at);
    using Accumulate = void (*)(const PackedWeight& weight, std::int64_t begin, std::int64_t end, const std::uint8_t* at,
                                std::int64_t columns, float* sums, std::int64_t row);
    std::array<Accumulate, tiles.size()> accumulate;
};

using FormatKernels = std::array<FormatKernel, 2>;  // those of floats, or those of int8

struct RecurrenceKernel;
using RunRecurrence = void (*)(const RecurrenceKernel& kernel, const RecurrentLayer& layer, const FormatKernel& format,
                               const Sequences& sequences, const RecurrenceScratch& scratch);

// Some sequences at one step.
struct Some {
    std::int64_t many, count;  // vectors side by side, and sequences
    unsigned active;
};

// Makes the units of some sequences of their gates; hidden: where they go.
using FinishUnits = void (*)(std::int64_t groups, const float* diagonals, const float* projected,
                             const RecurrenceScratch& scratch, float* hidden, const Some& some);

struct RecurrentCellSizes {
    const char* name;
    std::int64_t gates, outer_gates;  // the last ones wait for others, or are multiplied by them
    std::int64_t diagonals;
    bool has_memory, has_inner_bias, has_levels;
};

struct RecurrenceKernel {
    RecurrentCellSizes cell;
    RunRecurrence run;
    FinishUnits finish, finish_inner;  // inner: of the gates that wait for others; or null
};

using RecurrenceKernels = std::array<RecurrenceKernel, 7>;  // by cell

RecurrenceKernels recurrence_kernels(Instructions instructions);

}  // namespace sparsernn
