#include "../sparse_layer.h"

#include "cells/gru_reset_after.h"
#include "cells/gru_reset_before.h"
#include "cells/lstm.h"
#include "cells/rnn.h"

namespace sparsernn {
namespace {

template <typename Cell, typename T>
void forward(const SparseLayer<T>& layer, std::int64_t first, std::int64_t last) {
    for (std::int64_t t = 0; t < layer.time; ++t)
        Cell::forward(Step<T>(layer, t, first, last - first, Cell::gates));
}

template <typename Cell, typename T>
void backward(const SparseLayer<T>& layer, const SparseLayerGradient<T>& gradient, std::int64_t first,
              std::int64_t last) {
    for (std::int64_t unit = 0; unit < layer.hidden; ++unit)
        fill(gradient.start + unit * layer.batch + first, T(0), last - first);
    for (std::int64_t t = layer.time; t-- > 0;)
        Cell::backward(StepBack<T>(layer, gradient, t, first, last - first, Cell::gates));
}

template <typename Cell, typename T>
SparseLayerKernel<T> kernel_of() {
    return {&forward<Cell, T>, &backward<Cell, T>, Cell::gates,           Cell::inner_gates,
            Cell::has_memory,  Cell::keeps,        Cell::products_differ};
}

}  // namespace

namespace SPARSERNN_INSTRUCTIONS {

template <typename T>
SparseLayerKernels<T> sparse_layer_kernels() {
    return {kernel_of<GruResetBefore, T>(), kernel_of<GruResetAfter, T>(), kernel_of<Lstm, T>(),
            kernel_of<Rnn<false>, T>(), kernel_of<Rnn<true>, T>()};
}

template SparseLayerKernels<float> sparse_layer_kernels<float>();
#if defined(SPARSERNN_DOUBLE)
template SparseLayerKernels<double> sparse_layer_kernels<double>();
#endif

}  // namespace SPARSERNN_INSTRUCTIONS
}  // namespace sparsernn
