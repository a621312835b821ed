#include "../sparse_gru.h"

#include "elementary.h"
#include "sparse_lanes.h"

namespace sparsernn {
namespace {

template <typename T>
inline void fill(T* to, T value, std::int64_t count) {
    for (std::int64_t j = 0; j < count; ++j) to[j] = value;
}

// Row `row` of what the gates' functions are applied to; `state` is what the recurrent matrix reads.
template <typename T>
inline void drive(const SparseGru<T>& gru, const SparseMatrix<T>& recurrent, std::int64_t row, std::int64_t gate_row,
                  const T* x, const T* state, T* out, std::int64_t count) {
    fill(out, gru.bias == nullptr ? T(0) : gru.bias[gate_row], count);
    add_row(gru.input, gate_row, x, gru.batch, out, count);
    add_row(recurrent, row, state, gru.batch, out, count);
}

template <typename T>
void step(const SparseGru<T>& gru, std::int64_t t, std::int64_t first, std::int64_t count) {
    const std::int64_t batch = gru.batch, hidden = gru.hidden;
    const T* const x = gru.x + t * gru.inputs * batch + first;
    const T* const before = gru.states + t * hidden * batch + first;
    T* const after = gru.states + (t + 1) * hidden * batch + first;
    T* const resets = gru.resets + t * hidden * batch + first;
    T* const gates = gru.activations + t * 3 * hidden * batch + first;
    for (std::int64_t row = 0; row < 2 * hidden; ++row) {
        T* __restrict gate = gates + row * batch;
        drive(gru, gru.gates, row, row, x, before, gate, count);
        for (std::int64_t j = 0; j < count; ++j) gate[j] = sigmoid(gate[j]);
    }
    for (std::int64_t unit = 0; unit < hidden; ++unit) {
        const T* __restrict gate = gates + unit * batch;
        const T* __restrict state = before + unit * batch;
        T* __restrict reset = resets + unit * batch;
        for (std::int64_t j = 0; j < count; ++j) reset[j] = gate[j] * state[j];
    }
    for (std::int64_t unit = 0; unit < hidden; ++unit) {
        const T* __restrict update = gates + (hidden + unit) * batch;
        const T* __restrict state = before + unit * batch;
        T* __restrict candidate = gates + (2 * hidden + unit) * batch;
        T* __restrict next = after + unit * batch;
        drive(gru, gru.candidate, unit, 2 * hidden + unit, x, resets, candidate, count);
        for (std::int64_t j = 0; j < count; ++j) {
            const T n = T(2) * sigmoid(T(2) * candidate[j]) - T(1);
            candidate[j] = n;
            next[j] = n + update[j] * (state[j] - n);
        }
    }
}

template <typename T>
void forward(const SparseGru<T>& gru, std::int64_t first, std::int64_t last) {
    for (std::int64_t t = 0; t < gru.time; ++t) step(gru, t, first, last - first);
}

// gradient.start holds the gradient of the states after the step, and then of those before it.
template <typename T>
void step_back(const SparseGru<T>& gru, const SparseGruGradient<T>& gradient, std::int64_t t, std::int64_t first,
               std::int64_t count) {
    const std::int64_t batch = gru.batch, hidden = gru.hidden;
    const T* const before = gru.states + t * hidden * batch + first;
    const T* const gates = gru.activations + t * 3 * hidden * batch + first;
    const T* const given = gradient.states + t * hidden * batch + first;
    T* const made = gradient.activations + t * 3 * hidden * batch + first;
    T* const wanted = gradient.start + first;
    for (std::int64_t unit = 0; unit < hidden; ++unit) {
        const T* __restrict more = given + unit * batch;
        const T* __restrict state = before + unit * batch;
        const T* __restrict update = gates + (hidden + unit) * batch;
        const T* __restrict candidate = gates + (2 * hidden + unit) * batch;
        T* __restrict by_update = made + (hidden + unit) * batch;
        T* __restrict by_candidate = made + (2 * hidden + unit) * batch;
        T* __restrict want = wanted + unit * batch;
        for (std::int64_t j = 0; j < count; ++j) {
            const T all = want[j] + more[j], z = update[j], n = candidate[j];
            by_candidate[j] = all * (T(1) - z) * (T(1) - n * n);
            by_update[j] = all * (state[j] - n) * z * (T(1) - z);
            want[j] = all * z;
        }
    }
    for (std::int64_t unit = 0; unit < hidden; ++unit) {
        const T* __restrict state = before + unit * batch;
        const T* __restrict reset = gates + unit * batch;
        T* __restrict by_reset = made + unit * batch;
        T* __restrict want = wanted + unit * batch;
        fill(by_reset, T(0), count);
        add_row(gradient.candidate, unit, made + 2 * hidden * batch, batch, by_reset, count);
        for (std::int64_t j = 0; j < count; ++j) {
            const T through = by_reset[j], r = reset[j];
            by_reset[j] = through * state[j] * r * (T(1) - r);
            want[j] += through * r;
        }
    }
    for (std::int64_t unit = 0; unit < hidden; ++unit)
        add_row(gradient.gates, unit, made, batch, wanted + unit * batch, count);
}

template <typename T>
void backward(const SparseGru<T>& gru, const SparseGruGradient<T>& gradient, std::int64_t first, std::int64_t last) {
    for (std::int64_t unit = 0; unit < gru.hidden; ++unit)
        fill(gradient.start + unit * gru.batch + first, T(0), last - first);
    for (std::int64_t t = gru.time; t-- > 0;) step_back(gru, gradient, t, first, last - first);
}

}  // namespace

namespace SPARSERNN_INSTRUCTIONS {

template <typename T>
SparseGruKernel<T> sparse_gru_kernel() {
    return {&forward<T>, &backward<T>};
}

template SparseGruKernel<float> sparse_gru_kernel<float>();
template SparseGruKernel<double> sparse_gru_kernel<double>();

}  // namespace SPARSERNN_INSTRUCTIONS
}  // namespace sparsernn
