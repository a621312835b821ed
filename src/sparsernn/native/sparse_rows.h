#pragma once

#include <cstdint>

namespace sparsernn {

// Where the numbers of a sparse matrix stand: those of row r are starts[r] to starts[r + 1] - 1, in those columns.
struct SparseRows {
    std::int64_t rows;
    const std::int32_t* starts;   // [rows + 1]
    const std::int32_t* columns;  // [numbers]
};

template <typename T>
struct SparseMatrix {
    SparseRows rows;
    const T* values;
};

template <typename T>
struct SparseRowsKernel {
    // out = matrix dense. dense: [columns count]; out: [rows count]
    void (*product)(const SparseMatrix<T>& matrix, const T* dense, T* out, std::int64_t count);
    // To each number, `lanes` sums are added that together are the product of the two rows which it joins; `total`
    // adds them up. Rows `first` to `last - 1`. left: [rows count]; right: [columns count]; sums: [numbers lanes]
    void (*sampled)(const SparseRows& rows, std::int64_t first, std::int64_t last, const T* left, const T* right,
                    std::int64_t count, T* sums);
    void (*total)(const T* sums, std::int64_t first, std::int64_t last, T* values);
    std::int64_t lanes;
};

}  // namespace sparsernn
