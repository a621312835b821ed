#pragma once

#include <cstdint>

namespace sparsernn {
namespace {

// h' = h + s(..) (tanh(..) - h), several times a step; at inference alone.
struct RecurrentHighway {
    static constexpr std::int64_t gates = 2, outer_gates = 2, inner_gates = 0, diagonals = 0;
    static constexpr bool has_memory = false, has_levels = true, products_differ = false;

    // Sixteen units of one sequence, once their gates are there; see ../recurrence.cpp.
    template <int first, typename V, typename Units>
    static inline void units(const V* gate, const float*, const Units& u) {
        const V state = V::load(u.hidden);
        multiply_add(hyperbolic_tangent(gate[0]) - state, sigmoid(gate[1]), state).store(u.hidden);
    }
};

}  // namespace
}  // namespace sparsernn
