#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "aligned.h"
#include "arguments.h"
#include "dispatch.h"
#include "modules.h"
#include "reading.h"
#include "recurrence.h"

namespace nb = nanobind;

namespace sparsernn {

SPARSERNN_DISPATCH_PLAIN(RecurrenceKernels, recurrence_kernels)
SPARSERNN_DISPATCH_PLAIN(FormatKernels, float_formats)
SPARSERNN_DISPATCH_PLAIN(ReadThrough, reading_kernel)
SPARSERNN_IN_EVERY_SET(SPARSERNN_DECLARE_PLAIN_KERNEL, FormatKernels, int8_formats)
SPARSERNN_IF_AVX512(SPARSERNN_DECLARE_PLAIN_KERNEL(avx512_vnni, FormatKernels, int8_formats))

namespace {

FormatKernels int8_formats(Instructions instructions) {
    SPARSERNN_IF_AVX512(if (instructions == Instructions::avx512_vnni) return avx512_vnni::int8_formats();)
    SPARSERNN_RETURN_UP_TO_AVX2(instructions, int8_formats)
}

FormatKernel kernel_of(Format format, Instructions instructions) {
    const FormatSizes* const sizes = &format_sizes[static_cast<std::size_t>(format)];
    for (const FormatKernel& kernel : sizes->quantised ? int8_formats(instructions) : float_formats(instructions))
        if (kernel.sizes == sizes) return kernel;
    throw std::invalid_argument("there is no kernel of this format");
}

constexpr std::int64_t most_slices = 65536;  // of a weight, as 16 bits number them
constexpr std::int64_t most_units = most_slices * lanes;
constexpr std::int64_t most_columns = (std::int64_t{1} << 31) - 1;

void require(bool fits, const char* what) {
    if (!fits) throw std::invalid_argument(what);
}

Format find_format(const std::string& name) {
    for (std::size_t i = 0; i < format_sizes.size(); ++i)
        if (name == format_sizes[i].name) return static_cast<Format>(i);
    throw std::invalid_argument("there is no format " + name);
}

// A weight of some slices and columns, checked and copied.
class Weight {
public:
    Weight(const std::string& format, nb::handle slices, nb::handle columns, nb::handle outer_runs, nb::handle starts,
           nb::handle owners, nb::handle bases, nb::handle places, nb::handle values, nb::handle indices, nb::handle scales)
        : format_(find_format(format)),
          slices_(whole(slices, "slices", 1, most_slices)),
          columns_(whole(columns, "columns", 1, most_columns)) {
        const FormatSizes& sizes = format_sizes[static_cast<std::size_t>(format_)];
        owners_ = copied<std::uint16_t>(owners, "owners", {any});
        outer_runs_ = whole(outer_runs, "outer_runs", 0, runs());
        starts_ = copied<std::uint32_t>(starts, "starts", {runs() + 1});
        if (!bases.is_none()) bases_ = copied<std::uint32_t>(bases, "bases", {runs()});
        based_ = !bases.is_none();
        const std::int64_t entries = starts_.data()[runs()];
        places_ = copied<std::uint16_t>(places, "places", {sizes.entry_indices > 0 ? runs() : entries});
        values_ = copied<std::uint8_t>(values, "values", {entries, sizes.entry_values});
        indices_ = copied<std::uint8_t>(indices, "indices", {sizes.entry_indices > 0 ? entries : 0, sizes.entry_indices});
        scales_ = copied<float>(scales, "scales", {sizes.quantised ? slices_ : 0, lanes});
        check_entries(sizes);
        if (sizes.quantised) shifts_ = shifted();
        about_ = {runs(),         outer_runs_,     starts_.data(),  owners_.data(), based_ ? bases_.data() : nullptr,
                  places_.data(), values_.data(), indices_.data(), scales_.data(), shifts_.data()};
    }

    const PackedWeight& about() const { return about_; }
    // Whether the first runs are of the first gates of each group, and the others of the others.
    bool separates(std::int64_t gates, std::int64_t outer_gates) const {
        for (std::int64_t r = 0; r < runs(); ++r)
            if ((owners_.data()[r] % gates < outer_gates) != (r < outer_runs_)) return false;
        return true;
    }
    Format format() const { return format_; }
    std::int64_t runs() const { return owners_.count(); }
    std::int64_t slices() const { return slices_; }
    std::int64_t columns() const { return columns_; }
    std::int64_t bytes() const {
        return starts_.bytes() + owners_.bytes() + bases_.bytes() + places_.bytes() + values_.bytes() + indices_.bytes() + scales_.bytes() +
               shifts_.bytes();
    }

private:
    template <typename T>
    static Aligned<T> copied(nb::handle array, const char* name, Shape shape) {
        const Argument<T> numbers(array, name, shape);
        return Aligned<T>(numbers.data(), numbers.count());
    }

    void check_entries(const FormatSizes& sizes) const {
        const std::uint32_t* const starts = starts_.data();
        require(starts[0] == 0, "starts must begin with 0");
        for (std::int64_t r = 0; r < runs(); ++r) {
            require(starts[r] <= starts[r + 1], "starts must not fall");
            require(owners_.data()[r] < slices_, "owners must be slices");
        }
        const std::int64_t last = (columns_ - 1) / sizes.place_width;
        for (std::int64_t r = 0; r < runs(); ++r) {
            const std::int64_t base = about_base(r);
            require(base <= last, "bases must lie within the columns");
            const std::int64_t first = sizes.entry_indices > 0 ? r : starts[r];
            const std::int64_t after = sizes.entry_indices > 0 ? r + 1 : starts[r + 1];
            for (std::int64_t k = first; k < after; ++k)
                require(places_.data()[k] <= last - base, "places must lie within the columns");
        }
        for (std::int64_t k = 0; k < indices_.count(); ++k)
            require(indices_.data()[k] < sizes.place_width, "indices must lie within a place");
    }

    std::int64_t about_base(std::int64_t run) const { return based_ ? bases_.data()[run] : 0; }

    // -128 times the sum of each row of each run, as 32 bits hold it.
    Aligned<std::int32_t> shifted() const {
        Aligned<std::int32_t> shifts(runs() * lanes);
        const auto* const values = reinterpret_cast<const std::int8_t*>(values_.data());
        for (std::int64_t r = 0; r < runs(); ++r) {
            require(starts_.data()[r + 1] - starts_.data()[r] <= most_entries, "runs must have at most 16384 entries of int8");
            for (std::int64_t k = std::int64_t{64} * starts_.data()[r]; k < std::int64_t{64} * starts_.data()[r + 1]; ++k)
                shifts.data()[r * lanes + k % 64 / 4] -= 128 * values[k];
        }
        return shifts;
    }

    // Of a run, so that 32 bits hold the sums of four products of 255 and 128 for each.
    static constexpr std::int64_t most_entries = 16384;

    Format format_;
    std::int64_t slices_, columns_, outer_runs_ = 0;
    bool based_ = false;
    PackedWeight about_{};
    Aligned<std::uint32_t> starts_, bases_;
    Aligned<std::uint16_t> owners_, places_;
    Aligned<std::uint8_t> values_, indices_;
    Aligned<float> scales_;
    Aligned<std::int32_t> shifts_;
};

// Scratch of a layer, all in one piece.
class Scratch {
public:
    Scratch(std::int64_t inputs, std::int64_t hidden, std::int64_t width, std::int64_t gates)
        : row_(side_by_side * groups_of(std::max(hidden, width)) * lanes),
          rows_(4 * row_),
          input_(panel(inputs)),
          state_(panel(std::max(hidden, width))),
          gates_(2 * side_by_side * row_of_gates(std::max(groups_of(hidden) * gates, groups_of(width)))) {}

    RecurrenceScratch about() const {
        float *const rows = rows_.data(), *const gates = gates_.data();
        return {rows,          rows + row_,   rows + 2 * row_, rows + 3 * row_,
                input_.data(), state_.data(), gates,           gates + gates_.count() / 2};
    }

private:
    // Wide enough for float32, and for scales and two arrangements of uint8.
    static std::int64_t panel(std::int64_t columns) { return (side_by_side * rounded_up(columns, margin) + lanes) * 4; }

    std::int64_t row_;
    Aligned<float> rows_;
    Aligned<std::uint8_t> input_, state_;
    Aligned<float> gates_;
};

// Scratch that was used before and waits for the next run: as many pieces as runs went on at once. It is used while
// the interpreter is locked, so that no process can be forked in the midst of it.
class ScratchPool {
public:
    std::unique_ptr<Scratch> take() {
        if (waiting_.empty()) return nullptr;
        std::unique_ptr<Scratch> scratch = std::move(waiting_.back());
        waiting_.pop_back();
        return scratch;
    }
    void give(std::unique_ptr<Scratch> scratch) { waiting_.push_back(std::move(scratch)); }

private:
    std::vector<std::unique_ptr<Scratch>> waiting_;
};

// The weights of a layer; not every cell has the last ones.
using SharedWeight = std::shared_ptr<Weight>;
struct Weights {
    SharedWeight input;
    std::vector<SharedWeight> recurrent;
    SharedWeight memory, projection;
};

// The vectors of a layer.
struct LayerVectors {
    nb::handle bias, inner_bias, level_biases, diagonals;
};

// A layer, ready to run; it never changes, so threads may share it.
class Layer {
public:
    Layer(const std::string& cell, nb::handle inputs, nb::handle hidden, nb::handle width, const Weights& weights,
          const LayerVectors& vectors, const std::string& instructions)
        : weights_(weights),
          inputs_(whole(inputs, "inputs", 1, most_columns)),
          hidden_(whole(hidden, "hidden", 1, most_units)),
          width_(whole(width, "width", 1, most_units)) {
        find_kernel(cell, instructions);
        check_weights(weights);
        for_format_ = kernel_of(format_, find_instructions(instructions));
        const std::int64_t slices = groups_of(hidden_) * cell_.gates, levels = static_cast<std::int64_t>(weights.recurrent.size());
        bias_ = copied(vectors.bias, "bias", {slices, lanes});
        inner_bias_ = copied(vectors.inner_bias, "inner_bias", {cell_.has_inner_bias ? groups_of(hidden_) : 0, lanes});
        level_biases_ = copied(vectors.level_biases, "level_biases", {(levels - 1) * slices, lanes});
        diagonals_ = copied(vectors.diagonals, "diagonals", {groups_of(hidden_) * cell_.diagonals, lanes});
        for (const SharedWeight& one : weights.recurrent) recurrent_.push_back(one->about());
        layer_ = {inputs_,
                  hidden_,
                  width_,
                  weights.input->about(),
                  recurrent_.data(),
                  levels,
                  weights.memory == nullptr ? nullptr : &weights.memory->about(),
                  weights.projection == nullptr ? nullptr : &weights.projection->about(),
                  bias_.data(),
                  inner_bias_.data(),
                  level_biases_.data(),
                  diagonals_.data()};
        bytes_ += bias_.bytes() + inner_bias_.bytes() + level_biases_.bytes() + diagonals_.bytes();
    }

    void run(nb::handle x, nb::handle output, nb::handle hidden, nb::handle memory, nb::handle lengths) const {
        const Argument<float> inputs(x, "x", {any, any, inputs_});
        const std::int64_t time = inputs.length(0), batch = inputs.length(1);
        const Argument<float> outputs(output, "output", {time, batch, width_}, true);
        const Argument<float> states(hidden, "hidden", {batch, width_}, true);
        const Argument<float> memories(memory, "memory", {has_memory() ? batch : 0, hidden_}, true);
        const OptionalArgument<std::int64_t> ends(lengths, "lengths", {batch});
        require_apart(inputs, outputs, states, memories, ends);
        for (std::int64_t n = 0; ends && n < batch; ++n)
            require(ends.data()[n] >= 0 && ends.data()[n] <= time, "lengths must be from 0 to the number of steps");
        std::unique_ptr<Scratch> scratch = scratch_.take();
        if (scratch == nullptr) scratch = std::make_unique<Scratch>(new_scratch());
        {
            nb::gil_scoped_release unlocked;
            run(time, batch, inputs.data(), outputs.data(), states.data(), memories.data(), ends.data(), *scratch);
        }
        scratch_.give(std::move(scratch));
    }

    // The same with numbers that were checked.
    void run(std::int64_t time, std::int64_t batch, const float* x, float* output, float* hidden, float* memory,
             const std::int64_t* lengths, const Scratch& scratch) const {
        const FlushDenormals flushing;
        for (std::int64_t first = 0; first < batch; first += side_by_side) {
            const Sequences sequences{time,
                                      std::min(side_by_side, batch - first),
                                      x + first * inputs_,
                                      batch * inputs_,
                                      inputs_,
                                      output + first * width_,
                                      batch * width_,
                                      width_,
                                      lengths == nullptr ? nullptr : lengths + first,
                                      hidden + first * width_,
                                      has_memory() ? memory + first * hidden_ : nullptr};
            kernel_.run(kernel_, layer_, for_format_, sequences, scratch.about());
        }
    }

    Scratch new_scratch() const { return Scratch(inputs_, hidden_, width_, cell_.gates); }
    std::int64_t inputs() const { return inputs_; }
    std::int64_t hidden() const { return hidden_; }
    std::int64_t width() const { return width_; }
    std::int64_t bytes() const { return bytes_; }
    bool has_memory() const { return cell_.has_memory; }

private:
    static Aligned<float> copied(nb::handle array, const char* name, Shape shape) {
        const Argument<float> numbers(array, name, shape);
        return Aligned<float>(numbers.data(), numbers.count());
    }

    void find_kernel(const std::string& cell, const std::string& instructions) {
        for (const RecurrenceKernel& kernel : recurrence_kernels(find_instructions(instructions)))
            if (cell == kernel.cell.name) {
                kernel_ = kernel, cell_ = kernel.cell;
                return;
            }
        throw std::invalid_argument("there is no cell " + cell);
    }

    void check_weights(const Weights& weights) {
        const std::int64_t gates = cell_.gates, slices = groups_of(hidden_) * gates;
        require(slices <= most_slices, "hidden must be smaller: a weight would have more than 65536 slices");
        require(cell_.has_memory || (weights.memory == nullptr && weights.projection == nullptr),
                "memory and projection must be None for a cell without memory");
        require(weights.projection != nullptr || width_ == hidden_, "width must be hidden where there is no projection");
        require(weights.recurrent.size() == 1 || (cell_.has_levels && !weights.recurrent.empty()),
                "recurrent must have as many weights as the cell has levels");
        format_ = weights.input->format();
        check(*weights.input, "input", slices, inputs_, 1, 1);
        for (const SharedWeight& one : weights.recurrent) check(*one, "recurrent", slices, width_, gates, cell_.outer_gates);
        if (weights.memory != nullptr) check(*weights.memory, "memory", slices, hidden_, 1, 1);
        if (weights.projection != nullptr) check(*weights.projection, "projection", groups_of(width_), hidden_, 1, 1);
    }

    void check(const Weight& weight, const char* name, std::int64_t slices, std::int64_t columns, std::int64_t gates,
               std::int64_t outer_gates) {
        const auto fits = [&](bool fitting, const std::string& what) {
            if (!fitting) throw std::invalid_argument(std::string(name) + " must have " + what);
        };
        fits(weight.slices() == slices, "a slice for each gate of each group");
        fits(weight.columns() == columns, "a column for each number that it reads");
        fits(weight.separates(gates, outer_gates), "the outer_runs of the cell");
        fits(weight.format() == format_, "the format of the other weights");
        bytes_ += weight.bytes();
    }

    Weights weights_;
    std::int64_t inputs_, hidden_, width_, bytes_ = 0;
    Format format_{};
    FormatKernel for_format_{};
    RecurrenceKernel kernel_{};
    RecurrentCellSizes cell_{};
    std::vector<PackedWeight> recurrent_;
    Aligned<float> bias_, inner_bias_, level_biases_, diagonals_;
    RecurrentLayer layer_{};
    mutable ScratchPool scratch_;
};

// Some sequences that run on, one step a call. It has its own states and outputs; one thread at a time may use it.
class Stream {
public:
    Stream(const Layer& layer, nb::handle batch)
        : layer_(layer), batch_(whole(batch, "batch", 1, 4096)), scratch_(layer.new_scratch()),
          outputs_{OwnArray(batch_, layer.width()), OwnArray(batch_, layer.width())}, hidden_(batch_, layer.width()),
          memory_(layer.has_memory() ? batch_ : 0, layer.hidden()) {}

    nb::object step(nb::handle x) {
        const Argument<float> inputs(x, "x", {batch_, layer_.inputs()});
        if (busy_.exchange(true, std::memory_order_acquire)) throw std::runtime_error("another thread is using this stream");
        const Freed freed{busy_};
        const OwnArray& output = unheld();
        {
            nb::gil_scoped_release unlocked;
            layer_.run(1, batch_, inputs.data(), output.data(), hidden_.data(), memory_.data(), nullptr, scratch_);
        }
        return output.array();
    }

    void reset() { hidden_.clear(), memory_.clear(); }
    nb::tuple state() const {
        return layer_.has_memory() ? nb::make_tuple(hidden_.array(), memory_.array()) : nb::make_tuple(hidden_.array());
    }

private:
    struct Freed {
        std::atomic<bool>& busy;
        ~Freed() { busy.store(false, std::memory_order_release); }
    };

    // An array for the next output. Who keeps one output at a time gets two arrays in turn, and nothing is allocated.
    const OwnArray& unheld() {
        if (outputs_[0].is_held()) std::swap(outputs_[0], outputs_[1]);
        if (outputs_[0].is_held()) outputs_[0] = OwnArray(batch_, layer_.width());
        return outputs_[0];
    }

    const Layer& layer_;
    std::int64_t batch_;
    Scratch scratch_;
    std::array<OwnArray, 2> outputs_;
    OwnArray hidden_, memory_;
    std::atomic<bool> busy_{false};
};

std::int32_t read_through(nb::handle array, nb::handle times, const std::string& instructions) {
    const Argument<std::uint8_t> bytes(array, "bytes", {any});
    const std::int64_t rounds = whole(times, "times", 0, std::int64_t{1} << 30);
    const ReadThrough kernel = reading_kernel(find_instructions(instructions));
    nb::gil_scoped_release unlocked;
    std::int32_t total = 0;
    for (std::int64_t i = 0; i < rounds; ++i) total ^= kernel(bytes.data(), bytes.count());
    return total;
}

void make_layer(Layer* self, const std::string& cell, nb::handle inputs, nb::handle hidden, nb::handle width,
                const SharedWeight& input, const std::vector<SharedWeight>& recurrent, const SharedWeight& memory,
                const SharedWeight& projection, nb::handle bias, nb::handle inner_bias, nb::handle level_biases,
                nb::handle diagonals, const std::string& instructions) {
    for (const SharedWeight& one : recurrent) require(one != nullptr, "recurrent must be a list of weights");
    new (self) Layer(cell, inputs, hidden, width, {input, recurrent, memory, projection},
                     {bias, inner_bias, level_biases, diagonals}, instructions);
}

}  // namespace

void bind_recurrence(nb::module_& module) {
    module.attr("RECURRENCE_FORMATS") = [] {
        nb::dict formats;
        for (const FormatSizes& sizes : format_sizes)
            formats[sizes.name] = nb::make_tuple(sizes.place_width, sizes.entry_values, sizes.entry_indices, sizes.quantised);
        return formats;
    }();
    module.def("read_through", &read_through, nb::arg("bytes").none(), nb::arg("times").none(), nb::arg("instructions"),
               "Reads an array so many times and does nothing else.");
    nb::class_<Weight>(module, "PackedWeight", "A weight in slices of sixteen rows; see sparsernn/runtime/layouts.py.")
        .def(nb::init<const std::string&, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle,
                      nb::handle, nb::handle, nb::handle>(),
             nb::arg("layout"), nb::arg("slices").none(), nb::arg("columns").none(), nb::arg("outer_runs").none(),
             nb::arg("starts").none(), nb::arg("owners").none(), nb::arg("bases").none(), nb::arg("places").none(),
             nb::arg("values").none(), nb::arg("indices").none(), nb::arg("scales").none())
        .def_prop_ro("bytes", &Weight::bytes, "Bytes that a step may read.");
    nb::class_<Layer>(module, "RecurrentLayer", "A recurrent layer, ready to run; see sparsernn/runtime/layers.py.")
        .def("__init__", &make_layer, nb::arg("cell"), nb::arg("inputs").none(), nb::arg("hidden").none(),
             nb::arg("width").none(), nb::arg("input"), nb::arg("recurrent"), nb::arg("memory").none(),
             nb::arg("projection").none(), nb::arg("bias").none(), nb::arg("inner_bias").none(),
             nb::arg("level_biases").none(), nb::arg("diagonals").none(), nb::arg("instructions"))
        .def("run", nb::overload_cast<nb::handle, nb::handle, nb::handle, nb::handle, nb::handle>(&Layer::run, nb::const_),
             nb::arg("x").none(), nb::arg("output").none(), nb::arg("hidden").none(), nb::arg("memory").none(),
             nb::arg("lengths").none(),
             "All steps; the states are replaced by those after. x: [time batch inputs]")
        .def_prop_ro("bytes", &Layer::bytes, "Bytes that a step may read.");
    nb::class_<Stream>(module, "RecurrentStream", "Sequences that run on, one step a call.")
        .def(nb::init<const Layer&, nb::handle>(), nb::arg("layer"), nb::arg("batch").none(), nb::keep_alive<1, 2>())
        .def("step", &Stream::step, nb::arg("x").none(), "The output of one step. x: [batch inputs] -> [batch hidden]")
        .def("reset", &Stream::reset, "Makes all states zero.")
        .def_prop_ro("state", &Stream::state, "The states as they are, to read or to write: [batch hidden] each");
}

}  // namespace sparsernn
