#pragma once

#include "../../sparse_layer.h"
#include "../elementary.h"
#include "../sparse_lanes.h"

// What the cells' headers share. Compiled once per instruction set: everything is local to the file that includes it.

namespace sparsernn {
namespace {

template <typename T>
inline void fill(T* to, T value, std::int64_t count) {
    for (std::int64_t j = 0; j < count; ++j) to[j] = value;
}

template <typename T>
inline T hyperbolic_tangent(T x) {
    return T(2) * sigmoid(T(2) * x) - T(1);
}

// Some sequences at one step of a layer: where their numbers lie.
template <typename T>
struct Step {
    const SparseLayer<T>& layer;
    std::int64_t batch, hidden, count;
    const T *x, *before, *memory;
    T *after, *memory_after, *gates, *kept;

    Step(const SparseLayer<T>& of, std::int64_t t, std::int64_t first, std::int64_t count_, std::int64_t gate_count)
        : layer(of), batch(of.batch), hidden(of.hidden), count(count_) {
        x = of.x == nullptr ? nullptr : of.x + t * of.inputs * batch + first;
        before = of.states + t * hidden * batch + first;
        after = of.states + (t + 1) * hidden * batch + first;
        memory = of.memories == nullptr ? nullptr : of.memories + t * hidden * batch + first;
        memory_after = of.memories == nullptr ? nullptr : of.memories + (t + 1) * hidden * batch + first;
        gates = of.activations + t * gate_count * hidden * batch + first;
        kept = of.kept == nullptr ? nullptr : of.kept + t * hidden * batch + first;
    }

    T* row(T* array, std::int64_t number) const { return array + number * batch; }
    const T* row(const T* array, std::int64_t number) const { return array + number * batch; }

    // What the input makes of a row of the gates.
    void project(std::int64_t gate_row, T* out) const {
        fill(out, layer.bias == nullptr ? T(0) : layer.bias[gate_row], count);
        add_row(layer.input, gate_row, x, batch, out, count);
    }

    // Row `row` of the product of a matrix with a state, added.
    void multiply(const SparseMatrix<T>& matrix, std::int64_t row_number, const T* state, T* out) const {
        add_row(matrix, row_number, state, batch, out, count);
    }
};

// The same on the way back: gradients of the states after the step come in, those of the states before it go out.
template <typename T>
struct StepBack : Step<T> {
    const SparseLayerGradient<T>& gradient;
    const T* given;
    T *made, *products, *wanted, *wanted_memory;

    StepBack(const SparseLayer<T>& of, const SparseLayerGradient<T>& by, std::int64_t t, std::int64_t first,
             std::int64_t count_, std::int64_t gate_count)
        : Step<T>(of, t, first, count_, gate_count), gradient(by) {
        const std::int64_t step = t * this->hidden * this->batch + first;
        given = by.states + step;
        made = by.activations + t * gate_count * this->hidden * this->batch + first;
        products = by.products == nullptr ? made : by.products + t * gate_count * this->hidden * this->batch + first;
        wanted = by.start + first;
        wanted_memory = by.memory == nullptr ? nullptr : by.memory + first;
    }

    // Adds what the products with the state hand back to the state that they read.
    void return_products() const {
        for (std::int64_t unit = 0; unit < this->hidden; ++unit)
            this->multiply(gradient.recurrent, unit, products, this->row(wanted, unit));
    }
};

}  // namespace
}  // namespace sparsernn
