#include "scan.h"

#include <memory>

#include "dispatch.h"
#include "team.h"

namespace sparsernn {

SPARSERNN_DISPATCH(ScanKernel, scan_kernel)

template <typename T>
void scan_forward(const Scan<T>& scan, Instructions instructions, int threads) {
    const ScanKernel<T> kernel = scan_kernel<T>(instructions);
    share_out(scan.batch, threads, [&](std::int64_t first, std::int64_t last) {
        const auto scratch = std::make_unique<T[]>(static_cast<std::size_t>(scratch_size(scan.states, last - first)));
        kernel.forward(scan, first, last, scratch.get());
    });
}

template <typename T>
void scan_backward(const Scan<T>& scan, const ScanGradient<T>& gradient, Instructions instructions, int threads) {
    const ScanKernel<T> kernel = scan_kernel<T>(instructions);
    share_out(scan.batch, threads, [&](std::int64_t first, std::int64_t last) {
        const auto scratch = std::make_unique<T[]>(static_cast<std::size_t>(scratch_size(scan.states, last - first)));
        kernel.backward(scan, gradient, first, last, scratch.get());
    });
}

template void scan_forward(const Scan<float>&, Instructions, int);
template void scan_forward(const Scan<double>&, Instructions, int);
template void scan_backward(const Scan<float>&, const ScanGradient<float>&, Instructions, int);
template void scan_backward(const Scan<double>&, const ScanGradient<double>&, Instructions, int);

}  // namespace sparsernn
