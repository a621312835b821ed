#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>
#include <vector>

#include "dispatch.h"
#include "modules.h"
#include "sparse_gru.h"
#include "sparse_rows.h"
#include "team.h"

namespace nb = nanobind;

namespace sparsernn {

SPARSERNN_DISPATCH(SparseRowsKernel, sparse_rows_kernel)
SPARSERNN_DISPATCH(SparseGruKernel, sparse_gru_kernel)

namespace {

template <typename T, std::size_t dimensions>
using Array = nb::ndarray<T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;
using Numbers = Array<const std::int32_t, 1>;

void check(bool fits) {
    if (!fits) throw nb::value_error("sparse rows: shapes disagree");
}

template <typename A, typename... Sizes>
void check_shape(const A& array, Sizes... sizes) {
    std::size_t axis = 0;
    check((... && (array.shape(axis++) == static_cast<std::size_t>(sizes))));
}

// Where the numbers of a matrix stand, checked once.
class Rows {
public:
    Rows(const Numbers& starts, const Numbers& columns, std::size_t width)
        : starts_(starts.data(), starts.data() + starts.shape(0)),
          columns_(columns.data(), columns.data() + columns.shape(0)),
          width_(width) {
        check(!starts_.empty() && starts_.front() == 0 && static_cast<std::size_t>(starts_.back()) == columns_.size());
        for (std::size_t r = 1; r < starts_.size(); ++r) check(starts_[r - 1] <= starts_[r]);
        for (const std::int32_t column : columns_) check(column >= 0 && static_cast<std::size_t>(column) < width_);
    }

    std::size_t height() const { return starts_.size() - 1; }
    std::size_t width() const { return width_; }

    SparseRows about() const { return {static_cast<std::int64_t>(height()), starts_.data(), columns_.data()}; }

    template <typename T>
    SparseMatrix<T> with(const Array<const T, 1>& values) const {
        check(values.shape(0) == columns_.size());
        return {about(), values.data()};
    }

    template <typename T>
    void product(const Array<const T, 1>& values, const Array<const T, 3>& dense, const Array<T, 3>& out, int threads,
                 const std::string& instructions) const {
        const std::size_t time = dense.shape(0), count = dense.shape(2);
        check_shape(dense, time, width(), count);
        check_shape(out, time, height(), count);
        const SparseMatrix<T> matrix = with<T>(values);
        const auto kernel = sparse_rows_kernel<T>(find_instructions(instructions));
        nb::gil_scoped_release unlocked;
        share_out(static_cast<std::int64_t>(time), threads, [&](std::int64_t first, std::int64_t last) {
            for (auto t = static_cast<std::size_t>(first); t < static_cast<std::size_t>(last); ++t)
                kernel.product(matrix, dense.data() + t * width() * count, out.data() + t * height() * count,
                               static_cast<std::int64_t>(count));
        });
    }

    template <typename T>
    void sampled(const Array<const T, 3>& left, std::size_t from, const Array<const T, 3>& right,
                 const Array<T, 1>& values, int threads, const std::string& instructions) const {
        const std::size_t time = right.shape(0), count = right.shape(2), rows = left.shape(1);
        check_shape(left, time, rows, count);
        check_shape(right, time, width(), count);
        check(from + height() <= rows && values.shape(0) == columns_.size());
        const auto kernel = sparse_rows_kernel<T>(find_instructions(instructions));
        nb::gil_scoped_release unlocked;
        std::vector<T> sums(columns_.size() * static_cast<std::size_t>(kernel.lanes));
        share_out(static_cast<std::int64_t>(height()), threads, [&](std::int64_t first, std::int64_t last) {
            for (std::size_t t = 0; t < time; ++t)
                kernel.sampled(about(), first, last, left.data() + (t * rows + from) * count,
                               right.data() + t * width() * count, static_cast<std::int64_t>(count), sums.data());
            kernel.total(sums.data(), starts_[static_cast<std::size_t>(first)], starts_[static_cast<std::size_t>(last)],
                         values.data());
        });
    }

private:
    std::vector<std::int32_t> starts_, columns_;
    std::size_t width_;
};

// A matrix as Python has it: where its numbers stand, and they.
template <typename T>
struct Given {
    const Rows& rows;
    const Array<const T, 1>& values;

    SparseMatrix<T> shaped(std::size_t height, std::size_t width) const {
        check(rows.height() == height && rows.width() == width);
        return rows.with<T>(values);
    }
};

template <typename T>
SparseGru<T> gru_of(Given<T> input, Given<T> gates, Given<T> candidate, const std::optional<Array<const T, 1>>& bias,
                    const Array<const T, 3>& x, T* activations, T* resets, T* states) {
    const std::size_t hidden = candidate.rows.height();
    if (bias) check_shape(*bias, 3 * hidden);
    SparseGru<T> gru{};
    gru.time = static_cast<std::int64_t>(x.shape(0)), gru.inputs = static_cast<std::int64_t>(x.shape(1));
    gru.batch = static_cast<std::int64_t>(x.shape(2)), gru.hidden = static_cast<std::int64_t>(hidden);
    gru.input = input.shaped(3 * hidden, x.shape(1)), gru.gates = gates.shaped(2 * hidden, hidden);
    gru.candidate = candidate.shaped(hidden, hidden);
    gru.bias = bias ? bias->data() : nullptr, gru.x = x.data();
    gru.activations = activations, gru.resets = resets, gru.states = states;
    return gru;
}

template <typename T>
void gru_forward(const Rows& input, const Array<const T, 1>& of_input, const Rows& gates,
                 const Array<const T, 1>& of_gates, const Rows& candidate, const Array<const T, 1>& of_candidate,
                 const std::optional<Array<const T, 1>>& bias, const Array<const T, 3>& x,
                 const Array<T, 3>& activations, const Array<T, 3>& resets, const Array<T, 3>& states, int threads,
                 const std::string& instructions) {
    const SparseGru<T> gru = gru_of<T>({input, of_input}, {gates, of_gates}, {candidate, of_candidate}, bias, x,
                                       activations.data(), resets.data(), states.data());
    check_shape(activations, gru.time, 3 * gru.hidden, gru.batch);
    check_shape(resets, gru.time, gru.hidden, gru.batch);
    check_shape(states, gru.time + 1, gru.hidden, gru.batch);
    const auto kernel = sparse_gru_kernel<T>(find_instructions(instructions));
    nb::gil_scoped_release unlocked;
    share_out(gru.batch, threads, [&](std::int64_t first, std::int64_t last) { kernel.forward(gru, first, last); });
}

template <typename T>
void gru_backward(const Rows& gates, const Array<const T, 1>& of_gates, const Rows& candidate,
                  const Array<const T, 1>& of_candidate, const Array<const T, 3>& activations,
                  const Array<const T, 3>& states, const Array<const T, 3>& by_states,
                  const Array<T, 3>& by_activations, const Array<T, 2>& by_start, int threads,
                  const std::string& instructions) {
    SparseGru<T> gru{};
    const std::size_t time = by_states.shape(0), hidden = by_states.shape(1), batch = by_states.shape(2);
    check_shape(activations, time, 3 * hidden, batch);
    check_shape(by_activations, time, 3 * hidden, batch);
    check_shape(states, time + 1, hidden, batch);
    check_shape(by_start, hidden, batch);
    gru.time = static_cast<std::int64_t>(time), gru.hidden = static_cast<std::int64_t>(hidden);
    gru.batch = static_cast<std::int64_t>(batch);
    gru.activations = const_cast<T*>(activations.data()), gru.states = const_cast<T*>(states.data());
    const SparseGruGradient<T> gradient{Given<T>{gates, of_gates}.shaped(hidden, 2 * hidden),
                                        Given<T>{candidate, of_candidate}.shaped(hidden, hidden), by_states.data(),
                                        by_activations.data(), by_start.data()};
    const auto kernel = sparse_gru_kernel<T>(find_instructions(instructions));
    nb::gil_scoped_release unlocked;
    share_out(gru.batch, threads,
              [&](std::int64_t first, std::int64_t last) { kernel.backward(gru, gradient, first, last); });
}

}  // namespace

void bind_sparse(nb::module_& module) {
    const char* const product = "out = matrix dense at every step; dense: [time column n]; out: [time row n].";
    const char* const sampled =
        "values[k] = sum over time of left[from + row of k] . right[column of k]; [time row or column n].";
    nb::class_<Rows>(module, "SparseRows", "Where the numbers of a sparse matrix stand, row by row.")
        .def(nb::init<const Numbers&, const Numbers&, std::size_t>(), nb::arg("starts"), nb::arg("columns"), nb::arg("width"))
        .def("product", &Rows::product<float>, product)
        .def("product", &Rows::product<double>, product)
        .def("sampled", &Rows::sampled<float>, sampled)
        .def("sampled", &Rows::sampled<double>, sampled);
    const char* const gru = "A GRU, the reset gate before the product; see sparsernn/kernels/sequence/gru_reset_before_sparse.py.";
    module.def("sparse_gru_forward", &gru_forward<float>, gru);
    module.def("sparse_gru_forward", &gru_forward<double>, gru);
    module.def("sparse_gru_backward", &gru_backward<float>, gru);
    module.def("sparse_gru_backward", &gru_backward<double>, gru);
}

}  // namespace sparsernn
