#include <cmath>
#include <limits>
#include <vector>

#include "recurrence.h"

namespace sparsernn {
namespace {

// Calls work(row, column, value) for every number that some runs store and that is not 0.
template <typename Work>
void each_number(const PackedWeight& weight, const FormatSizes& sizes, std::int64_t begin, std::int64_t end, Work work) {
    const std::int64_t slots = sizes.quantised ? 4 : 1, numbers = slots * lanes;
    for (std::int64_t run = begin; run < end; ++run)
        for (std::int64_t entry = weight.starts[run]; entry < weight.starts[run + 1]; ++entry) {
            const std::int64_t place = weight.base(run) + weight.places[sizes.entry_indices > 0 ? run : entry];
            for (std::int64_t k = 0; k < numbers; ++k) {
                const std::int64_t row = weight.owners[run] * lanes + k / slots;
                const std::uint8_t* const at = weight.values + entry * sizes.entry_values;
                const float value = sizes.quantised ? weight.scales[row] * reinterpret_cast<const std::int8_t*>(at)[k]
                                                    : reinterpret_cast<const float*>(at)[k];
                const std::int64_t within = sizes.entry_indices > 0 ? weight.indices[entry * numbers + k] : k % slots;
                if (value != 0) work(row, place * sizes.place_width + within, value);
            }
        }
}

}  // namespace

void add_what_is_not_finite(const PackedWeight& weight, const FormatSizes& sizes, std::int64_t slices, const Part& part,
                            const float* vector, std::int64_t columns, float* sums) {
    std::int64_t infinite = 0;
    bool all_numbers = true;
    for (std::int64_t j = 0; j < columns; ++j) {
        infinite += std::isinf(vector[j]);
        all_numbers = all_numbers && !std::isnan(vector[j]);
    }
    std::vector<std::int64_t> met(static_cast<std::size_t>(slices * lanes));
    if (all_numbers)
        each_number(weight, sizes, part.begin, part.end, [&](std::int64_t row, std::int64_t column, float value) {
            if (column >= columns || !std::isinf(vector[column])) return;
            sums[row] += value * vector[column];
            met[static_cast<std::size_t>(row)] += 1;
        });
    for (std::int64_t slice = 0; slice < slices; ++slice)
        if (slice % part.gates >= part.first_gate && slice % part.gates < part.last_gate)
            for (std::int64_t row = slice * lanes; row < (slice + 1) * lanes; ++row)
                if (!all_numbers || met[static_cast<std::size_t>(row)] < infinite)
                    sums[row] = std::numeric_limits<float>::quiet_NaN();
}

}  // namespace sparsernn
