#pragma once

#include "lanes.h"

namespace sparsernn {
namespace {

// h' = act(W x + b + U h), act = tanh or max(0, .).
template <bool rectify>
struct Rnn {
    static constexpr std::int64_t gates = 1, outer_gates = 1, inner_gates = 0, diagonals = 0;
    static constexpr bool has_memory = false, has_levels = false, keeps = false, products_differ = false;

    template <typename T>
    static void forward(const Step<T>& s) {
        for (std::int64_t unit = 0; unit < s.hidden; ++unit) {
            T* __restrict gate = s.row(s.gates, unit);
            T* __restrict next = s.row(s.after, unit);
            s.project(unit, gate);
            s.multiply(s.layer.recurrent, unit, s.before, gate);
            SPARSERNN_LANES
            for (std::int64_t j = 0; j < s.count; ++j) {
                gate[j] = rectify ? (gate[j] < T(0) ? T(0) : gate[j]) : hyperbolic_tangent(gate[j]);
                next[j] = gate[j];
            }
        }
    }

    template <typename T>
    static void backward(const StepBack<T>& s) {
        for (std::int64_t unit = 0; unit < s.hidden; ++unit) {
            const T* __restrict more = s.row(s.given, unit);
            const T* __restrict gate = s.row(s.gates, unit);
            T* __restrict made = s.row(s.made, unit);
            T* __restrict want = s.row(s.wanted, unit);
            SPARSERNN_LANES
            for (std::int64_t j = 0; j < s.count; ++j) {
                const T slope = rectify ? (gate[j] > T(0) ? T(1) : T(0)) : T(1) - gate[j] * gate[j];
                made[j] = (want[j] + more[j]) * slope;
                want[j] = T(0);
            }
        }
        s.return_products();
    }

    // Sixteen units of one sequence at inference; see ../recurrence.cpp.
    template <int first, typename V, typename Units>
    static inline void units(const V* gate, const float*, const Units& u) {
        if constexpr (rectify)
            rectified(gate[0]).store(u.hidden);
        else
            hyperbolic_tangent(gate[0]).store(u.hidden);
    }
};

}  // namespace
}  // namespace sparsernn
