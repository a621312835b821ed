#include "../recurrence.h"

#include "cells/gru_reset_after.h"
#include "cells/gru_reset_before.h"
#include "cells/lstm.h"
#include "cells/rnn.h"
#include <algorithm>
#include <type_traits>

#include "formats/blocks.h"
#include "formats/int8_blocks.h"
#include "formats/int8_lookup.h"
#include "formats/rows.h"

namespace sparsernn {
namespace {

// As many vectors as there is code for, of at least `vectors`.
inline std::int64_t tile_of(std::int64_t vectors) { return vectors == 1 ? 1 : vectors <= 4 ? 4 : vectors <= 8 ? 8 : 16; }

// Calls work with a tile's size as a constant.
template <typename Work>
inline void with_tile(std::int64_t vectors, Work work) {
    switch (tile_of(vectors)) {
        case 1: return work(std::integral_constant<int, 1>{});
        case 4: return work(std::integral_constant<int, 4>{});
        case 8: return work(std::integral_constant<int, 8>{});
        default: return work(std::integral_constant<int, 16>{});
    }
}

// Where numbers of the sixteen units of a group lie; a cell reads and writes those that it has.
struct Units {
    float *hidden, *memory, *kept, *seen;
};

// bias + W x of some vectors. projected: [slices side_by_side 16]
template <typename Format, int many>
void project(const RecurrentLayer& layer, std::int64_t slices, const Panel<typename Format::Number>& panel,
             float* projected) {
    for (std::int64_t slice = 0; slice < slices; ++slice) {
        Floats sums[many];
        const Floats bias = Floats::load(layer.bias + slice * lanes);
#pragma GCC unroll 16
        for (int n = 0; n < many; ++n) sums[n] = bias;
        Format::template multiply<many>(layer.input, slice, panel, sums);
        float* const to = projected + slice * side_by_side * lanes;
#pragma GCC unroll 16
        for (int n = 0; n < many; ++n) sums[n].store(to + n * lanes);
    }
}

// One pass over the units of some sequences: the gates from `first` on that read the same vector.
template <typename Format, typename Cell, int many, int first, int last>
void pass(const RecurrentLayer& layer, const Panel<typename Format::Number>& panel, const float* projected,
          const RecurrenceScratch& scratch, unsigned active) {
    const std::int64_t groups = groups_of(layer.hidden), width = groups * lanes;
    for (std::int64_t group = 0; group < groups; ++group) {
        const float* const made = projected + group * Cell::gates * side_by_side * lanes;
        Floats sums[last - first][many];
#pragma GCC unroll 4
        for (int gate = first; gate < last; ++gate) {
            const bool multiplied = Cell::products_differ && gate == last - 1;
#pragma GCC unroll 16
            for (int n = 0; n < many; ++n)
                sums[gate - first][n] = Floats::load(multiplied ? layer.inner_bias + group * lanes
                                                                : made + (gate * side_by_side + n) * lanes);
            Format::template multiply<many>(layer.recurrent, group * Cell::gates + gate, panel, sums[gate - first]);
        }
        for (int n = 0; n < many; ++n) {
            if (!(active >> n & 1)) continue;
            Floats gates[last - first];
#pragma GCC unroll 4
            for (int gate = 0; gate < last - first; ++gate) gates[gate] = sums[gate][n];
            const std::int64_t place = n * width + group * lanes;
            const Floats candidate = Floats::load(made + ((Cell::gates - 1) * side_by_side + n) * lanes);
            Cell::template units<first>(gates, candidate, Units{scratch.hidden + place, scratch.memory + place,
                                                                scratch.kept + place, scratch.seen + place});
        }
    }
}

// One step of some sequences, those of `active`; projected: of the first of them.
template <typename Format, typename Cell, int many>
void advance(const RecurrentLayer& layer, const float* projected, const RecurrenceScratch& scratch, std::int64_t count,
             unsigned active) {
    constexpr int outer = Cell::gates - Cell::inner_gates;
    const std::int64_t width = groups_of(layer.hidden) * lanes;
    const Vectors states{scratch.hidden, 0, width, 1, many, count}, seen{scratch.seen, 0, width, 1, many, count};
    const auto panel = Format::template prepare<many>(states, layer.hidden, scratch.of_state);
    pass<Format, Cell, many, 0, outer>(layer, panel, projected, scratch, active);
    if constexpr (Cell::inner_gates > 0) {
        const auto inner = Format::template prepare<many>(seen, layer.hidden, scratch.of_state);
        pass<Format, Cell, many, outer, static_cast<int>(Cell::gates)>(layer, inner, projected, scratch, active);
    }
}

inline void copy_rows(const float* from, std::int64_t from_row, float* to, std::int64_t to_row, std::int64_t count,
                      std::int64_t columns) {
    for (std::int64_t n = 0; n < count; ++n) std::copy_n(from + n * from_row, columns, to + n * to_row);
}

// Outputs of a step: what was computed, and zeros of sequences that have ended.
inline void put_out(const Sequences& s, std::int64_t t, unsigned active, const float* hidden, std::int64_t width,
                    std::int64_t units) {
    for (std::int64_t n = 0; n < s.count; ++n) {
        float* const to = s.output + t * s.output_step + n * s.output_row;
        if (active >> n & 1)
            std::copy_n(hidden + n * width, units, to);
        else
            std::fill_n(to, units, 0.f);
    }
}

inline unsigned active_at(const Sequences& s, std::int64_t t) {
    unsigned active = 0;
    for (std::int64_t n = 0; n < s.count; ++n)
        if (s.lengths == nullptr || t < s.lengths[n]) active |= 1u << n;
    return active;
}

// All steps of some sequences: as many steps are projected at once as fit side by side.
template <typename Format, typename Cell, int many>
void run_tile(const RecurrentLayer& layer, const Sequences& s, const RecurrenceScratch& scratch) {
    const std::int64_t groups = groups_of(layer.hidden), width = groups * lanes, units = layer.hidden;
    constexpr std::int64_t at_once = side_by_side / many;
    copy_rows(s.hidden, units, scratch.hidden, width, s.count, units);
    if constexpr (Cell::has_memory) copy_rows(s.memory, units, scratch.memory, width, s.count, units);
    for (std::int64_t begin = 0; begin < s.time; begin += at_once) {
        const std::int64_t steps = std::min(at_once, s.time - begin);
        const Vectors inputs{s.x + begin * s.x_step, s.x_step, s.x_row, steps, many, s.count};
        if (active_at(s, begin) != 0)
            with_tile(steps * many, [&](auto size) {
                constexpr int tile = decltype(size)::value;
                const auto panel = Format::template prepare<tile>(inputs, layer.inputs, scratch.of_input);
                project<Format, tile>(layer, groups * Cell::gates, panel, scratch.projected);
            });
        for (std::int64_t step = 0; step < steps; ++step) {
            const unsigned active = active_at(s, begin + step);
            if (active != 0)
                advance<Format, Cell, many>(layer, scratch.projected + step * many * lanes, scratch, s.count, active);
            put_out(s, begin + step, active, scratch.hidden, width, units);
        }
    }
    copy_rows(scratch.hidden, width, s.hidden, units, s.count, units);
    if constexpr (Cell::has_memory) copy_rows(scratch.memory, width, s.memory, units, s.count, units);
}

template <typename Format, typename Cell>
void run(const RecurrentLayer& layer, const Sequences& sequences, const RecurrenceScratch& scratch) {
    with_tile(sequences.count, [&](auto tile) {
        run_tile<Format, Cell, decltype(tile)::value>(layer, sequences, scratch);
    });
}

template <typename Cell>
RecurrenceKernel kernel_of(const char* name) {
    const RecurrentCellSizes sizes{name, Cell::gates, Cell::has_memory, Cell::products_differ};
    return {sizes, {&run<Blocks, Cell>, &run<RowsOfNumbers, Cell>, &run<Int8Blocks, Cell>, &run<Int8Lookup, Cell>}};
}

}  // namespace

namespace SPARSERNN_INSTRUCTIONS {

RecurrenceKernels recurrence_kernels() {
    return {kernel_of<Lstm>("lstm"), kernel_of<GruResetAfter>("gru_reset_after"),
            kernel_of<GruResetBefore>("gru_reset_before"), kernel_of<Rnn<false>>("rnn_tanh"),
            kernel_of<Rnn<true>>("rnn_relu")};
}

}  // namespace SPARSERNN_INSTRUCTIONS
}  // namespace sparsernn
