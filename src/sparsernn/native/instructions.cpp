#include "instructions.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace sparsernn {
namespace {

constexpr Instructions all[] = {Instructions::baseline, Instructions::avx2, Instructions::avx512,
                                Instructions::avx512_vnni};
constexpr const char* names[] = {"baseline", "avx2", "avx512", "avx512_vnni"};

#if defined(SPARSERNN_AVX512)
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
#endif

bool has(Instructions instructions) {
    switch (instructions) {
#if defined(SPARSERNN_AVX2)
        case Instructions::avx2:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#if defined(SPARSERNN_AVX512)
        case Instructions::avx512:
            return has_avx512();
        case Instructions::avx512_vnni:
            return has_avx512() && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
#endif
        default:
            return instructions == Instructions::baseline;
    }
}

}  // namespace

std::vector<std::string> instruction_sets() {
    std::vector<std::string> found;
    for (const auto one : all)
        if (has(one)) found.emplace_back(names[static_cast<int>(one)]);
    return found;
}

Instructions find_instructions(const std::string& name) {
    static const std::vector<std::string> known = instruction_sets();
    const std::string& wanted = name.empty() ? known.back() : name;
    if (std::find(known.begin(), known.end(), wanted) == known.end())
        throw std::invalid_argument("instruction set " + wanted + " was not compiled or is not to be had here");
    return static_cast<Instructions>(std::find(names, std::end(names), wanted) - names);
}

#if defined(__SSE2__)
constexpr unsigned flush_bits = 0x8040;  // results and operands
FlushDenormals::FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(static_cast<unsigned>(before_) | flush_bits); }
FlushDenormals::~FlushDenormals() { _mm_setcsr(static_cast<unsigned>(before_)); }
#elif defined(__aarch64__)
FlushDenormals::FlushDenormals() : before_(0) {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(before_ | (1ull << 24)));
}
FlushDenormals::~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(before_)); }
#else
FlushDenormals::FlushDenormals() : before_(0) {}
FlushDenormals::~FlushDenormals() {}
#endif

}  // namespace sparsernn
