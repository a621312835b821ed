#include "scan.h"

#include <memory>

#include "team.h"

namespace sparsernn {

#define SPARSERNN_DECLARE(name)          \
    namespace name {                     \
    template <typename T>                \
    ScanKernel<T> scan_kernel();         \
    extern template ScanKernel<float> scan_kernel<float>();   \
    extern template ScanKernel<double> scan_kernel<double>(); \
    }
SPARSERNN_DECLARE(baseline)
SPARSERNN_DECLARE(avx2)
SPARSERNN_DECLARE(avx512)

template <typename T>
ScanKernel<T> scan_kernel(Instructions instructions) {
    switch (instructions) {
#if defined(SPARSERNN_AVX2)
        case Instructions::avx2:
            return avx2::scan_kernel<T>();
#endif
#if defined(SPARSERNN_AVX512)
        case Instructions::avx512:
            return avx512::scan_kernel<T>();
#endif
        default:
            return baseline::scan_kernel<T>();
    }
}

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
