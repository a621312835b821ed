#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "instructions.h"
#include "modules.h"
#include "scan.h"

namespace nb = nanobind;

namespace sparsernn {
namespace {

template <typename T, std::size_t dimensions>
using Array = nb::ndarray<T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;

template <typename A>
auto data_of(const std::optional<A>& array) -> decltype(array->data()) {
    return array ? array->data() : nullptr;
}

Semiring semiring_of(const std::string& name) {
    const char* const names[] = {"plus_times", "max_times", "max_plus", "log"};
    for (int i = 0; i < 4; ++i)
        if (name == names[i]) return static_cast<Semiring>(i);
    throw nb::value_error("scan: no semiring of that name");
}

// What a scan is of: the arrays that forward and backward both read, with everything derived from the patterns.
template <typename T>
struct Problem {
    Scan<T> scan{};
    std::vector<std::int32_t> place, held, owner, table;

    Problem(const std::string& semiring, const std::vector<int>& sizes, const std::vector<int>& hold, const Array<const T, 3>& projected,
            const Array<const T, 1>& bias, const Array<const T, 1>& final, const std::optional<Array<const T, 1>>& skip,
            const Array<const T, 2>& start, const std::optional<Array<const std::int64_t, 1>>& lengths) {
        if (hold.size() != sizes.size()) throw nb::value_error("scan: shapes disagree");
        for (std::size_t k = 0; k < sizes.size(); ++k) {
            if (sizes[k] < 1) throw nb::value_error("scan: a pattern without states");
            for (int i = 0; i < sizes[k]; ++i) place.push_back(i), held.push_back(hold[k] != 0 && i == sizes[k] - 1);
            owner.insert(owner.end(), static_cast<std::size_t>(sizes[k]), static_cast<std::int32_t>(k));
        }
        scan.semiring = semiring_of(semiring);
        scan.time = static_cast<std::int64_t>(projected.shape(0));
        scan.batch = static_cast<std::int64_t>(projected.shape(1));
        scan.states = static_cast<std::int64_t>(place.size());
        scan.patterns = static_cast<std::int64_t>(sizes.size());
        scan.places = sizes.empty() ? 0 : *std::max_element(sizes.begin(), sizes.end());
        table.assign(static_cast<std::size_t>(scan.places * scan.patterns), static_cast<std::int32_t>(scan.states));
        for (std::size_t s = 0; s < place.size(); ++s)
            table[static_cast<std::size_t>(place[s] * scan.patterns + owner[s])] = static_cast<std::int32_t>(s);
        place.insert(place.end(), 2, 0);
        const auto states = static_cast<std::size_t>(scan.states);
        bool fits = projected.shape(2) == 2 * states && bias.shape(0) == states && final.shape(0) == states;
        fits = fits && start.shape(0) == projected.shape(1) && start.shape(1) == states;
        fits = fits && (!skip || skip->shape(0) == states) && (!lengths || lengths->shape(0) == projected.shape(1));
        if (!fits) throw nb::value_error("scan: shapes disagree");
        if (lengths)
            for (std::size_t row = 0; row < lengths->shape(0); ++row)
                if (lengths->data()[row] < 0 || lengths->data()[row] > scan.time)
                    throw nb::value_error("scan: a length is out of range");
        scan.place = place.data(), scan.held = held.data(), scan.owner = owner.data();
        scan.table = table.data();
        scan.projected = projected.data(), scan.bias = bias.data(), scan.final = final.data();
        scan.skip = data_of(skip), scan.start = start.data(), scan.lengths = data_of(lengths);
    }

    // Whether an array has `width` numbers for each step of each sequence.
    template <typename A>
    bool each_step(const A& array, std::int64_t width) const {
        return static_cast<std::int64_t>(array.shape(0)) == scan.time &&
               static_cast<std::int64_t>(array.shape(1)) == scan.batch &&
               static_cast<std::int64_t>(array.shape(2)) == width;
    }

    template <typename A>
    bool each_row(const A& array) const {
        return static_cast<std::int64_t>(array.shape(0)) == scan.batch &&
               static_cast<std::int64_t>(array.shape(1)) == scan.states;
    }
};

void check(bool fits) {
    if (!fits) throw nb::value_error("scan: shapes disagree");
}

template <typename T>
void forward(const std::string& semiring, const std::vector<int>& sizes, const std::vector<int>& hold, const Array<const T, 3>& projected,
             const Array<const T, 1>& bias, const Array<const T, 1>& final,
             const std::optional<Array<const T, 1>>& skip, const Array<const T, 2>& start,
             const std::optional<Array<const std::int64_t, 1>>& lengths, const Array<T, 3>& output,
             const std::optional<Array<T, 3>>& trace, const Array<T, 2>& end, int threads,
             const std::string& instructions) {
    Problem<T> problem(semiring, sizes, hold, projected, bias, final, skip, start, lengths);
    Scan<T>& scan = problem.scan;
    check(problem.each_step(output, scan.patterns) && problem.each_row(end));
    check(!trace || problem.each_step(*trace, scan.states));
    scan.output = output.data(), scan.trace = data_of(trace), scan.end = end.data();
    const Instructions chosen = find_instructions(instructions);
    nb::gil_scoped_release unlocked;
    scan_forward(scan, chosen, threads);
}

template <typename T>
void backward(const std::string& semiring, const std::vector<int>& sizes, const std::vector<int>& hold, const Array<const T, 3>& projected,
              const Array<const T, 1>& bias, const Array<const T, 1>& final,
              const std::optional<Array<const T, 1>>& skip, const Array<const T, 2>& start,
              const std::optional<Array<const std::int64_t, 1>>& lengths, const Array<const T, 3>& output,
              const Array<const T, 3>& trace, const std::optional<Array<const T, 3>>& by_output,
              const std::optional<Array<const T, 2>>& by_end, const Array<T, 3>& by_projected,
              const Array<T, 2>& by_bias, const Array<T, 2>& by_final, const std::optional<Array<T, 2>>& by_skip,
              const Array<T, 2>& by_start, int threads, const std::string& instructions) {
    Problem<T> problem(semiring, sizes, hold, projected, bias, final, skip, start, lengths);
    Scan<T>& scan = problem.scan;
    check(problem.each_step(output, scan.patterns) && problem.each_step(trace, scan.states));
    check(problem.each_step(by_projected, 2 * scan.states) && (!by_output || problem.each_step(*by_output, scan.patterns)));
    check(problem.each_row(by_bias) && problem.each_row(by_final) && problem.each_row(by_start));
    check(bool(by_skip) == bool(skip) && (!by_skip || problem.each_row(*by_skip)) && (!by_end || problem.each_row(*by_end)));
    scan.output = const_cast<T*>(output.data()), scan.trace = const_cast<T*>(trace.data());
    const ScanGradient<T> gradient{data_of(by_output), data_of(by_end),  by_projected.data(), by_bias.data(),
                                   by_final.data(),    data_of(by_skip), by_start.data()};
    const Instructions chosen = find_instructions(instructions);
    nb::gil_scoped_release unlocked;
    scan_backward(scan, gradient, chosen, threads);
}

}  // namespace

void bind_scan(nb::module_& module) {
    const char* const about = "One recurrence over batch x pattern x state; see sparsernn/kernels/scan/reference.py.";
    module.def("scan_forward", &forward<float>, about);
    module.def("scan_forward", &forward<double>, about);
    module.def("scan_backward", &backward<float>, about);
    module.def("scan_backward", &backward<double>, about);
    module.def("instruction_sets", &instruction_sets, "Names of the instruction sets to be had here, the best last.");
}

}  // namespace sparsernn
