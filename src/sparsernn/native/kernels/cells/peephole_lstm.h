#pragma once

#include <cstdint>

namespace sparsernn {
namespace {

// i, f = s(.. + p c), g = tanh(..), c' = f c + i g, o = s(.. + p c'), h' = o tanh(c'); at inference alone.
struct PeepholeLstm {
    static constexpr std::int64_t gates = 4, outer_gates = 4, inner_gates = 0, diagonals = 3;
    static constexpr bool has_memory = true, has_levels = false, products_differ = false;

    // Sixteen units of one sequence, once their gates are there; see ../recurrence.cpp.
    template <int first, typename V, typename Units>
    static inline void units(const V* gate, const float*, const Units& u) {
        const auto seeing = [&](int number, const V& product, const V& memory) {
            return multiply_add(V::load(u.diagonals + number * lanes), memory, product);
        };
        const V old = V::load(u.memory), input = seeing(0, gate[0], old), forget = seeing(1, gate[1], old);
        const V memory = multiply_add(sigmoid(forget), old, gated_tangent(input, gate[2]));
        memory.store(u.memory);
        gated_tangent(seeing(2, gate[3], memory), memory).store(u.hidden);
    }
};

}  // namespace
}  // namespace sparsernn
