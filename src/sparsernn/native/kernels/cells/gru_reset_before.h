#pragma once

#include "lanes.h"

namespace sparsernn {
namespace {

// r, z = s(..), n = tanh(W x + b + U (r h)), h' = (1 - z) n + z h; what is kept is r h.
struct GruResetBefore {
    static constexpr std::int64_t gates = 3, outer_gates = 2, inner_gates = 1, diagonals = 0;
    static constexpr bool has_memory = false, has_levels = false, keeps = true, products_differ = false;

    template <typename T>
    static void forward(const Step<T>& s) {
        const std::int64_t hidden = s.hidden, count = s.count;
        for (std::int64_t row = 0; row < 2 * hidden; ++row) {
            T* __restrict gate = s.row(s.gates, row);
            s.project(row, gate);
            s.multiply(s.layer.recurrent, row, s.before, gate);
            for (std::int64_t j = 0; j < count; ++j) gate[j] = sigmoid(gate[j]);
        }
        for (std::int64_t unit = 0; unit < hidden; ++unit) {
            const T* __restrict gate = s.row(s.gates, unit);
            const T* __restrict state = s.row(s.before, unit);
            T* __restrict reset = s.row(s.kept, unit);
            SPARSERNN_LANES
            for (std::int64_t j = 0; j < count; ++j) reset[j] = gate[j] * state[j];
        }
        for (std::int64_t unit = 0; unit < hidden; ++unit) {
            const T* __restrict update = s.row(s.gates, hidden + unit);
            const T* __restrict state = s.row(s.before, unit);
            T* __restrict candidate = s.row(s.gates, 2 * hidden + unit);
            T* __restrict next = s.row(s.after, unit);
            s.project(2 * hidden + unit, candidate);
            s.multiply(s.layer.inner, unit, s.kept, candidate);
            SPARSERNN_LANES
            for (std::int64_t j = 0; j < count; ++j) {
                const T n = hyperbolic_tangent(candidate[j]);
                candidate[j] = n;
                next[j] = n + update[j] * (state[j] - n);
            }
        }
    }

    template <typename T>
    static void backward(const StepBack<T>& s) {
        const std::int64_t hidden = s.hidden, count = s.count;
        for (std::int64_t unit = 0; unit < hidden; ++unit) {
            const T* __restrict more = s.row(s.given, unit);
            const T* __restrict state = s.row(s.before, unit);
            const T* __restrict update = s.row(s.gates, hidden + unit);
            const T* __restrict candidate = s.row(s.gates, 2 * hidden + unit);
            T* __restrict by_update = s.row(s.made, hidden + unit);
            T* __restrict by_candidate = s.row(s.made, 2 * hidden + unit);
            T* __restrict want = s.row(s.wanted, unit);
            for (std::int64_t j = 0; j < count; ++j) {
                const T all = want[j] + more[j], z = update[j], n = candidate[j];
                by_candidate[j] = all * (T(1) - z) * (T(1) - n * n);
                by_update[j] = all * (state[j] - n) * z * (T(1) - z);
                want[j] = all * z;
            }
        }
        for (std::int64_t unit = 0; unit < hidden; ++unit) {
            const T* __restrict state = s.row(s.before, unit);
            const T* __restrict reset = s.row(s.gates, unit);
            T* __restrict by_reset = s.row(s.made, unit);
            T* __restrict want = s.row(s.wanted, unit);
            fill(by_reset, T(0), count);
            s.multiply(s.gradient.inner, unit, s.row(s.made, 2 * hidden), by_reset);
            SPARSERNN_LANES
            for (std::int64_t j = 0; j < count; ++j) {
                const T through = by_reset[j], r = reset[j];
                by_reset[j] = through * state[j] * r * (T(1) - r);
                want[j] += through * r;
            }
        }
        s.return_products();
    }

    // Sixteen units of one sequence at inference: first the gates r and z, then n. See ../recurrence.cpp.
    template <int first, typename V, typename Units>
    static inline void units(const V* gate, const float*, const Units& u) {
        const V state = V::load(u.hidden);
        if constexpr (first == 0) {
            (sigmoid(gate[0]) * state).store(u.seen);
            sigmoid(gate[1]).store(u.kept);
        } else {
            const V n = hyperbolic_tangent(gate[0]);
            multiply_add(V::load(u.kept), state - n, n).store(u.hidden);
        }
    }
};

}  // namespace
}  // namespace sparsernn
