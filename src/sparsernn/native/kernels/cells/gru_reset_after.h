#pragma once

#include "lanes.h"

namespace sparsernn {
namespace {

// r, z = s(..), n = tanh(W x + b + r (U h + b')), h' = (1 - z) n + z h; what is kept is U h + b'.
struct GruResetAfter {
    static constexpr std::int64_t gates = 3, outer_gates = 2, inner_gates = 0, diagonals = 0;
    static constexpr bool has_memory = false, has_levels = false, keeps = true, products_differ = true;

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
            const T* __restrict reset = s.row(s.gates, unit);
            const T* __restrict update = s.row(s.gates, hidden + unit);
            const T* __restrict state = s.row(s.before, unit);
            T* __restrict candidate = s.row(s.gates, 2 * hidden + unit);
            T* __restrict product = s.row(s.kept, unit);
            T* __restrict next = s.row(s.after, unit);
            s.project(2 * hidden + unit, candidate);
            fill(product, s.layer.inner_bias == nullptr ? T(0) : s.layer.inner_bias[unit], count);
            s.multiply(s.layer.recurrent, 2 * hidden + unit, s.before, product);
            SPARSERNN_LANES
            for (std::int64_t j = 0; j < count; ++j) {
                const T n = hyperbolic_tangent(candidate[j] + reset[j] * product[j]);
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
            const T* __restrict product = s.row(s.kept, unit);
            const T* __restrict reset = s.row(s.gates, unit);
            const T* __restrict update = s.row(s.gates, hidden + unit);
            const T* __restrict candidate = s.row(s.gates, 2 * hidden + unit);
            T* __restrict by_reset = s.row(s.made, unit);
            T* __restrict by_update = s.row(s.made, hidden + unit);
            T* __restrict by_candidate = s.row(s.made, 2 * hidden + unit);
            T* __restrict reset_product = s.row(s.products, unit);
            T* __restrict update_product = s.row(s.products, hidden + unit);
            T* __restrict candidate_product = s.row(s.products, 2 * hidden + unit);
            T* __restrict want = s.row(s.wanted, unit);
            for (std::int64_t j = 0; j < count; ++j) {
                const T all = want[j] + more[j], r = reset[j], z = update[j], n = candidate[j];
                const T inside = all * (T(1) - z) * (T(1) - n * n);
                by_candidate[j] = inside;
                candidate_product[j] = inside * r;
                by_reset[j] = reset_product[j] = inside * product[j] * r * (T(1) - r);
                by_update[j] = update_product[j] = all * (state[j] - n) * z * (T(1) - z);
                want[j] = all * z;
            }
        }
        s.return_products();
    }

    // Sixteen units of one sequence at inference; gate[2] is W x + b, `product` U h + b'. See ../recurrence.cpp.
    template <int first, typename V, typename Units>
    static inline void units(const V* gate, const float* product, const Units& u) {
        const V n = hyperbolic_tangent(multiply_add(sigmoid(gate[0]), V::load(product), gate[2]));
        multiply_add(sigmoid(gate[1]), V::load(u.hidden) - n, n).store(u.hidden);
    }
};

}  // namespace
}  // namespace sparsernn
