#pragma once

#include "../../recurrence.h"

namespace sparsernn {
namespace {

template <typename Format, int many>
void accumulate(const PackedWeight& weight, std::int64_t begin, std::int64_t end, const std::uint8_t* at,
                std::int64_t columns, float* sums, std::int64_t row) {
    Format::template accumulate<many>(weight, begin, end, Format::panel(at, columns), sums, row);
}

template <typename Numbers>
FormatKernel format_kernel(Format format) {
    return {&format_sizes[static_cast<std::size_t>(format)],
            &Numbers::prepare,
            {&accumulate<Numbers, 1>, &accumulate<Numbers, 4>, &accumulate<Numbers, 8>, &accumulate<Numbers, 16>}};
}

}  // namespace
}  // namespace sparsernn
