#include "../scan.h"

#include "semirings.h"

namespace sparsernn {
namespace {

template <typename T>
[[gnu::noinline]] void copy(const T* __restrict from, T* __restrict to, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = from[i];
}

template <typename T>
[[gnu::noinline]] void clear(T* __restrict to, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = T(0);
}

template <typename T>
inline std::int64_t length_of(const Scan<T>& scan, std::int64_t row) {
    return scan.lengths == nullptr ? scan.time : scan.lengths[row];
}

// The score with which state s is entered: its predecessor's, or one; with an epsilon transition also that of the
// state before the predecessor. Both are read whatever `place` is (there is room before the first), as lanes need it.
template <class R, typename T, bool Skip>
struct Entry {
    T first, second, sum;
    Entry(const T* old, std::int64_t s, std::int32_t place, T skip) {
        const T near = old[s - 1];
        first = place == 0 ? R::one : near;
        if constexpr (Skip) {
            const T far = old[s - 2];
            second = place == 0 ? R::zero : place == 1 ? R::one : far;
            sum = R::plus(first, R::times(skip, second));
        } else {
            sum = first;
        }
    }
};

template <class R, typename T, bool Skip>
void step(const Scan<T>& scan, const T* __restrict projected, const T* __restrict old, T* __restrict now) {
    const std::int64_t states = scan.states;
    const T* __restrict loops = projected + states;
    const T* __restrict bias = scan.bias;
    const T* __restrict skip = scan.skip;
    const std::int32_t* __restrict place = scan.place;
    const std::int32_t* __restrict held = scan.held;
    SPARSERNN_LANES
    for (std::int64_t s = 0; s < states; ++s) {
        T main, loop;
        R::scores(projected[s], loops[s] + bias[s], main, loop);
        loop = held[s] != 0 ? R::one : loop;
        const Entry<R, T, Skip> entry(old, s, place[s], Skip ? skip[s] : T(0));
        now[s] = R::plus(R::times(loop, old[s]), R::times(main, entry.sum));
    }
}

// `ended` has room for one number more than there are states.
template <class R, typename T>
void read(const Scan<T>& scan, const T* __restrict now, T* __restrict ended, T* __restrict output) {
    const std::int64_t states = scan.states, patterns = scan.patterns;
    const T* __restrict final = scan.final;
    SPARSERNN_LANES
    for (std::int64_t s = 0; s < states; ++s) ended[s] = R::times(final[s], now[s]);
    ended[states] = R::zero;
    for (std::int64_t place = 0; place < scan.places; ++place) {
        const std::int32_t* __restrict state = scan.table + place * patterns;
        SPARSERNN_LANES
        for (std::int64_t k = 0; k < patterns; ++k) {
            const T term = ended[state[k]];
            output[k] = place == 0 ? term : R::plus(output[k], term);
        }
    }
    SPARSERNN_LANES
    for (std::int64_t k = 0; k < patterns; ++k) output[k] = output[k] == -T(__builtin_inff()) ? T(0) : output[k];
}

// The gradient of the output at one step, handed to the states: a maximum's to the last of the largest terms.
template <class R, typename T>
void read_back(const Scan<T>& scan, const T* __restrict now, const T* __restrict output,
                   const T* __restrict by_output, T* __restrict by_state, T* __restrict by_final) {
    const std::int64_t states = scan.states;
    const T* __restrict final = scan.final;
    const std::int32_t* __restrict owner = scan.owner;
    if constexpr (R::picks) {
        std::int32_t given = -1;
        for (std::int64_t s = states - 1; s >= 0; --s) {
            const std::int32_t k = owner[s];
            if (k == given || R::times(final[s], now[s]) != output[k]) continue;
            by_state[s] += by_output[k] * R::slope(final[s]);
            by_final[s] += by_output[k] * R::slope(now[s]);
            given = k;
        }
    } else {
        SPARSERNN_LANES
        for (std::int64_t s = 0; s < states; ++s) {
            const T term = R::times(final[s], now[s]), sum = output[owner[s]];
            const T share = by_output[owner[s]] * R::share_of_second(R::zero, term, sum);
            by_state[s] += share * R::slope(final[s]);
            by_final[s] += share * R::slope(now[s]);
        }
    }
}

// One step back: by_state holds the gradient of the scores after the step, and then of those before it.
template <class R, typename T, bool Skip>
void step_back(const Scan<T>& scan, const ScanGradient<T>& gradient, std::int64_t row, std::int64_t t,
               const T* __restrict old, T* __restrict by_state, T* __restrict by_first, T* __restrict by_second) {
    const std::int64_t states = scan.states, cell = t * scan.batch + row;
    const T* __restrict main_path = scan.projected + cell * 2 * states;
    const T* __restrict loops = main_path + states;
    const T* __restrict now = scan.trace + cell * states;
    const T* __restrict bias = scan.bias;
    const T* __restrict skip = scan.skip;
    const std::int32_t* __restrict place = scan.place;
    const std::int32_t* __restrict held = scan.held;
    T* __restrict by_main_path = gradient.projected + cell * 2 * states;
    T* __restrict by_loops = by_main_path + states;
    T* __restrict by_bias = gradient.bias + row * states;
    T* __restrict by_skip = Skip ? gradient.skip + row * states : nullptr;
    SPARSERNN_LANES
    for (std::int64_t s = 0; s < states; ++s) {
        T main, loop;
        R::scores(main_path[s], loops[s] + bias[s], main, loop);
        const T taken = held[s] != 0 ? R::one : loop;
        const Entry<R, T, Skip> entry(old, s, place[s], Skip ? skip[s] : T(0));
        const T stayed = R::times(taken, old[s]), moved = R::times(main, entry.sum);
        const T by_stayed = by_state[s] * R::share_of_first(stayed, moved, now[s]);
        const T by_moved = by_state[s] * R::share_of_second(stayed, moved, now[s]);
        const T by_entry = by_moved * R::slope(main);
        T by_main = by_moved * R::slope(entry.sum);
        T by_loop = held[s] != 0 ? T(0) : by_stayed * R::slope(old[s]);
        R::slopes(main_path[s], loops[s] + bias[s], main, loop, by_main, by_loop);
        by_main_path[s] = by_main;
        by_loops[s] = by_loop;
        by_bias[s] += by_loop;
        if constexpr (Skip) {
            const T skipped = R::times(skip[s], entry.second);
            const T by_skipped = by_entry * R::share_of_second(entry.first, skipped, entry.sum);
            by_first[s] = by_entry * R::share_of_first(entry.first, skipped, entry.sum);
            by_second[s] = by_skipped * R::slope(skip[s]);
            by_skip[s] += place[s] == 0 ? T(0) : by_skipped * R::slope(entry.second);
        } else {
            by_first[s] = by_entry;
        }
        by_state[s] = by_stayed * R::slope(taken);
    }
    SPARSERNN_LANES
    for (std::int64_t s = 0; s < states; ++s) {
        T more = place[s + 1] == 0 ? T(0) : by_first[s + 1];
        if constexpr (Skip) more += place[s + 2] < 2 ? T(0) : by_second[s + 2];
        by_state[s] += more;
    }
}

// What a semiring does at one step, with epsilon transitions or without; the loops over steps are the same for all.
template <typename T>
struct Steps {
    void (*step)(const Scan<T>& scan, const T* projected, const T* old, T* now);
    void (*read)(const Scan<T>& scan, const T* now, T* ended, T* output);
    void (*read_back)(const Scan<T>& scan, const T* now, const T* output, const T* by_output, T* by_state, T* by_final);
    void (*step_back)(const Scan<T>& scan, const ScanGradient<T>& gradient, std::int64_t row, std::int64_t t,
                      const T* old, T* by_state, T* by_first, T* by_second);
};

template <template <typename> class R, typename T>
Steps<T> steps_in(const Scan<T>& scan) {
    if (scan.skip != nullptr) return {step<R<T>, T, true>, read<R<T>, T>, read_back<R<T>, T>, step_back<R<T>, T, true>};
    return {step<R<T>, T, false>, read<R<T>, T>, read_back<R<T>, T>, step_back<R<T>, T, false>};
}

template <typename T>
Steps<T> steps_of(const Scan<T>& scan) {
    switch (scan.semiring) {
        case Semiring::plus_times: return steps_in<PlusTimes>(scan);
        case Semiring::max_times: return steps_in<MaxTimes>(scan);
        case Semiring::max_plus: return steps_in<MaxPlus>(scan);
        case Semiring::log: break;
    }
    return steps_in<Log>(scan);
}

template <typename T>
void forward(const Scan<T>& scan, std::int64_t first, std::int64_t last, T* scratch) {
    const Steps<T> steps = steps_of(scan);
    const std::int64_t states = scan.states, patterns = scan.patterns, size = row_size(states);
    T* const now = scratch + 16;
    T* const ended = now + size;
    T* const scores = ended + size;  // of every sequence
    for (std::int64_t row = first; row < last; ++row) copy(scan.start + row * states, scores + (row - first) * size, states);
    for (std::int64_t t = 0; t < scan.time; ++t) {
        for (std::int64_t row = first; row < last; ++row) {
            const std::int64_t cell = t * scan.batch + row;
            if (t >= length_of(scan, row)) {
                clear(scan.output + cell * patterns, patterns);
                if (scan.trace != nullptr) clear(scan.trace + cell * states, states);
                continue;
            }
            T* const old = scores + (row - first) * size;
            steps.step(scan, scan.projected + cell * 2 * states, old, now);
            steps.read(scan, now, ended, scan.output + cell * patterns);
            if (scan.trace != nullptr) copy(now, scan.trace + cell * states, states);
            copy(now, old, states);
        }
    }
    for (std::int64_t row = first; row < last; ++row) copy(scores + (row - first) * size, scan.end + row * states, states);
}

template <typename T>
void backward(const Scan<T>& scan, const ScanGradient<T>& gradient, std::int64_t first, std::int64_t last, T* scratch) {
    const Steps<T> steps = steps_of(scan);
    const std::int64_t states = scan.states, patterns = scan.patterns, size = row_size(states);
    T* const old = scratch + 16;
    T* const by_first = old + size;
    T* const by_second = by_first + size;
    for (std::int64_t row = first; row < last; ++row) {
        clear(gradient.bias + row * states, states);
        clear(gradient.final + row * states, states);
        if (scan.skip != nullptr) clear(gradient.skip + row * states, states);
        if (gradient.end != nullptr) copy(gradient.end + row * states, gradient.start + row * states, states);
        else clear(gradient.start + row * states, states);
    }
    for (std::int64_t t = scan.time; t-- > 0;) {
        for (std::int64_t row = first; row < last; ++row) {
            const std::int64_t cell = t * scan.batch + row;
            if (t >= length_of(scan, row)) {
                clear(gradient.projected + cell * 2 * states, 2 * states);
                continue;
            }
            T* const by_state = gradient.start + row * states;
            copy(t > 0 ? scan.trace + (cell - scan.batch) * states : scan.start + row * states, old, states);
            if (gradient.output != nullptr)
                steps.read_back(scan, scan.trace + cell * states, scan.output + cell * patterns,
                                gradient.output + cell * patterns, by_state, gradient.final + row * states);
            steps.step_back(scan, gradient, row, t, old, by_state, by_first, by_second);
        }
    }
}

}  // namespace

namespace SPARSERNN_INSTRUCTIONS {

template <typename T>
ScanKernel<T> scan_kernel() {
    return {&forward<T>, &backward<T>};
}

template ScanKernel<float> scan_kernel<float>();
#if defined(SPARSERNN_DOUBLE)
template ScanKernel<double> scan_kernel<double>();
#endif

}  // namespace SPARSERNN_INSTRUCTIONS
}  // namespace sparsernn
