#include "scan.h"

#include <memory>

#include "dispatch.h"
#include "team.h"

namespace sparsernn {

SPARSERNN_DISPATCH_BY(SPARSERNN_RETURN_UP_TO_AVX2, ScanKernel, scan_kernel)

namespace {

// Calls work(first, last, scratch) for shares of the batch; threads allocate nothing of their own.
template <typename T, typename Work>
void with_scratch(const Scan<T>& scan, std::int64_t threads, Work work) {
    if (scan.batch == 0 || scan.states == 0) return;  // there may be any number of steps
    const std::int64_t shares = shares_of(scan.batch, threads), beside = scratch_size(scan.states, 0);
    const std::int64_t count = scratch_size(scan.states, scan.batch) + (shares - 1) * beside;
    const auto scratch = std::make_unique<T[]>(static_cast<std::size_t>(count));
    share_out(scan.batch, threads, [&](std::int64_t first, std::int64_t last, std::int64_t share) {
        work(first, last, scratch.get() + first * row_size(scan.states) + share * beside);
    });
}

}  // namespace

template <typename T>
void scan_forward(const Scan<T>& scan, Instructions instructions, std::int64_t threads) {
    const ScanKernel<T> kernel = scan_kernel<T>(instructions);
    with_scratch(scan, threads, [&](auto... share) { kernel.forward(scan, share...); });
}

template <typename T>
void scan_backward(const Scan<T>& scan, const ScanGradient<T>& gradient, Instructions instructions, std::int64_t threads) {
    const ScanKernel<T> kernel = scan_kernel<T>(instructions);
    with_scratch(scan, threads, [&](auto... share) { kernel.backward(scan, gradient, share...); });
}

template void scan_forward(const Scan<float>&, Instructions, std::int64_t);
template void scan_forward(const Scan<double>&, Instructions, std::int64_t);
template void scan_backward(const Scan<float>&, const ScanGradient<float>&, Instructions, std::int64_t);
template void scan_backward(const Scan<double>&, const ScanGradient<double>&, Instructions, std::int64_t);

}  // namespace sparsernn
