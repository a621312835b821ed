#include "../recurrence.h"

#include <algorithm>
#include <type_traits>

#include "cells/gru_reset_after.h"
#include "cells/gru_reset_before.h"
#include "cells/lstm.h"
#include "cells/rnn.h"
#include "formats/blocks.h"
#include "formats/int8_blocks.h"
#include "formats/int8_lookup.h"
#include "formats/rows.h"

namespace sparsernn {
namespace {

// As many vectors as there is code for, of at least `vectors`.
inline std::int64_t tile_of(std::int64_t vectors) {
    if (vectors == 1) return 1;
    return vectors <= 4 ? 4 : vectors <= 8 ? 8 : 16;
}

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

// bias + W x of some vectors. projected: [vector, row_of_gates]
template <typename Format, int many>
void project(const RecurrentLayer& layer, std::int64_t slices, const Panel<typename Format::Number>& panel,
             float* projected) {
    const std::int64_t row = row_of_gates(slices);
    for (int n = 0; n < many; ++n) std::copy_n(layer.bias, slices * lanes, projected + n * row);
    Format::template accumulate<many>(layer.input, 0, layer.input.runs, panel, projected, row);
}

// The units of some sequences, once all products are there that the gates from `first` to `last - 1` need.
template <typename Cell, int first, int last>
void finish(std::int64_t groups, const float* projected, const RecurrenceScratch& scratch, std::int64_t count,
            unsigned active) {
    const std::int64_t row = row_of_gates(groups * Cell::gates);
    for (std::int64_t n = 0; n < count; ++n) {
        if (!(active >> n & 1)) continue;
        for (std::int64_t group = 0; group < groups; ++group) {
            const std::int64_t unit = (n * groups + group) * lanes, slice = n * row + group * Cell::gates * lanes;
            const float* const product = scratch.products + slice + Cell::outer_gates * lanes;
            Floats gates[last - first];
#pragma GCC unroll 4
            for (int gate = first; gate < last; ++gate)
                gates[gate - first] = Floats::load(projected + slice + gate * lanes);
            const Units units{scratch.hidden + unit, scratch.memory + unit, scratch.kept + unit, scratch.seen + unit};
            Cell::template units<first>(gates, product, units);
        }
    }
}

// One step of some sequences, those of `active`; projected: of the first of them.
template <typename Format, typename Cell, int many>
void advance(const RecurrentLayer& layer, float* projected, const RecurrenceScratch& scratch, std::int64_t count,
             unsigned active) {
    constexpr int gates = Cell::gates, outer = Cell::outer_gates;
    const std::int64_t groups = groups_of(layer.hidden), width = groups * lanes, row = row_of_gates(groups * gates);
    const PackedWeight& weight = layer.recurrent;
    const Vectors states{scratch.hidden, 0, width, 1, many, count}, seen{scratch.seen, 0, width, 1, many, count};
    const auto panel = Format::template prepare<many>(states, layer.hidden, scratch.of_state);
    Format::template accumulate<many>(weight, 0, weight.outer_runs, panel, projected, row);
    if constexpr (Cell::products_differ) {
        for (std::int64_t n = 0; n < count; ++n)
            for (std::int64_t group = 0; group < groups; ++group) {
                const float* const bias = layer.inner_bias + group * lanes;
                std::copy_n(bias, lanes, scratch.products + n * row + (group * gates + outer) * lanes);
            }
        Format::template accumulate<many>(weight, weight.outer_runs, weight.runs, panel, scratch.products, row);
    }
    finish<Cell, 0, (Cell::inner_gates > 0 ? outer : gates)>(groups, projected, scratch, count, active);
    if constexpr (Cell::inner_gates > 0) {
        const auto inner = Format::template prepare<many>(seen, layer.hidden, scratch.of_state);
        Format::template accumulate<many>(weight, weight.outer_runs, weight.runs, inner, projected, row);
        finish<Cell, outer, gates>(groups, projected, scratch, count, active);
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
    const std::int64_t row = row_of_gates(groups * Cell::gates);
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
                advance<Format, Cell, many>(layer, scratch.projected + step * many * row, scratch, s.count, active);
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
    const RecurrentCellSizes sizes{name, Cell::gates, Cell::outer_gates, Cell::has_memory, Cell::products_differ};
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
