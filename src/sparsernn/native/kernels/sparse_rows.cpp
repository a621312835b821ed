#include "sparse_lanes.h"

namespace sparsernn {
namespace {

template <typename T>
void product(const SparseMatrix<T>& matrix, const T* dense, T* out, std::int64_t count) {
    for (std::int64_t row = 0; row < matrix.rows.rows; ++row) {
        T* const made = out + row * count;
        for (std::int64_t j = 0; j < count; ++j) made[j] = T(0);
        add_row(matrix, row, dense, count, made, count);
    }
}

template <typename T>
void sampled(const SparseRows& rows, std::int64_t first, std::int64_t last, const T* left, const T* right,
             std::int64_t count, T* sums) {
    for (std::int64_t row = first; row < last; ++row)
        for (std::int32_t k = rows.starts[row]; k < rows.starts[row + 1]; ++k)
            add_products(left + row * count, right + rows.columns[k] * count, count, sums + k * Lanes<T>::width);
}

template <typename T>
void total(const T* sums, std::int64_t first, std::int64_t last, T* values) {
    for (std::int64_t k = first; k < last; ++k) {
        T sum = T(0);
        for (int i = 0; i < Lanes<T>::width; ++i) sum += sums[k * Lanes<T>::width + i];
        values[k] = sum;
    }
}

}  // namespace

namespace SPARSERNN_INSTRUCTIONS {

template <typename T>
SparseRowsKernel<T> sparse_rows_kernel() {
    return {&product<T>, &sampled<T>, &total<T>, Lanes<T>::width};
}

template SparseRowsKernel<float> sparse_rows_kernel<float>();
#if defined(SPARSERNN_DOUBLE)
template SparseRowsKernel<double> sparse_rows_kernel<double>();
#endif

}  // namespace SPARSERNN_INSTRUCTIONS
}  // namespace sparsernn
