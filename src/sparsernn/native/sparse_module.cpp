#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>
#include <vector>

#include "dispatch.h"
#include "modules.h"
#include "sparse_layer.h"
#include "sparse_rows.h"
#include "team.h"

namespace nb = nanobind;

namespace sparsernn {

SPARSERNN_DISPATCH(SparseRowsKernel, sparse_rows_kernel)
SPARSERNN_DISPATCH(SparseLayerKernels, sparse_layer_kernels)

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

// A matrix as Python has it: where its numbers stand, and they; none where a cell has none.
template <typename T>
SparseMatrix<T> matrix_of(const Rows* rows, const std::optional<Array<const T, 1>>& values, std::size_t height,
                          std::size_t width) {
    static const std::int32_t nothing[] = {0};
    if (rows == nullptr || height == 0) {
        check(rows == nullptr && height == 0);
        return {{0, nothing, nothing}, nullptr};
    }
    check(values.has_value() && rows->height() == height && rows->width() == width);
    return rows->with<T>(*values);
}

// The numbers of an array that a cell needs, or null where it does not.
template <typename A, typename... Sizes>
auto data_of(const std::optional<A>& array, bool needed, Sizes... sizes) -> decltype(array->data()) {
    check(array.has_value() == needed);
    if (!array) return nullptr;
    check_shape(*array, sizes...);
    return array->data();
}

template <typename T>
const SparseLayerKernel<T>& kernel_of(const SparseLayerKernels<T>& kernels, const std::string& cell) {
    if (cell == "gru_reset_before") return kernels.gru_reset_before;
    if (cell == "gru_reset_after") return kernels.gru_reset_after;
    if (cell == "lstm") return kernels.lstm;
    if (cell == "rnn_tanh") return kernels.rnn_tanh;
    if (cell == "rnn_relu") return kernels.rnn_relu;
    throw nb::value_error("sparse layer: no cell of that name");
}

template <typename T>
void layer_forward(const std::string& cell, const Rows& input, const std::optional<Array<const T, 1>>& of_input,
                   const Rows& recurrent, const std::optional<Array<const T, 1>>& of_recurrent, const Rows* inner,
                   const std::optional<Array<const T, 1>>& of_inner, const std::optional<Array<const T, 1>>& bias,
                   const std::optional<Array<const T, 1>>& inner_bias, const Array<const T, 3>& x,
                   const Array<T, 3>& activations, const std::optional<Array<T, 3>>& kept, const Array<T, 3>& states,
                   const std::optional<Array<T, 3>>& memories, int threads, const std::string& instructions) {
    const auto kernels = sparse_layer_kernels<T>(find_instructions(instructions));
    const SparseLayerKernel<T>& kernel = kernel_of(kernels, cell);
    const std::size_t time = x.shape(0), inputs = x.shape(1), batch = x.shape(2), hidden = states.shape(1);
    const std::size_t gates = static_cast<std::size_t>(kernel.gates), inside = static_cast<std::size_t>(kernel.inner_gates);
    SparseLayer<T> layer{};
    layer.time = static_cast<std::int64_t>(time), layer.inputs = static_cast<std::int64_t>(inputs);
    layer.batch = static_cast<std::int64_t>(batch), layer.hidden = static_cast<std::int64_t>(hidden);
    layer.input = matrix_of<T>(&input, of_input, gates * hidden, inputs);
    layer.recurrent = matrix_of<T>(&recurrent, of_recurrent, (gates - inside) * hidden, hidden);
    layer.inner = matrix_of<T>(inner, of_inner, inside * hidden, hidden);
    layer.bias = data_of(bias, bias.has_value(), gates * hidden);
    layer.inner_bias = data_of(inner_bias, inner_bias.has_value(), hidden);
    check_shape(activations, time, gates * hidden, batch);
    check_shape(states, time + 1, hidden, batch);
    layer.x = x.data(), layer.activations = activations.data(), layer.states = states.data();
    layer.kept = data_of(kept, kernel.keeps, time, hidden, batch);
    layer.memories = data_of(memories, kernel.has_memory, time + 1, hidden, batch);
    nb::gil_scoped_release unlocked;
    share_out(layer.batch, threads, [&](std::int64_t first, std::int64_t last) { kernel.forward(layer, first, last); });
}

template <typename T>
void layer_backward(const std::string& cell, const Rows& recurrent, const std::optional<Array<const T, 1>>& of_recurrent,
                    const Rows* inner, const std::optional<Array<const T, 1>>& of_inner,
                    const Array<const T, 3>& activations, const std::optional<Array<const T, 3>>& kept,
                    const Array<const T, 3>& states, const std::optional<Array<const T, 3>>& memories,
                    const Array<const T, 3>& by_states, const Array<T, 3>& by_activations,
                    const std::optional<Array<T, 3>>& by_products, const Array<T, 2>& by_start,
                    const std::optional<Array<T, 2>>& by_memory, int threads, const std::string& instructions) {
    const auto kernels = sparse_layer_kernels<T>(find_instructions(instructions));
    const SparseLayerKernel<T>& kernel = kernel_of(kernels, cell);
    const std::size_t time = by_states.shape(0), hidden = by_states.shape(1), batch = by_states.shape(2);
    const std::size_t gates = static_cast<std::size_t>(kernel.gates), inside = static_cast<std::size_t>(kernel.inner_gates);
    check_shape(activations, time, gates * hidden, batch);
    check_shape(by_activations, time, gates * hidden, batch);
    check_shape(states, time + 1, hidden, batch);
    check_shape(by_start, hidden, batch);
    SparseLayer<T> layer{};
    layer.time = static_cast<std::int64_t>(time), layer.hidden = static_cast<std::int64_t>(hidden);
    layer.batch = static_cast<std::int64_t>(batch);
    layer.activations = const_cast<T*>(activations.data()), layer.states = const_cast<T*>(states.data());
    layer.kept = const_cast<T*>(data_of(kept, kernel.keeps, time, hidden, batch));
    layer.memories = const_cast<T*>(data_of(memories, kernel.has_memory, time + 1, hidden, batch));
    const SparseLayerGradient<T> gradient{matrix_of<T>(&recurrent, of_recurrent, hidden, (gates - inside) * hidden),
                                          matrix_of<T>(inner, of_inner, inside * hidden, hidden),
                                          by_states.data(),
                                          by_activations.data(),
                                          data_of(by_products, kernel.products_differ, time, gates * hidden, batch),
                                          by_start.data(),
                                          data_of(by_memory, kernel.has_memory, hidden, batch)};
    nb::gil_scoped_release unlocked;
    share_out(layer.batch, threads,
              [&](std::int64_t first, std::int64_t last) { kernel.backward(layer, gradient, first, last); });
}

template <typename T>
void bind_layer(nb::module_& module) {
    const char* const about = "A recurrent layer with few weights; see sparsernn/kernels/sequence/sparse_layer.py.";
    module.def("sparse_layer_forward", &layer_forward<T>, about, nb::arg("cell"), nb::arg("input"),
               nb::arg("of_input").none(), nb::arg("recurrent"), nb::arg("of_recurrent").none(),
               nb::arg("inner").none(), nb::arg("of_inner").none(), nb::arg("bias").none(),
               nb::arg("inner_bias").none(), nb::arg("x").noconvert(), nb::arg("activations").noconvert(),
               nb::arg("kept").none().noconvert(), nb::arg("states").noconvert(),
               nb::arg("memories").none().noconvert(), nb::arg("threads"), nb::arg("instructions"));
    module.def("sparse_layer_backward", &layer_backward<T>, about, nb::arg("cell"), nb::arg("recurrent"),
               nb::arg("of_recurrent").none(), nb::arg("inner").none(), nb::arg("of_inner").none(),
               nb::arg("activations").noconvert(), nb::arg("kept").none().noconvert(), nb::arg("states").noconvert(),
               nb::arg("memories").none().noconvert(), nb::arg("by_states").noconvert(),
               nb::arg("by_activations").noconvert(), nb::arg("by_products").none().noconvert(),
               nb::arg("by_start").noconvert(), nb::arg("by_memory").none().noconvert(), nb::arg("threads"),
               nb::arg("instructions"));
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
    bind_layer<float>(module);
    bind_layer<double>(module);
}

}  // namespace sparsernn
