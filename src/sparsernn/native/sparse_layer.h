#pragma once

#include <cstdint>

#include "instructions.h"
#include "sparse_rows.h"

namespace sparsernn {

// One recurrent layer with few weights over time x unit x batch: the sequences of a batch side by side. The cells'
// equations are those of sparsernn/cells/; a null pointer stands for what is not given. "Gates" counts all of a cell.
template <typename T>
struct SparseLayer {
    std::int64_t time, batch, inputs, hidden;
    SparseMatrix<T> input;         // [gates*hidden inputs]
    SparseMatrix<T> recurrent;     // [gates*hidden hidden], without the rows of `inner`
    SparseMatrix<T> inner;         // [hidden hidden], rows that read what another gate lets through; or none
    const T* bias;                 // [gates*hidden], added to what the input makes
    const T* inner_bias;           // [hidden], added to what the state makes before another gate multiplies it
    const T* x;                    // [time inputs batch]
    T* activations;                // [time gates*hidden batch]
    T* kept;                       // [time hidden batch], what a cell needs on the way back beside the activations
    T* states;                     // [time+1 hidden batch], of which the first are given
    T* memories;                   // [time+1 hidden batch], likewise, of cells that have them
};

// Gradients on the way back. Matrices are turned: [hidden gates*hidden] and [hidden hidden].
template <typename T>
struct SparseLayerGradient {
    SparseMatrix<T> recurrent, inner;
    const T* states;   // [time hidden batch]
    T* activations;    // [time gates*hidden batch], of what the gates' functions are applied to
    T* products;       // [time gates*hidden batch], of the products with the state, where they differ from these
    T* start;          // [hidden batch]
    T* memory;         // [hidden batch], first of the last memories, then of the first
};

// Sequences `first` to `last - 1` of the batch.
template <typename T>
struct SparseLayerKernel {
    void (*forward)(const SparseLayer<T>& layer, std::int64_t first, std::int64_t last);
    void (*backward)(const SparseLayer<T>& layer, const SparseLayerGradient<T>& gradient, std::int64_t first,
                     std::int64_t last);
    std::int64_t gates, inner_gates;
    bool has_memory, keeps, products_differ;
};

template <typename T>
struct SparseLayerKernels {
    SparseLayerKernel<T> gru_reset_before, gru_reset_after, lstm, rnn_tanh, rnn_relu;
};

}  // namespace sparsernn
