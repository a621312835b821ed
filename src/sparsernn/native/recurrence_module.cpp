#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "dispatch.h"
#include "modules.h"
#include "reading.h"
#include "recurrence.h"

namespace nb = nanobind;

namespace sparsernn {

SPARSERNN_DISPATCH_PLAIN(RecurrenceKernels, recurrence_kernels)
SPARSERNN_DISPATCH_PLAIN(ReadThrough, reading_kernel)

namespace {

constexpr std::int64_t most_units = 65536;     // of a layer, so that no size below overflows
constexpr std::int64_t most_places = 65536;    // of a vector, so that 16 bits number them
constexpr std::int64_t most_steps = std::int64_t{1} << 40;

void require(bool fits, const char* what) {
    if (!fits) throw std::invalid_argument(what);
}

// Numbers aligned to 64 bytes, zeros at first.
template <typename T>
class Aligned {
public:
    explicit Aligned(std::int64_t count = 0)
        : count_(count),
          data_(static_cast<T*>(::operator new(static_cast<std::size_t>(bytes()) + 64, std::align_val_t(64)))) {
        std::memset(static_cast<void*>(data_.get()), 0, static_cast<std::size_t>(bytes()) + 64);
    }
    Aligned(const T* from, std::int64_t count) : Aligned(count) { std::copy_n(from, count, data_.get()); }

    T* data() const { return data_.get(); }
    std::int64_t count() const { return count_; }
    std::int64_t bytes() const { return count_ * static_cast<std::int64_t>(sizeof(T)); }

private:
    struct Release {
        void operator()(T* data) const { ::operator delete(data, std::align_val_t(64)); }
    };
    std::int64_t count_;
    std::unique_ptr<T, Release> data_;
};

Format find_format(const std::string& name) {
    for (std::size_t i = 0; i < format_sizes.size(); ++i)
        if (name == format_sizes[i].name) return static_cast<Format>(i);
    throw std::invalid_argument("there is no format " + name);
}

// A weight of some slices and columns, checked and copied.
class Weight {
public:
    Weight(const std::string& format, std::int64_t slices, std::int64_t columns, std::int64_t outer_runs, nb::handle starts,
           nb::handle owners, nb::handle places, nb::handle values, nb::handle indices, nb::handle scales)
        : format_(find_format(format)), slices_(slices), columns_(columns), outer_runs_(outer_runs) {
        const FormatSizes& sizes = format_sizes[static_cast<std::size_t>(format_)];
        require(slices > 0 && slices <= most_units && columns > 0, "slices and columns must be positive and few");
        require((columns - 1) / sizes.place_width < most_places, "there are more columns than 16 bits can number");
        owners_ = copied<std::uint16_t>(owners, "owners", {any});
        require(outer_runs >= 0 && outer_runs <= runs(), "outer_runs must be a number of runs");
        starts_ = copied<std::uint32_t>(starts, "starts", {runs() + 1});
        const std::int64_t entries = starts_.data()[runs()];
        places_ = copied<std::uint16_t>(places, "places", {sizes.entry_indices > 0 ? runs() : entries});
        values_ = copied<std::uint8_t>(values, "values", {entries, sizes.entry_values});
        indices_ = copied<std::uint8_t>(indices, "indices", {sizes.entry_indices > 0 ? entries : 0, sizes.entry_indices});
        scales_ = copied<float>(scales, "scales", {sizes.quantised ? slices : 0, lanes});
        check_entries(sizes);
        if (sizes.quantised) shifts_ = shifted();
    }

    PackedWeight about() const {
        return {runs(),         outer_runs_,     starts_.data(), owners_.data(), places_.data(),
                values_.data(), indices_.data(), scales_.data(), shifts_.data()};
    }
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
        return starts_.bytes() + owners_.bytes() + places_.bytes() + values_.bytes() + indices_.bytes() + scales_.bytes() +
               shifts_.bytes();
    }

private:
    static constexpr std::int64_t any = Argument<float>::any;

    template <typename T>
    static Aligned<T> copied(nb::handle array, const char* name, std::initializer_list<std::int64_t> shape) {
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
        for (std::int64_t k = 0; k < places_.count(); ++k)
            require(places_.data()[k] <= (columns_ - 1) / sizes.place_width, "places must lie within the columns");
        for (std::int64_t k = 0; k < indices_.count(); ++k)
            require(indices_.data()[k] < sizes.place_width, "indices must lie within a place");
    }

    // -128 times the sum of each row of each run.
    Aligned<std::int32_t> shifted() const {
        Aligned<std::int32_t> shifts(runs() * lanes);
        const auto* const values = reinterpret_cast<const std::int8_t*>(values_.data());
        for (std::int64_t r = 0; r < runs(); ++r)
            for (std::int64_t k = std::int64_t{64} * starts_.data()[r]; k < std::int64_t{64} * starts_.data()[r + 1]; ++k)
                shifts.data()[r * lanes + k % 64 / 4] -= 128 * values[k];
        return shifts;
    }

    Format format_;
    std::int64_t slices_, columns_, outer_runs_;
    Aligned<std::uint32_t> starts_;
    Aligned<std::uint16_t> owners_, places_;
    Aligned<std::uint8_t> values_, indices_;
    Aligned<float> scales_;
    Aligned<std::int32_t> shifts_;
};

// Scratch of a layer, all in one piece.
class Scratch {
public:
    Scratch(std::int64_t inputs, std::int64_t hidden, std::int64_t gates)
        : rows_(4 * row(hidden)),
          input_(panel(inputs)),
          state_(panel(hidden)),
          gates_(2 * side_by_side * row_of_gates(groups_of(hidden) * gates)) {}

    RecurrenceScratch about(std::int64_t hidden) const {
        float* const rows = rows_.data();
        const std::int64_t one = row(hidden);
        float* const gates = gates_.data();
        return {rows,          rows + one,    rows + 2 * one, rows + 3 * one,
                input_.data(), state_.data(), gates,          gates + gates_.count() / 2};
    }

private:
    static std::int64_t row(std::int64_t hidden) { return side_by_side * groups_of(hidden) * lanes; }
    // Wide enough for float32, and for scales and two arrangements of uint8.
    static std::int64_t panel(std::int64_t columns) { return (side_by_side * rounded_up(columns, margin) + lanes) * 4; }

    Aligned<float> rows_;
    Aligned<std::uint8_t> input_, state_;
    Aligned<float> gates_;
};

// Scratch that was used before and waits for the next run: as many pieces as runs went on at once.
class ScratchPool {
public:
    std::unique_ptr<Scratch> take() {
        const std::lock_guard<std::mutex> locked(mutex_);
        if (waiting_.empty()) return nullptr;
        std::unique_ptr<Scratch> scratch = std::move(waiting_.back());
        waiting_.pop_back();
        return scratch;
    }
    void give(std::unique_ptr<Scratch> scratch) {
        const std::lock_guard<std::mutex> locked(mutex_);
        waiting_.push_back(std::move(scratch));
    }

private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Scratch>> waiting_;
};

// A layer, ready to run; it never changes, so threads may share it.
class Layer {
public:
    Layer(const std::string& cell, std::int64_t inputs, std::int64_t hidden, const Weight& input, const Weight& recurrent,
          nb::handle bias, nb::handle inner_bias, const std::string& instructions)
        : inputs_(inputs), hidden_(hidden) {
        require(hidden > 0 && hidden <= most_units && inputs > 0, "a layer must have units and inputs, and not too many");
        find_kernel(cell, instructions);
        const std::int64_t slices = groups_of(hidden) * cell_.gates;
        require(input.slices() == slices && recurrent.slices() == slices, "the weights must have a slice for each gate of each group");
        require(input.columns() == inputs && recurrent.columns() == hidden, "the weights must have a column for each input and unit");
        require(input.separates(1, 1) && recurrent.separates(cell_.gates, cell_.outer_gates), "outer_runs must be those of the cell");
        require(input.format() == recurrent.format(), "both weights must have the same format");
        run_ = kernel_.run[static_cast<std::size_t>(input.format())];
        const Argument<float> outer(bias, "bias", {slices, lanes});
        const Argument<float> inner(inner_bias, "inner_bias", {cell_.has_inner_bias ? groups_of(hidden) : 0, lanes});
        bias_ = Aligned<float>(outer.data(), outer.count());
        inner_bias_ = Aligned<float>(inner.data(), inner.count());
        layer_ = {inputs, hidden, input.about(), recurrent.about(), bias_.data(), inner_bias_.data()};
        bytes_ = input.bytes() + recurrent.bytes() + bias_.bytes() + inner_bias_.bytes();
    }

    void run(nb::handle x, nb::handle output, nb::handle hidden, nb::handle memory, nb::handle lengths) const {
        const Argument<float> inputs(x, "x", {any, any, inputs_});
        const std::int64_t time = inputs.length(0), batch = inputs.length(1);
        const Argument<float> outputs(output, "output", {time, batch, hidden_}, true);
        const Argument<float> states(hidden, "hidden", {batch, hidden_}, true);
        const Argument<float> memories(memory, "memory", {has_memory() ? batch : 0, hidden_}, true);
        std::optional<Argument<std::int64_t>> ends;
        if (!lengths.is_none()) ends.emplace(lengths, "lengths", std::initializer_list<std::int64_t>{batch});
        nb::gil_scoped_release unlocked;
        std::unique_ptr<Scratch> scratch = scratch_.take();
        if (scratch == nullptr) scratch = std::make_unique<Scratch>(new_scratch());
        run(time, batch, inputs.data(), outputs.data(), states.data(), memories.data(), ends ? ends->data() : nullptr, *scratch);
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
                                      output + first * hidden_,
                                      batch * hidden_,
                                      hidden_,
                                      lengths == nullptr ? nullptr : lengths + first,
                                      hidden + first * hidden_,
                                      has_memory() ? memory + first * hidden_ : nullptr};
            run_(layer_, sequences, scratch.about(hidden_));
        }
    }

    Scratch new_scratch() const { return Scratch(inputs_, hidden_, cell_.gates); }
    std::int64_t inputs() const { return inputs_; }
    std::int64_t hidden() const { return hidden_; }
    std::int64_t bytes() const { return bytes_; }
    bool has_memory() const { return cell_.has_memory; }

private:
    static constexpr std::int64_t any = Argument<float>::any;

    void find_kernel(const std::string& cell, const std::string& instructions) {
        for (const RecurrenceKernel& kernel : recurrence_kernels(find_instructions(instructions)))
            if (cell == kernel.cell.name) {
                kernel_ = kernel, cell_ = kernel.cell;
                return;
            }
        throw std::invalid_argument("there is no cell " + cell);
    }

    std::int64_t inputs_, hidden_, bytes_ = 0;
    RecurrenceKernel kernel_{};
    RecurrentCellSizes cell_{};
    RunRecurrence run_ = nullptr;
    Aligned<float> bias_, inner_bias_;
    RecurrentLayer layer_{};
    mutable ScratchPool scratch_;
};

using NumpyFloats = nb::ndarray<nb::numpy, float, nb::ndim<2>>;

// Zeros as a numpy array: [rows columns].
class OwnArray {
public:
    OwnArray(std::int64_t rows, std::int64_t columns) {
        auto numbers = std::make_unique<Aligned<float>>(rows * columns);
        data_ = numbers->data(), count_ = numbers->count();
        const nb::capsule owner(numbers.get(), [](void* data) noexcept { delete static_cast<Aligned<float>*>(data); });
        numbers.release();
        array_ = NumpyFloats(data_, {static_cast<std::size_t>(rows), static_cast<std::size_t>(columns)}, owner).cast();
    }
    float* data() const { return data_; }
    nb::object array() const { return array_; }
    void clear() { std::fill_n(data_, count_, 0.f); }

private:
    float* data_;
    std::int64_t count_;
    nb::object array_;
};

// Some sequences that run on, one step a call. It has its own states and outputs; one thread at a time may use it.
class Stream {
public:
    Stream(const Layer& layer, std::int64_t batch)
        : layer_(layer), batch_(checked(batch)), scratch_(layer.new_scratch()), output_(batch, layer.hidden()),
          hidden_(batch, layer.hidden()), memory_(layer.has_memory() ? batch : 0, layer.hidden()) {}

    nb::object step(nb::handle x) {
        const Argument<float> inputs(x, "x", {batch_, layer_.inputs()});
        if (busy_.exchange(true, std::memory_order_acquire)) throw std::runtime_error("another thread is using this stream");
        {
            nb::gil_scoped_release unlocked;
            layer_.run(1, batch_, inputs.data(), output_.data(), hidden_.data(), memory_.data(), nullptr, scratch_);
        }
        busy_.store(false, std::memory_order_release);
        return output_.array();
    }

    void reset() { hidden_.clear(), memory_.clear(); }
    nb::tuple state() const {
        return layer_.has_memory() ? nb::make_tuple(hidden_.array(), memory_.array()) : nb::make_tuple(hidden_.array());
    }

private:
    static std::int64_t checked(std::int64_t batch) {
        require(batch > 0 && batch <= 4096, "batch must be a number from 1 to 4096");
        return batch;
    }

    const Layer& layer_;
    std::int64_t batch_;
    Scratch scratch_;
    OwnArray output_, hidden_, memory_;
    std::atomic<bool> busy_{false};
};

std::int32_t read_through(nb::handle array, std::int64_t times, const std::string& instructions) {
    const Argument<std::uint8_t> bytes(array, "bytes", {Argument<std::uint8_t>::any});
    const ReadThrough kernel = reading_kernel(find_instructions(instructions));
    nb::gil_scoped_release unlocked;
    std::int32_t total = 0;
    for (std::int64_t i = 0; i < times; ++i) total ^= kernel(bytes.data(), bytes.count());
    return total;
}

}  // namespace

void bind_recurrence(nb::module_& module) {
    module.attr("RECURRENCE_FORMATS") = [] {
        nb::dict formats;
        for (const FormatSizes& sizes : format_sizes)
            formats[sizes.name] = nb::make_tuple(sizes.place_width, sizes.entry_values, sizes.entry_indices, sizes.quantised);
        return formats;
    }();
    module.def("read_through", &read_through, nb::arg("bytes"), nb::arg("times"), nb::arg("instructions"),
               "Reads an array so many times and does nothing else.");
    nb::class_<Weight>(module, "PackedWeight", "A weight in slices of sixteen rows; see sparsernn/runtime/layouts.py.")
        .def(nb::init<const std::string&, std::int64_t, std::int64_t, std::int64_t, nb::handle, nb::handle, nb::handle,
                      nb::handle, nb::handle, nb::handle>(),
             nb::arg("format"), nb::arg("slices"), nb::arg("columns"), nb::arg("outer_runs"), nb::arg("starts"),
             nb::arg("owners"), nb::arg("places"),
             nb::arg("values"), nb::arg("indices"), nb::arg("scales"))
        .def_prop_ro("bytes", &Weight::bytes, "Bytes that a step may read.");
    nb::class_<Layer>(module, "RecurrentLayer", "A recurrent layer, ready to run; see sparsernn/runtime/layers.py.")
        .def(nb::init<const std::string&, std::int64_t, std::int64_t, const Weight&, const Weight&, nb::handle, nb::handle,
                      const std::string&>(),
             nb::arg("cell"), nb::arg("inputs"), nb::arg("hidden"), nb::arg("input"), nb::arg("recurrent"),
             nb::arg("bias"), nb::arg("inner_bias"), nb::arg("instructions"), nb::keep_alive<1, 5>(),
             nb::keep_alive<1, 6>())
        .def("run", nb::overload_cast<nb::handle, nb::handle, nb::handle, nb::handle, nb::handle>(&Layer::run, nb::const_),
             nb::arg("x"), nb::arg("output"), nb::arg("hidden"), nb::arg("memory"), nb::arg("lengths").none(),
             "All steps; the states are replaced by those after. x: [time batch inputs]")
        .def_prop_ro("bytes", &Layer::bytes, "Bytes that a step may read.");
    nb::class_<Stream>(module, "RecurrentStream", "Sequences that run on, one step a call.")
        .def(nb::init<const Layer&, std::int64_t>(), nb::arg("layer"), nb::arg("batch"), nb::keep_alive<1, 2>())
        .def("step", &Stream::step, nb::arg("x").none(), "The output of one step, which the next one replaces. x: [batch inputs] -> [batch hidden]")
        .def("reset", &Stream::reset, "Makes all states zero.")
        .def_prop_ro("state", &Stream::state, "The states as they are, to read or to write: [batch hidden] each");
}

}  // namespace sparsernn
