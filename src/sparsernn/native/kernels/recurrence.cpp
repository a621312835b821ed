#include "../recurrence.h"

#include <algorithm>
#include <array>

#include "cells/gru_reset_after.h"
#include "cells/gru_reset_before.h"
#include "cells/lstm.h"
#include "cells/peephole_lstm.h"
#include "cells/recurrent_highway.h"
#include "cells/rnn.h"
#include "sixteen.h"

namespace sparsernn {
namespace {

inline std::size_t tile_of(std::int64_t vectors) {
    std::size_t tile = 0;
    while (tiles[tile] < vectors) ++tile;
    return tile;
}

// A panel of vectors, and the vectors that it was made of.
class Multiplied {
public:
    Multiplied(const FormatKernel& format, std::size_t tile, const Vectors& vectors, std::int64_t columns, std::uint8_t* at)
        : format_(format), tile_(tile), vectors_(vectors), columns_(columns), at_(at),
          damaged_(format.prepare(vectors, tiles[tile], columns, at)) {}

    // Adds what some runs of a weight make of each vector, those of some gates. sums: [vector, slice 16], a vector's
    // `row` numbers from the next.
    void add(const PackedWeight& weight, std::int64_t slices, const Part& part, float* sums, std::int64_t row) const {
        format_.accumulate[tile_](weight, part.begin, part.end, at_, columns_, sums, row);
        if (damaged_ != 0) add_the_rest(weight, slices, part, sums, row);
    }

private:
    [[gnu::noinline]] void add_the_rest(const PackedWeight& weight, std::int64_t slices, const Part& part, float* sums,
                                        std::int64_t row) const {
        vectors_.each([&](std::int64_t n, const float* x) {
            if (damaged_ >> n & 1) add_what_is_not_finite(weight, *format_.sizes, slices, part, x, columns_, sums + n * row);
        });
    }

    const FormatKernel& format_;
    const std::size_t tile_;
    const Vectors& vectors_;
    const std::int64_t columns_;
    std::uint8_t* const at_;
    const unsigned damaged_;
};

// Where numbers of the sixteen units of a group lie; a cell reads and writes those that it has.
struct Units {
    float *hidden, *memory, *kept, *seen;
    const float* diagonals;
};

// The units of some sequences, once all products are there that the gates from `first` to `last - 1` need.
template <typename Cell, int first, int last>
void finish(std::int64_t groups, const float* diagonals, const float* projected, const RecurrenceScratch& scratch,
            float* hidden, const Some& some) {
    const std::int64_t row = row_of_gates(groups * Cell::gates);
    for (std::int64_t n = 0; n < some.count; ++n) {
        if (!(some.active >> n & 1)) continue;
        for (std::int64_t group = 0; group < groups; ++group) {
            const std::int64_t unit = (n * groups + group) * lanes, slice = n * row + group * Cell::gates * lanes;
            const float* const product = scratch.products + slice + Cell::outer_gates * lanes;
            Floats gates[last - first];
#pragma GCC unroll 4
            for (int gate = first; gate < last; ++gate)
                gates[gate - first] = Floats::load(projected + slice + gate * lanes);
            const Units units{hidden + unit, scratch.memory + unit, scratch.kept + unit, scratch.seen + unit,
                              diagonals + group * Cell::diagonals * lanes};
            Cell::template units<first>(gates, product, units);
        }
    }
}

// All steps of some sequences.
class Run {
public:
    Run(const RecurrenceKernel& kernel, const RecurrentLayer& layer, const FormatKernel& format, const Sequences& sequences,
        const RecurrenceScratch& scratch)
        : kernel_(kernel), cell_(kernel.cell), layer_(layer), format_(format), tile_(tile_of(sequences.count)),
          s_(sequences), scratch_(scratch), many_(tiles[tile_]), groups_(groups_of(layer.hidden)),
          slices_(groups_ * cell_.gates),
          row_(row_of_gates(slices_)), hidden_row_(groups_of(layer.width) * lanes) {}

    // As many steps are projected at once as fit side by side.
    void all() const {
        const std::int64_t at_once = side_by_side / many_;
        copy_rows(s_.hidden, layer_.width, scratch_.hidden, hidden_row_, layer_.width);
        if (cell_.has_memory) copy_rows(s_.memory, layer_.hidden, scratch_.memory, groups_ * lanes, layer_.hidden);
        for (std::int64_t begin = 0; begin < s_.time; begin += at_once) {
            const std::int64_t steps = std::min(at_once, s_.time - begin);
            if (active_at(begin) != 0) project(begin, steps);
            for (std::int64_t step = 0; step < steps; ++step) {
                const Some some{many_, s_.count, active_at(begin + step)};
                if (some.active != 0) advance(scratch_.projected + step * many_ * row_, some);
                put_out(begin + step, some.active);
            }
        }
        copy_rows(scratch_.hidden, hidden_row_, s_.hidden, layer_.width, layer_.width);
        if (cell_.has_memory) copy_rows(scratch_.memory, groups_ * lanes, s_.memory, layer_.hidden, layer_.hidden);
    }

private:
    // bias + W x of some steps. projected: [vector, row_of_gates]
    void project(std::int64_t begin, std::int64_t steps) const {
        const Vectors inputs{s_.x + begin * s_.x_step, s_.x_step, s_.x_row, steps, many_, s_.count};
        for (std::int64_t n = 0; n < steps * many_; ++n) std::copy_n(layer_.bias, slices_ * lanes, scratch_.projected + n * row_);
        Multiplied(format_, tile_of(steps * many_), inputs, layer_.inputs, scratch_.of_input)
            .add(layer_.input, slices_, {1, 0, 1, 0, layer_.input.runs}, scratch_.projected, row_);
    }

    // One step of some sequences; projected: of the first of them.
    void advance(float* projected, const Some& some) const {
        const PackedWeight& first = layer_.recurrent[0];
        const std::int64_t gates = cell_.gates, outer_gates = cell_.outer_gates;
        const Part outer{gates, 0, outer_gates, 0, first.outer_runs};
        const Part inner{gates, outer_gates, gates, first.outer_runs, first.runs};
        const Vectors states = rows_of(scratch_.hidden, hidden_row_);
        const Multiplied state(format_, tile_, states, layer_.width, scratch_.of_state);
        state.add(first, slices_, outer, projected, row_);
        if (cell_.has_inner_bias) {
            for (std::int64_t n = 0; n < s_.count; ++n)
                for (std::int64_t group = 0; group < groups_; ++group)
                    std::copy_n(layer_.inner_bias + group * lanes, lanes,
                                scratch_.products + n * row_ + (group * gates + outer_gates) * lanes);
            state.add(first, slices_, inner, scratch_.products, row_);
        }
        if (cell_.has_memory && layer_.memory != nullptr)
            add_all(*layer_.memory, rows_of(scratch_.memory, groups_ * lanes), layer_.hidden, slices_, projected, row_);
        const bool narrows = cell_.has_memory && layer_.projection != nullptr;
        float* const units = narrows ? scratch_.seen : scratch_.hidden;
        kernel_.finish(groups_, layer_.diagonals, projected, scratch_, units, some);
        if (kernel_.finish_inner != nullptr) {
            Multiplied(format_, tile_, rows_of(scratch_.seen, groups_ * lanes), layer_.hidden, scratch_.of_state)
                .add(first, slices_, inner, projected, row_);
            kernel_.finish_inner(groups_, layer_.diagonals, projected, scratch_, units, some);
        }
        for (std::int64_t level = 1; cell_.has_levels && level < layer_.levels; ++level) {
            for (std::int64_t n = 0; n < s_.count; ++n)
                std::copy_n(layer_.level_biases + (level - 1) * slices_ * lanes, slices_ * lanes, projected + n * row_);
            add_all(layer_.recurrent[level], states, layer_.width, slices_, projected, row_);
            kernel_.finish(groups_, layer_.diagonals, projected, scratch_, units, some);
        }
        if (narrows) narrow(some);
    }

    // The output, which the projection makes of the units.
    void narrow(const Some& some) const {
        const std::int64_t slices = groups_of(layer_.width);
        for (std::int64_t n = 0; n < s_.count; ++n) std::fill_n(scratch_.products + n * row_, hidden_row_, 0.f);
        add_all(*layer_.projection, rows_of(scratch_.seen, groups_ * lanes), layer_.hidden, slices, scratch_.products, row_);
        for (std::int64_t n = 0; n < s_.count; ++n)
            if (some.active >> n & 1)
                std::copy_n(scratch_.products + n * row_, hidden_row_, scratch_.hidden + n * hidden_row_);
    }

    // What a whole weight makes of each vector.
    void add_all(const PackedWeight& weight, const Vectors& vectors, std::int64_t columns, std::int64_t slices, float* sums,
                 std::int64_t row) const {
        Multiplied(format_, tile_, vectors, columns, scratch_.of_state).add(weight, slices, {1, 0, 1, 0, weight.runs}, sums, row);
    }

    // The states of the sequences, one step of them.
    Vectors rows_of(const float* states, std::int64_t row) const { return {states, 0, row, 1, many_, s_.count}; }

    void copy_rows(const float* from, std::int64_t from_row, float* to, std::int64_t to_row, std::int64_t columns) const {
        for (std::int64_t n = 0; n < s_.count; ++n) std::copy_n(from + n * from_row, columns, to + n * to_row);
    }

    // Outputs of a step: what was computed, and zeros of sequences that have ended.
    void put_out(std::int64_t t, unsigned active) const {
        for (std::int64_t n = 0; n < s_.count; ++n) {
            float* const to = s_.output + t * s_.output_step + n * s_.output_row;
            if (active >> n & 1)
                std::copy_n(scratch_.hidden + n * hidden_row_, layer_.width, to);
            else
                std::fill_n(to, layer_.width, 0.f);
        }
    }

    unsigned active_at(std::int64_t t) const {
        unsigned active = 0;
        for (std::int64_t n = 0; n < s_.count; ++n)
            if (s_.lengths == nullptr || t < s_.lengths[n]) active |= 1u << n;
        return active;
    }

    const RecurrenceKernel& kernel_;
    const RecurrentCellSizes& cell_;
    const RecurrentLayer& layer_;
    const FormatKernel& format_;
    const std::size_t tile_;
    const Sequences& s_;
    const RecurrenceScratch& scratch_;
    const std::int64_t many_, groups_, slices_, row_, hidden_row_;
};

void run(const RecurrenceKernel& kernel, const RecurrentLayer& layer, const FormatKernel& format,
         const Sequences& sequences, const RecurrenceScratch& scratch) {
    Run(kernel, layer, format, sequences, scratch).all();
}

template <typename Cell>
RecurrenceKernel kernel_of(const char* name) {
    constexpr int gates = Cell::gates, outer_gates = Cell::inner_gates > 0 ? Cell::outer_gates : gates;
    FinishUnits inner = nullptr;
    if constexpr (outer_gates < gates) inner = finish<Cell, outer_gates, gates>;
    return {{name, gates, Cell::outer_gates, Cell::diagonals, Cell::has_memory, Cell::products_differ, Cell::has_levels},
            run, finish<Cell, 0, outer_gates>, inner};
}

}  // namespace

namespace SPARSERNN_INSTRUCTIONS {

RecurrenceKernels recurrence_kernels() {
    return {kernel_of<Lstm>("lstm"),
            kernel_of<PeepholeLstm>("peephole_lstm"),
            kernel_of<GruResetAfter>("gru_reset_after"),
            kernel_of<GruResetBefore>("gru_reset_before"),
            kernel_of<Rnn<false>>("rnn_tanh"),
            kernel_of<Rnn<true>>("rnn_relu"),
            kernel_of<RecurrentHighway>("recurrent_highway")};
}

}  // namespace SPARSERNN_INSTRUCTIONS
}  // namespace sparsernn
