#pragma once

#include <cstdint>

#include "instructions.h"

namespace sparsernn {

enum class Semiring : int { plus_times, max_times, max_plus, log };

// A recurrence over batch x pattern x state, the states of a pattern side by side.
// kernels/scan/reference.py has the equations; a null pointer stands for what is not given.
template <typename T>
struct Scan {
    Semiring semiring;
    std::int64_t time, batch, states, patterns, places;  // places: states of the longest pattern
    const std::int32_t* place;    // [states + 2] of a state in its pattern, from 0; two zeros at the end
    const std::int32_t* held;     // [states] whether its self-loop has the score one
    const std::int32_t* owner;    // [states] pattern of each state
    const std::int32_t* table;    // [places patterns] state at each place of each pattern; `states` where there is none
    const T* projected;           // [time batch 2*states] main paths, then self-loops
    const T* bias;                // [states] of the self-loops
    const T* final;               // [states] weights of the final states
    const T* skip;                // [states] scores of the epsilon transitions, or null
    const T* start;               // [batch states]
    const std::int64_t* lengths;  // [batch], or null
    T* output;                    // [time batch patterns]
    T* trace;                     // [time batch states] scores after each step; null if nobody asks for gradients
    T* end;                       // [batch states]
};

// Gradients of a scan; those of the vectors are summed over time but not over the batch.
template <typename T>
struct ScanGradient {
    const T* output;  // [time batch patterns], or null
    const T* end;     // [batch states], or null
    T* projected;     // [time batch 2*states]
    T* bias;          // [batch states]
    T* final;         // [batch states]
    T* skip;          // [batch states], or null
    T* start;         // [batch states]
};

// Sequences `first` to `last - 1`; `scratch` holds scratch_size zeros. Time is the
// outer loop, so that memory is read in order.
template <typename T>
struct ScanKernel {
    void (*forward)(const Scan<T>& scan, std::int64_t first, std::int64_t last, T* scratch);
    void (*backward)(const Scan<T>& scan, const ScanGradient<T>& gradient, std::int64_t first, std::int64_t last,
                     T* scratch);
};

// Numbers that a row of scores takes up, with room on both sides, and that a kernel needs for some sequences.
static inline std::int64_t row_size(std::int64_t states) { return (states + 47) / 16 * 16; }
static inline std::int64_t scratch_size(std::int64_t states, std::int64_t sequences) {
    return row_size(states) * (sequences + 3);
}

template <typename T>
ScanKernel<T> scan_kernel(Instructions instructions);

template <typename T>
void scan_forward(const Scan<T>& scan, Instructions instructions, std::int64_t threads);

template <typename T>
void scan_backward(const Scan<T>& scan, const ScanGradient<T>& gradient, Instructions instructions, std::int64_t threads);

}  // namespace sparsernn
