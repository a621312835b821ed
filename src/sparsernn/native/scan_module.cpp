#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "arguments.h"
#include "instructions.h"
#include "modules.h"
#include "scan.h"

namespace nb = nanobind;

namespace sparsernn {
namespace {

constexpr std::int64_t most_states = (std::int64_t{1} << 31) - 1;  // as 32 bits number them

Semiring semiring_of(const std::string& name) {
    const char* const names[] = {"plus_times", "max_times", "max_plus", "log"};
    for (int i = 0; i < 4; ++i)
        if (name == names[i]) return static_cast<Semiring>(i);
    throw std::invalid_argument("semiring must be plus_times, max_times, max_plus or log");
}

std::vector<std::int64_t> wholes(nb::handle list, const char* name, std::int64_t least, std::int64_t most) {
    if (!PyList_CheckExact(list.ptr())) throw std::invalid_argument(std::string(name) + " must be a list");
    std::vector<std::int64_t> numbers;
    for (Py_ssize_t i = 0; i < PyList_Size(list.ptr()); ++i)
        numbers.push_back(whole(PyList_GetItem(list.ptr(), i), name, least, most));
    return numbers;
}

// The patterns of a scan: how many states each has, and everything that follows from it.
struct Patterns {
    std::int64_t count, states = 0, longest = 0;
    std::vector<std::int32_t> place, held, owner, table;

    Patterns(nb::handle sizes, nb::handle hold) {
        const std::vector<std::int64_t> lengths = wholes(sizes, "sizes", 1, most_states);
        const std::vector<std::int64_t> holds = wholes(hold, "hold", 0, 1);
        count = static_cast<std::int64_t>(lengths.size());
        if (holds.size() != lengths.size()) throw std::invalid_argument("hold must have as many numbers as sizes");
        for (const std::int64_t length : lengths) {
            if (length > most_states - states) throw std::invalid_argument("sizes must have a sum below 2147483648");
            states += length, longest = std::max(longest, length);
        }
        sizes_ = lengths, holds_ = holds;
    }

    // Called once arrays with so many states are there.
    void spread() {
        for (std::size_t k = 0; k < sizes_.size(); ++k) {
            for (std::int64_t i = 0; i < sizes_[k]; ++i) {
                place.push_back(static_cast<std::int32_t>(i));
                held.push_back(holds_[k] != 0 && i == sizes_[k] - 1);
            }
            owner.insert(owner.end(), static_cast<std::size_t>(sizes_[k]), static_cast<std::int32_t>(k));
        }
        table.assign(static_cast<std::size_t>(longest * count), static_cast<std::int32_t>(states));
        for (std::size_t s = 0; s < place.size(); ++s)
            table[static_cast<std::size_t>(place[s] * count + owner[s])] = static_cast<std::int32_t>(s);
        place.insert(place.end(), 2, 0);
    }

private:
    std::vector<std::int64_t> sizes_, holds_;
};

// The arguments that forward and backward both read.
template <typename T>
struct Read {
    Patterns patterns;
    Argument<T> projected;
    std::int64_t states = patterns.states, time = projected.length(0), batch = projected.length(1);
    Argument<T> bias, final;
    OptionalArgument<T> skip;
    Argument<T> start;
    OptionalArgument<std::int64_t> lengths;

    Read(nb::handle sizes, nb::handle hold, nb::handle projected_, nb::handle bias_, nb::handle final_, nb::handle skip_,
         nb::handle start_, nb::handle lengths_)
        : patterns(sizes, hold),
          projected(projected_, "projected", {any, any, 2 * patterns.states}),
          bias(bias_, "bias", {states}),
          final(final_, "final", {states}),
          skip(skip_, "skip", {states}),
          start(start_, "start", {batch, states}),
          lengths(lengths_, "lengths", {batch}) {
        if (lengths)
            for (std::int64_t row = 0; row < batch; ++row)
                if (lengths.data()[row] < 0 || lengths.data()[row] > time)
                    throw std::invalid_argument("lengths must be from 0 to the number of steps");
        patterns.spread();
    }

    Scan<T> scan(const std::string& semiring) const {
        Scan<T> scan{};
        scan.semiring = semiring_of(semiring);
        scan.time = time, scan.batch = batch, scan.states = states;
        scan.patterns = patterns.count, scan.places = patterns.longest;
        scan.place = patterns.place.data(), scan.held = patterns.held.data(), scan.owner = patterns.owner.data();
        scan.table = patterns.table.data();
        scan.projected = projected.data(), scan.bias = bias.data(), scan.final = final.data();
        scan.skip = skip.data(), scan.start = start.data(), scan.lengths = lengths.data();
        return scan;
    }
};

void forward(const std::string& semiring, nb::handle sizes, nb::handle hold, nb::handle projected, nb::handle bias,
             nb::handle final, nb::handle skip, nb::handle start, nb::handle lengths, nb::handle output, nb::handle trace,
             nb::handle end, nb::handle threads, const std::string& instructions) {
    with_type_of(projected, "projected", [&](auto type) {
        using T = decltype(type);
        const Read<T> read(sizes, hold, projected, bias, final, skip, start, lengths);
        const Argument<T> outputs(output, "output", {read.time, read.batch, read.patterns.count}, true);
        const OptionalArgument<T> traces(trace, "trace", {read.time, read.batch, read.states}, true);
        const Argument<T> ends(end, "end", {read.batch, read.states}, true);
        require_apart(read.projected, read.bias, read.final, read.skip, read.start, read.lengths, outputs, traces, ends);
        Scan<T> scan = read.scan(semiring);
        scan.output = outputs.data(), scan.trace = traces.data(), scan.end = ends.data();
        const Instructions set = find_instructions(instructions);
        const std::int64_t team = whole(threads, "threads", 1, most_threads);
        nb::gil_scoped_release unlocked;
        scan_forward(scan, set, team);
    });
}

void backward(const std::string& semiring, nb::handle sizes, nb::handle hold, nb::handle projected, nb::handle bias,
              nb::handle final, nb::handle skip, nb::handle start, nb::handle lengths, nb::handle output, nb::handle trace,
              nb::handle by_output, nb::handle by_end, nb::handle by_projected, nb::handle by_bias, nb::handle by_final,
              nb::handle by_skip, nb::handle by_start, nb::handle threads, const std::string& instructions) {
    with_type_of(projected, "projected", [&](auto type) {
        using T = decltype(type);
        const Read<T> read(sizes, hold, projected, bias, final, skip, start, lengths);
        const std::int64_t time = read.time, batch = read.batch, states = read.states;
        const Argument<T> outputs(output, "output", {time, batch, read.patterns.count});
        const Argument<T> traces(trace, "trace", {time, batch, states});
        const OptionalArgument<T> of_output(by_output, "by_output", {time, batch, read.patterns.count});
        const OptionalArgument<T> of_end(by_end, "by_end", {batch, states});
        const Argument<T> of_projected(by_projected, "by_projected", {time, batch, 2 * states}, true);
        const Argument<T> of_bias(by_bias, "by_bias", {batch, states}, true);
        const Argument<T> of_final(by_final, "by_final", {batch, states}, true);
        const OptionalArgument<T> of_skip(by_skip, "by_skip", static_cast<bool>(read.skip), {batch, states}, true);
        const Argument<T> of_start(by_start, "by_start", {batch, states}, true);
        require_apart(read.projected, read.bias, read.final, read.skip, read.start, read.lengths, outputs, traces, of_output,
                      of_end, of_projected, of_bias, of_final, of_skip, of_start);
        Scan<T> scan = read.scan(semiring);
        scan.output = outputs.data(), scan.trace = traces.data();
        const ScanGradient<T> gradient{of_output.data(), of_end.data(),  of_projected.data(), of_bias.data(),
                                       of_final.data(),  of_skip.data(), of_start.data()};
        const Instructions set = find_instructions(instructions);
        const std::int64_t team = whole(threads, "threads", 1, most_threads);
        nb::gil_scoped_release unlocked;
        scan_backward(scan, gradient, set, team);
    });
}

}  // namespace

void bind_scan(nb::module_& module) {
    const char* const about = "One recurrence over batch x pattern x state; see sparsernn/kernels/scan/reference.py.";
    module.def("scan_forward", &forward, about, nb::arg("semiring"), nb::arg("sizes").none(), nb::arg("hold").none(),
               nb::arg("projected").none(), nb::arg("bias").none(), nb::arg("final").none(), nb::arg("skip").none(),
               nb::arg("start").none(), nb::arg("lengths").none(), nb::arg("output").none(), nb::arg("trace").none(),
               nb::arg("end").none(), nb::arg("threads").none(), nb::arg("instructions"));
    module.def("scan_backward", &backward, about, nb::arg("semiring"), nb::arg("sizes").none(), nb::arg("hold").none(),
               nb::arg("projected").none(), nb::arg("bias").none(), nb::arg("final").none(), nb::arg("skip").none(),
               nb::arg("start").none(), nb::arg("lengths").none(), nb::arg("output").none(), nb::arg("trace").none(),
               nb::arg("by_output").none(), nb::arg("by_end").none(), nb::arg("by_projected").none(),
               nb::arg("by_bias").none(), nb::arg("by_final").none(), nb::arg("by_skip").none(),
               nb::arg("by_start").none(), nb::arg("threads").none(), nb::arg("instructions"));
    module.def("instruction_sets", &instruction_sets, "Names of the instruction sets to be had here, the best last.");
}

}  // namespace sparsernn
