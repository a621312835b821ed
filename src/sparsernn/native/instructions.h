#pragma once

#include <string>
#include <vector>

namespace sparsernn {

// Instruction sets for which kernels are compiled, the best last.
enum class Instructions { baseline, avx2, avx512, avx512_vnni };

// Names of those that were compiled and that this processor has.
std::vector<std::string> instruction_sets();

// By name; the best one for an empty name. Throws std::invalid_argument for one that cannot run here.
Instructions find_instructions(const std::string& name);

// While it lives, this thread takes denormal numbers for zero.
class FlushDenormals {
public:
    FlushDenormals();
    ~FlushDenormals();
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;

private:
    unsigned long long before_;
};

}  // namespace sparsernn
