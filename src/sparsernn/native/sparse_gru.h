#pragma once

#include <cstdint>

#include "instructions.h"
#include "sparse_rows.h"

namespace sparsernn {

// The GRU whose reset gate acts before the product, over time x unit x batch: the sequences of a batch side by side.
// kernels/sequence/reference.py has the equations; a null pointer stands for what is not given.
template <typename T>
struct SparseGru {
    std::int64_t time, batch, inputs, hidden;
    SparseMatrix<T> input;      // [3*hidden inputs], gates r, z, n
    SparseMatrix<T> gates;      // [2*hidden hidden], r and z
    SparseMatrix<T> candidate;  // [hidden hidden]
    const T* bias;              // [3*hidden]
    const T* x;                 // [time inputs batch]
    T* activations;             // [time 3*hidden batch] gates r, z, n
    T* resets;                  // [time hidden batch] r h
    T* states;                  // [time+1 hidden batch], of which the first are given
};

// Gradients on the way back; both matrices are turned, [hidden 2*hidden] and [hidden hidden].
template <typename T>
struct SparseGruGradient {
    SparseMatrix<T> gates, candidate;
    const T* states;  // [time hidden batch]
    T* activations;   // [time 3*hidden batch], of what the gates' functions are applied to
    T* start;         // [hidden batch]
};

// Sequences `first` to `last - 1` of the batch.
template <typename T>
struct SparseGruKernel {
    void (*forward)(const SparseGru<T>& gru, std::int64_t first, std::int64_t last);
    void (*backward)(const SparseGru<T>& gru, const SparseGruGradient<T>& gradient, std::int64_t first,
                     std::int64_t last);
};

}  // namespace sparsernn
