#pragma once

#include "lanes.h"

namespace sparsernn {
namespace {

// i, f, o = s(..), g = tanh(..), c' = f c + i g, h' = o tanh(c'); what is kept is tanh(c').
struct Lstm {
    static constexpr std::int64_t gates = 4, outer_gates = 4, inner_gates = 0, diagonals = 0;
    static constexpr bool has_memory = true, has_levels = false, keeps = true, products_differ = false;

    template <typename T>
    static void forward(const Step<T>& s) {
        const std::int64_t hidden = s.hidden, count = s.count;
        for (std::int64_t row = 0; row < 4 * hidden; ++row) {
            T* __restrict gate = s.row(s.gates, row);
            s.project(row, gate);
            s.multiply(s.layer.recurrent, row, s.before, gate);
            if (row >= 2 * hidden && row < 3 * hidden)
                for (std::int64_t j = 0; j < count; ++j) gate[j] = hyperbolic_tangent(gate[j]);
            else
                for (std::int64_t j = 0; j < count; ++j) gate[j] = sigmoid(gate[j]);
        }
        for (std::int64_t unit = 0; unit < hidden; ++unit) {
            const T* __restrict input = s.row(s.gates, unit);
            const T* __restrict forget = s.row(s.gates, hidden + unit);
            const T* __restrict candidate = s.row(s.gates, 2 * hidden + unit);
            const T* __restrict output = s.row(s.gates, 3 * hidden + unit);
            const T* __restrict memory = s.row(s.memory, unit);
            T* __restrict next_memory = s.row(s.memory_after, unit);
            T* __restrict squashed = s.row(s.kept, unit);
            T* __restrict next = s.row(s.after, unit);
            for (std::int64_t j = 0; j < count; ++j) {
                next_memory[j] = forget[j] * memory[j] + input[j] * candidate[j];
                squashed[j] = hyperbolic_tangent(next_memory[j]);
                next[j] = output[j] * squashed[j];
            }
        }
    }

    template <typename T>
    static void backward(const StepBack<T>& s) {
        const std::int64_t hidden = s.hidden, count = s.count;
        for (std::int64_t unit = 0; unit < hidden; ++unit) {
            const T* __restrict more = s.row(s.given, unit);
            const T* __restrict input = s.row(s.gates, unit);
            const T* __restrict forget = s.row(s.gates, hidden + unit);
            const T* __restrict candidate = s.row(s.gates, 2 * hidden + unit);
            const T* __restrict output = s.row(s.gates, 3 * hidden + unit);
            const T* __restrict memory = s.row(s.memory, unit);
            const T* __restrict squashed = s.row(s.kept, unit);
            T* __restrict by_input = s.row(s.made, unit);
            T* __restrict by_forget = s.row(s.made, hidden + unit);
            T* __restrict by_candidate = s.row(s.made, 2 * hidden + unit);
            T* __restrict by_output = s.row(s.made, 3 * hidden + unit);
            T* __restrict want = s.row(s.wanted, unit);
            T* __restrict want_memory = s.row(s.wanted_memory, unit);
            for (std::int64_t j = 0; j < count; ++j) {
                const T all = want[j] + more[j], i = input[j], f = forget[j], g = candidate[j], o = output[j];
                const T c = squashed[j], inside = want_memory[j] + all * o * (T(1) - c * c);
                by_output[j] = all * c * o * (T(1) - o);
                by_input[j] = inside * g * i * (T(1) - i);
                by_forget[j] = inside * memory[j] * f * (T(1) - f);
                by_candidate[j] = inside * i * (T(1) - g * g);
                want_memory[j] = inside * f;
                want[j] = T(0);
            }
        }
        s.return_products();
    }

    // Sixteen units of one sequence at inference, once their gates are there; see ../recurrence.cpp.
    template <int first, typename V, typename Units>
    static inline void units(const V* gate, const float*, const Units& u) {
        const V memory = multiply_add(sigmoid(gate[1]), V::load(u.memory), gated_tangent(gate[0], gate[2]));
        memory.store(u.memory);
        gated_tangent(gate[3], memory).store(u.hidden);
    }
};

}  // namespace
}  // namespace sparsernn
