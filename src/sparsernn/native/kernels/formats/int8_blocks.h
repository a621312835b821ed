#pragma once

#include "quantised.h"

namespace sparsernn {
namespace {

// int8, an entry: sixteen rows of four neighbouring columns.
struct Int8Blocks : QuantisedVectors<true> {
    static constexpr std::int64_t width = 4, bytes = 64;

    // As Blocks::accumulate.
    template <int many>
    [[gnu::always_inline]] static inline void accumulate(const PackedWeight& weight, std::int64_t begin, std::int64_t end,
                                             const Panel<std::uint8_t>& panel, float* sums, std::int64_t row) {
        constexpr int some = std::min(many, in_registers);
        each_slice<std::uint8_t>(
            weight, begin, end, sums, [&](std::int64_t run, std::int64_t count, auto& entries, float* to) {
                const Panel<std::uint8_t> read{panel.numbers + weight.base(run) * many * width, 0, panel.scales};
                if constexpr (many == 1) {
                    one(weight, run, count, entries, read, to);
                } else {
                    for (int n = 0; n < many; n += some)
                        several<some, many>(weight, run, count, entries, read, n, to + n * row, row);
                    entries.pass(count);
                }
            });
    }

private:
    using Eights = Entries<std::uint8_t>;

    [[gnu::always_inline]] static inline void one(const PackedWeight& weight, std::int64_t run, std::int64_t count,
                                                  Eights& entries, const Panel<std::uint8_t>& panel, float* to) {
        FourBySixteen whole[4] = {FourBySixteen(weight.shifts + run * lanes)};
        for (std::int64_t fours = count / 4; fours > 0; --fours, entries.pass(4))
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) {
                entries.fetch(i);
                whole[i].add_same(panel.numbers + entries.places[i] * width, entries.values + i * bytes);
            }
        for (std::int64_t rest = count % 4; rest > 0; --rest, entries.pass(1))
            whole[0].add_same(panel.numbers + *entries.places * width, entries.values);
        whole[0].add(whole[1]), whole[2].add(whole[3]), whole[0].add(whole[2]);
        add(weight, run, panel.scales[0], whole[0], to);
    }

    template <int some, int many>
    [[gnu::always_inline]] static inline void several(const PackedWeight& weight, std::int64_t run, std::int64_t count,
                                                      Eights entries, const Panel<std::uint8_t>& panel, int begin,
                                                      float* to, std::int64_t row) {
        FourBySixteen whole[some];
#pragma GCC unroll 16
        for (int n = 0; n < some; ++n) whole[n] = FourBySixteen(weight.shifts + run * lanes);
        for (; count > 0; --count, entries.pass(1)) {
            const std::uint8_t* const read = panel.numbers + (*entries.places * many + begin) * width;
#pragma GCC unroll 16
            for (int n = 0; n < some; ++n) whole[n].add_same(read + n * width, entries.values);
        }
#pragma GCC unroll 16
        for (int n = 0; n < some; ++n) add(weight, run, panel.scales[begin + n], whole[n], to + n * row);
    }
};

}  // namespace
}  // namespace sparsernn
