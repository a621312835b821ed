#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "arguments.h"
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

constexpr std::int64_t most_columns = (std::int64_t{1} << 31) - 1;  // as 32 bits number them

void require(bool fits, const char* what) {
    if (!fits) throw std::invalid_argument(what);
}

// Where the numbers of a matrix stand, checked once.
class Rows {
public:
    Rows(nb::handle starts, nb::handle columns, nb::handle width)
        : width_(whole(width, "width", 0, most_columns)) {
        const Argument<std::int32_t> from(starts, "starts", {any}), places(columns, "columns", {any});
        require(from.count() > 0 && from.data()[0] == 0, "starts must begin with 0");
        starts_.assign(from.data(), from.data() + from.count());
        for (std::size_t r = 1; r < starts_.size(); ++r) require(starts_[r - 1] <= starts_[r], "starts must not fall");
        require(starts_.back() == places.count(), "starts must end with the number of columns");
        for (std::int64_t k = 0; k < places.count(); ++k)
            require(places.data()[k] >= 0 && places.data()[k] < width_, "columns must be numbers from 0 to width - 1");
        columns_.assign(places.data(), places.data() + places.count());
    }

    std::int64_t height() const { return static_cast<std::int64_t>(starts_.size()) - 1; }
    std::int64_t width() const { return width_; }
    std::int64_t count() const { return static_cast<std::int64_t>(columns_.size()); }
    SparseRows about() const { return {height(), starts_.data(), columns_.data()}; }

    void product(nb::handle values, nb::handle dense, nb::handle out, nb::handle threads,
                 const std::string& instructions) const {
        with_type_of(values, "values", [&](auto type) { product_of<decltype(type)>(values, dense, out, threads, instructions); });
    }

    void sampled(nb::handle left, nb::handle from, nb::handle right, nb::handle values, nb::handle threads,
                 const std::string& instructions) const {
        with_type_of(values, "values",
                     [&](auto type) { sampled_of<decltype(type)>(left, from, right, values, threads, instructions); });
    }

private:
    template <typename T>
    void product_of(nb::handle values, nb::handle dense, nb::handle out, nb::handle threads,
                    const std::string& instructions) const {
        const Argument<T> numbers(values, "values", {count()}), vectors(dense, "dense", {any, width(), any});
        const std::int64_t time = vectors.length(0), many = vectors.length(2);
        const Argument<T> products(out, "out", {time, height(), many}, true);
        require_apart(numbers, vectors, products);
        const SparseMatrix<T> matrix{about(), numbers.data()};
        const auto kernel = sparse_rows_kernel<T>(find_instructions(instructions));
        const std::int64_t team = whole(threads, "threads", 1, most_threads);
        if (products.count() == 0) return;  // there may be any number of steps
        nb::gil_scoped_release unlocked;
        share_out(time, team, [&](std::int64_t first, std::int64_t last, std::int64_t) {
            for (std::int64_t t = first; t < last; ++t)
                kernel.product(matrix, vectors.data() + t * width() * many, products.data() + t * height() * many, many);
        });
    }

    template <typename T>
    void sampled_of(nb::handle left, nb::handle from, nb::handle right, nb::handle values, nb::handle threads,
                    const std::string& instructions) const {
        const Argument<T> others(right, "right", {any, width(), any});
        const std::int64_t time = others.length(0), many = others.length(2);
        const Argument<T> ours(left, "left", {time, any, many}), sums(values, "values", {count()}, true);
        const std::int64_t rows = ours.length(1);
        require(rows >= height(), "left must have as many rows as this matrix");
        const std::int64_t above = whole(from, "from", 0, rows - height());
        require_apart(ours, others, sums);
        const auto kernel = sparse_rows_kernel<T>(find_instructions(instructions));
        const std::int64_t team = whole(threads, "threads", 1, most_threads), steps = many == 0 ? 0 : time;
        if (count() == 0) return;  // there may be any number of steps
        nb::gil_scoped_release unlocked;
        std::vector<T> parts(columns_.size() * static_cast<std::size_t>(kernel.lanes));
        share_out(height(), team, [&](std::int64_t first, std::int64_t last, std::int64_t) {
            for (std::int64_t t = 0; t < steps; ++t)
                kernel.sampled(about(), first, last, ours.data() + (t * rows + above) * many,
                               others.data() + t * width() * many, many, parts.data());
            kernel.total(parts.data(), starts_[static_cast<std::size_t>(first)], starts_[static_cast<std::size_t>(last)],
                         sums.data());
        });
    }

    std::vector<std::int32_t> starts_, columns_;
    std::int64_t width_;
};

// A matrix that a cell needs, as Python has it: where its numbers stand, and they.
template <typename T>
class Matrix {
public:
    Matrix(const Rows* rows, nb::handle values, const char* name, std::int64_t height, std::int64_t width)
        : rows_(rows), values_(values, name, rows != nullptr, {rows == nullptr ? 0 : rows->count()}) {
        if (rows == nullptr ? height > 0 : rows->height() != height || rows->width() != width)
            throw std::invalid_argument(std::string(name) + " must belong to a matrix of shape [" + std::to_string(height) +
                                        ", " + std::to_string(width) + "]");
    }
    SparseMatrix<T> about() const {
        static const std::int32_t nothing[] = {0};
        if (rows_ == nullptr) return {{0, nothing, nothing}, nullptr};
        return {rows_->about(), values_.data()};
    }
    Extent extent() const { return values_.extent(); }

private:
    const Rows* rows_;
    OptionalArgument<T> values_;
};

template <typename T>
const SparseLayerKernel<T>& kernel_of(const SparseLayerKernels<T>& kernels, const std::string& cell) {
    if (cell == "gru_reset_before") return kernels.gru_reset_before;
    if (cell == "gru_reset_after") return kernels.gru_reset_after;
    if (cell == "lstm") return kernels.lstm;
    if (cell == "rnn_tanh") return kernels.rnn_tanh;
    if (cell == "rnn_relu") return kernels.rnn_relu;
    throw std::invalid_argument("there is no cell " + cell);
}

// What is added to a number of steps must not pass the largest number.
std::int64_t and_one(std::int64_t time) {
    require(time < most_columns, "x and by_states must have fewer than 2147483647 steps");
    return time + 1;
}

void layer_forward(const std::string& cell, const Rows& input, nb::handle of_input, const Rows& recurrent,
                   nb::handle of_recurrent, const Rows* inner, nb::handle of_inner, nb::handle bias,
                   nb::handle inner_bias, nb::handle x, nb::handle activations, nb::handle kept, nb::handle states,
                   nb::handle memories, nb::handle threads, const std::string& instructions) {
    with_type_of(x, "x", [&](auto type) {
        using T = decltype(type);
        const auto kernels = sparse_layer_kernels<T>(find_instructions(instructions));
        const SparseLayerKernel<T>& kernel = kernel_of(kernels, cell);
        const std::int64_t gates = kernel.gates, inside = kernel.inner_gates;
        const Argument<T> vectors(x, "x", {any, any, any});
        const std::int64_t time = vectors.length(0), inputs = vectors.length(1), batch = vectors.length(2);
        const Argument<T> all_states(states, "states", {and_one(time), any, batch}, true);
        const std::int64_t hidden = all_states.length(1);
        require(hidden <= most_columns / 4, "states must have fewer units");
        const Matrix<T> by_input(&input, of_input, "of_input", gates * hidden, inputs);
        const Matrix<T> by_state(&recurrent, of_recurrent, "of_recurrent", (gates - inside) * hidden, hidden);
        const Matrix<T> by_inner(inner, of_inner, "of_inner", inside * hidden, hidden);
        const OptionalArgument<T> added(bias, "bias", {gates * hidden}), added_inside(inner_bias, "inner_bias", {hidden});
        const Argument<T> made(activations, "activations", {time, gates * hidden, batch}, true);
        const OptionalArgument<T> keeps(kept, "kept", kernel.keeps, {time, hidden, batch}, true);
        const OptionalArgument<T> remembers(memories, "memories", kernel.has_memory, {time + 1, hidden, batch}, true);
        require_apart(by_input, by_state, by_inner, added, added_inside, vectors, made, keeps, all_states, remembers);
        const SparseLayer<T> layer{time,
                                   batch,
                                   inputs,
                                   hidden,
                                   by_input.about(),
                                   by_state.about(),
                                   by_inner.about(),
                                   added.data(),
                                   added_inside.data(),
                                   vectors.data(),
                                   made.data(),
                                   keeps.data(),
                                   all_states.data(),
                                   remembers.data()};
        const std::int64_t team = whole(threads, "threads", 1, most_threads);
        if (batch == 0) return;
        nb::gil_scoped_release unlocked;
        share_out(batch, team, [&](std::int64_t first, std::int64_t last, std::int64_t) { kernel.forward(layer, first, last); });
    });
}

void layer_backward(const std::string& cell, const Rows& recurrent, nb::handle of_recurrent, const Rows* inner,
                    nb::handle of_inner, nb::handle activations, nb::handle kept, nb::handle states, nb::handle memories,
                    nb::handle by_states, nb::handle by_activations, nb::handle by_products, nb::handle by_start,
                    nb::handle by_memory, nb::handle threads, const std::string& instructions) {
    with_type_of(by_states, "by_states", [&](auto type) {
        using T = decltype(type);
        const auto kernels = sparse_layer_kernels<T>(find_instructions(instructions));
        const SparseLayerKernel<T>& kernel = kernel_of(kernels, cell);
        const std::int64_t gates = kernel.gates, inside = kernel.inner_gates;
        const Argument<T> given(by_states, "by_states", {any, any, any});
        const std::int64_t time = given.length(0), hidden = given.length(1), batch = given.length(2), after = and_one(time);
        require(hidden <= most_columns / 4, "by_states must have fewer units");
        const Matrix<T> by_state(&recurrent, of_recurrent, "of_recurrent", hidden, (gates - inside) * hidden);
        const Matrix<T> by_inner(inner, of_inner, "of_inner", inside * hidden, hidden);
        const Argument<T> made(activations, "activations", {time, gates * hidden, batch});
        const OptionalArgument<T> keeps(kept, "kept", kernel.keeps, {time, hidden, batch});
        const Argument<T> all_states(states, "states", {after, hidden, batch});
        const OptionalArgument<T> remembers(memories, "memories", kernel.has_memory, {after, hidden, batch});
        const Argument<T> of_activations(by_activations, "by_activations", {time, gates * hidden, batch}, true);
        const OptionalArgument<T> of_products(by_products, "by_products", kernel.products_differ,
                                              {time, gates * hidden, batch}, true);
        const Argument<T> of_start(by_start, "by_start", {hidden, batch}, true);
        const OptionalArgument<T> of_memory(by_memory, "by_memory", kernel.has_memory, {hidden, batch}, true);
        require_apart(by_state, by_inner, made, keeps, all_states, remembers, given, of_activations, of_products, of_start,
                      of_memory);
        SparseLayer<T> layer{};
        layer.time = time, layer.hidden = hidden, layer.batch = batch;
        layer.activations = made.data(), layer.states = all_states.data();
        layer.kept = keeps.data(), layer.memories = remembers.data();
        const SparseLayerGradient<T> gradient{by_state.about(),      by_inner.about(), given.data(),    of_activations.data(),
                                              of_products.data(), of_start.data(),  of_memory.data()};
        const std::int64_t team = whole(threads, "threads", 1, most_threads);
        if (batch == 0 || hidden == 0) return;
        nb::gil_scoped_release unlocked;
        share_out(batch, team,
                  [&](std::int64_t first, std::int64_t last, std::int64_t) { kernel.backward(layer, gradient, first, last); });
    });
}

}  // namespace

void bind_sparse(nb::module_& module) {
    const char* const product = "out = matrix dense at every step; dense: [time column n]; out: [time row n].";
    const char* const sampled =
        "values[k] = sum over time of left[from + row of k] . right[column of k]; [time row or column n].";
    const char* const layer = "A recurrent layer with few weights; see sparsernn/kernels/sequence/sparse_layer.py.";
    nb::class_<Rows>(module, "SparseRows", "Where the numbers of a sparse matrix stand, row by row.")
        .def(nb::init<nb::handle, nb::handle, nb::handle>(), nb::arg("starts").none(), nb::arg("columns").none(),
             nb::arg("width").none())
        .def("product", &Rows::product, product, nb::arg("values").none(), nb::arg("dense").none(), nb::arg("out").none(),
             nb::arg("threads").none(), nb::arg("instructions"))
        .def("sampled", &Rows::sampled, sampled, nb::arg("left").none(), nb::arg("from").none(), nb::arg("right").none(),
             nb::arg("values").none(), nb::arg("threads").none(), nb::arg("instructions"));
    module.def("sparse_layer_forward", &layer_forward, layer, nb::arg("cell"), nb::arg("input"),
               nb::arg("of_input").none(), nb::arg("recurrent"), nb::arg("of_recurrent").none(), nb::arg("inner").none(),
               nb::arg("of_inner").none(), nb::arg("bias").none(), nb::arg("inner_bias").none(), nb::arg("x").none(),
               nb::arg("activations").none(), nb::arg("kept").none(), nb::arg("states").none(),
               nb::arg("memories").none(), nb::arg("threads").none(), nb::arg("instructions"));
    module.def("sparse_layer_backward", &layer_backward, layer, nb::arg("cell"), nb::arg("recurrent"),
               nb::arg("of_recurrent").none(), nb::arg("inner").none(), nb::arg("of_inner").none(),
               nb::arg("activations").none(), nb::arg("kept").none(), nb::arg("states").none(),
               nb::arg("memories").none(), nb::arg("by_states").none(), nb::arg("by_activations").none(),
               nb::arg("by_products").none(), nb::arg("by_start").none(), nb::arg("by_memory").none(),
               nb::arg("threads").none(), nb::arg("instructions"));
}

}  // namespace sparsernn
