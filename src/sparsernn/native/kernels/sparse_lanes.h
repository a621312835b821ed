#pragma once

#include <cstdint>

#include "../sparse_rows.h"

// Rows of sparse matrices times what lies side by side. Compiled once per instruction set: everything is local to the
// file that includes it.

namespace sparsernn {
namespace {

constexpr int vector_bytes = 64, vectors = 4;

// As many numbers as fit several vector registers: sums stay there while a row's numbers go by.
template <typename T>
struct Lanes {
    static constexpr int width = vector_bytes / static_cast<int>(sizeof(T));
    typedef T Vector __attribute__((vector_size(vector_bytes)));

    static inline Vector load(const T* from) {
        Vector found;
        __builtin_memcpy(&found, from, sizeof found);
        return found;
    }
    static inline void store(T* to, Vector given) { __builtin_memcpy(to, &given, sizeof given); }
};

// `many` vectors of a row of the product, added to `out`. dense has `stride` numbers a row.
template <typename T, int many>
inline void add_vectors(const SparseMatrix<T>& matrix, std::int64_t row, const T* dense, std::int64_t stride, T* out) {
    using L = Lanes<T>;
    typename L::Vector sums[many];
#pragma GCC unroll 4
    for (int i = 0; i < many; ++i) sums[i] = L::load(out + i * L::width);
    for (std::int32_t k = matrix.rows.starts[row]; k < matrix.rows.starts[row + 1]; ++k) {
        const T value = matrix.values[k];
        const T* const read = dense + matrix.rows.columns[k] * stride;
#pragma GCC unroll 4
        for (int i = 0; i < many; ++i) sums[i] += value * L::load(read + i * L::width);
    }
#pragma GCC unroll 4
    for (int i = 0; i < many; ++i) L::store(out + i * L::width, sums[i]);
}

// The same for a few numbers that do not fill a vector.
template <typename T, int many>
inline void add_few(const SparseMatrix<T>& matrix, std::int64_t row, const T* dense, std::int64_t stride, T* out) {
    T sums[many];
    for (int i = 0; i < many; ++i) sums[i] = out[i];
    for (std::int32_t k = matrix.rows.starts[row]; k < matrix.rows.starts[row + 1]; ++k) {
        const T value = matrix.values[k];
        const T* const read = dense + matrix.rows.columns[k] * stride;
        for (int i = 0; i < many; ++i) sums[i] += value * read[i];
    }
    for (int i = 0; i < many; ++i) out[i] = sums[i];
}

// out += a row of matrix dense, `count` numbers of it.
template <typename T>
inline void add_row(const SparseMatrix<T>& matrix, std::int64_t row, const T* dense, std::int64_t stride, T* out,
                    std::int64_t count) {
    constexpr std::int64_t width = Lanes<T>::width;
    std::int64_t j = 0;
    for (; j + vectors * width <= count; j += vectors * width)
        add_vectors<T, vectors>(matrix, row, dense + j, stride, out + j);
    const std::int64_t left = (count - j) / width;
    if (left == 3) add_vectors<T, 3>(matrix, row, dense + j, stride, out + j);
    if (left == 2) add_vectors<T, 2>(matrix, row, dense + j, stride, out + j);
    if (left == 1) add_vectors<T, 1>(matrix, row, dense + j, stride, out + j);
    j += left * width;
    if (j + width / 2 <= count) add_few<T, static_cast<int>(width / 2)>(matrix, row, dense + j, stride, out + j), j += width / 2;
    if (j + width / 4 <= count) add_few<T, static_cast<int>(width / 4)>(matrix, row, dense + j, stride, out + j), j += width / 4;
    for (; j < count; ++j) add_few<T, 1>(matrix, row, dense + j, stride, out + j);
}

// The products of two rows, lane by lane, added to `width` sums.
template <typename T>
inline void add_products(const T* left, const T* right, std::int64_t count, T* sums) {
    using L = Lanes<T>;
    typename L::Vector found = L::load(sums);
    std::int64_t j = 0;
    for (; j + vectors * L::width <= count; j += vectors * L::width) {
        typename L::Vector parts[vectors];
#pragma GCC unroll 4
        for (int i = 0; i < vectors; ++i) parts[i] = L::load(left + j + i * L::width) * L::load(right + j + i * L::width);
        found += (parts[0] + parts[1]) + (parts[2] + parts[3]);
    }
    for (; j + L::width <= count; j += L::width) found += L::load(left + j) * L::load(right + j);
    L::store(sums, found);
    for (; j < count; ++j) sums[0] += left[j] * right[j];
}

}  // namespace
}  // namespace sparsernn
