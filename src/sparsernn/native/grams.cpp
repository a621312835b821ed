#include "grams.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>

#include "arguments.h"
#include "modules.h"

namespace nb = nanobind;

namespace sparsernn {
namespace {

constexpr std::uint32_t blank = 32;
constexpr std::uint32_t word_factor = 0x9E3779B1, pair_factor = 0x85EBCA77, next_factor = 0xC2B2AE3D;
constexpr std::uint32_t run_factor = 0x27D4EB2F, last_factor = 0x165667B1;
constexpr std::size_t shortest = 3, longest = 5;

std::uint32_t folded(std::uint32_t code) { return code ^ (code >> 15); }

// What a character of ASCII belongs to: a word, a run of other marks, or a gap.
enum class Part { gap, word, marks };

constexpr Part part_of(std::uint8_t code) {
    if ((code >= 'a' && code <= 'z') || (code >= '0' && code <= '9') || code == '_') return Part::word;
    return code == ' ' || (code >= 9 && code <= 13) || (code >= 28 && code <= 31) ? Part::gap : Part::marks;
}

std::vector<std::uint32_t> words_of(std::span<const std::uint32_t> characters) {
    std::vector<std::uint32_t> codes;
    bool inside = false;
    std::uint32_t power = 1;
    for (const std::uint32_t character : characters) {
        if (character == blank) {
            inside = false;
            continue;
        }
        if (!inside) {
            codes.push_back(0);
            power = word_factor;
            inside = true;
        }
        codes.back() += character * power;
        power *= word_factor;
    }
    for (std::uint32_t& code : codes) code = folded(code) * run_factor;
    return codes;
}

}  // namespace

std::vector<std::uint32_t> apart(std::span<const std::uint8_t> text) {
    std::vector<std::uint32_t> characters{blank};
    characters.reserve(text.size() + text.size() / 2 + 2);
    Part before = Part::gap;
    for (std::uint8_t code : text) {
        if (code > 127) throw std::invalid_argument("text must be ASCII");
        if (code >= 'A' && code <= 'Z') code += 'a' - 'A';
        const Part part = part_of(code);
        if (part != before && before != Part::gap) characters.push_back(blank);
        if (part != Part::gap) characters.push_back(code);
        before = part;
    }
    if (before != Part::gap || characters.size() == 1) characters.push_back(blank);
    return characters;
}

std::vector<std::int32_t> text_grams(std::span<const std::uint32_t> characters, int bits) {
    const std::vector<std::uint32_t> words = words_of(characters);
    const int rest = 32 - bits;
    const std::size_t pairs = words.empty() ? 0 : words.size() - 1;
    std::size_t count = 1 + words.size() + pairs;
    for (std::size_t length = shortest; length <= longest && length <= characters.size(); ++length)
        count += characters.size() - length + 1;
    std::vector<std::int32_t> numbers(count);
    std::int32_t* next = numbers.data();
    const auto add = [&](std::uint32_t hash) { *next++ = static_cast<std::int32_t>(hash >> rest); };
    *next++ = static_cast<std::int32_t>(words.size());
    for (const std::uint32_t word : words) add(word * word_factor);
    for (std::size_t i = 0; i < pairs; ++i)
        add(((words[i] * pair_factor) ^ (words[i + 1] >> 15)) * next_factor + words[i + 1] * last_factor);
    std::vector<std::uint32_t> runs(characters.begin(), characters.end());
    for (std::uint32_t& run : runs) run *= word_factor;
    for (std::size_t length = 2; length <= longest && length <= characters.size(); ++length) {
        runs.resize(characters.size() - length + 1);
        const std::uint32_t* const last = characters.data() + length - 1;
        for (std::size_t i = 0; i < runs.size(); ++i) runs[i] = folded(runs[i]) * next_factor + last[i] * pair_factor;
        if (length < shortest) continue;
        for (std::size_t i = 0; i < runs.size(); ++i) next[i] = static_cast<std::int32_t>((folded(runs[i]) * run_factor) >> rest);
        next += runs.size();
    }
    return numbers;
}

namespace {

using Numbers = nb::ndarray<nb::numpy, std::int32_t, nb::ndim<1>>;

template <typename T, typename Characters>
Numbers grams_of(nb::handle array, nb::handle number, const Characters& characters_of) {
    const Argument<T> text(array, "characters", {any});
    const auto bits = static_cast<int>(whole(number, "bits", 1, 30));
    if (text.count() > (std::int64_t{1} << 28)) throw std::invalid_argument("characters must be at most 2^28");
    auto made = std::make_unique<std::vector<std::int32_t>>();
    {
        nb::gil_scoped_release unlocked;
        *made = text_grams(characters_of(std::span<const T>(text.data(), static_cast<std::size_t>(text.count()))), bits);
    }
    std::vector<std::int32_t>* const numbers = made.release();
    nb::capsule owner(numbers, [](void* data) noexcept { delete static_cast<std::vector<std::int32_t>*>(data); });
    return Numbers(numbers->data(), {numbers->size()}, owner);
}

Numbers bound_text_grams(nb::handle array, nb::handle number) {
    return grams_of<std::uint32_t>(array, number, [](std::span<const std::uint32_t> characters) { return characters; });
}

Numbers bound_ascii_grams(nb::handle array, nb::handle number) { return grams_of<std::uint8_t>(array, number, apart); }

void bound_gram_sums(nb::handle text_, nb::handle places_, nb::handle weights_, nb::handle rows_, nb::handle sums_,
                     nb::handle words_) {
    const Argument<std::int32_t> text(text_, "text", {any});
    const Argument<std::uint64_t> places(places_, "places", {any});
    const Argument<float> weights(weights_, "weights", {any, any});
    const std::int64_t count = weights.length(0), outputs = weights.length(1);
    const Argument<std::int32_t> rows(rows_, "rows", {count});
    const Argument<float> sums(sums_, "sums", {outputs}, true);
    if (text.count() < 1 || text.data()[0] < 0 || text.data()[0] >= text.count())
        throw std::invalid_argument("text must begin with the number of its words");
    const Argument<std::int32_t> words(words_, "words", {text.data()[0]}, true);
    require_apart(text, places, weights, rows, sums, words);
    const GramTable table{{places.data(), static_cast<std::size_t>(places.count())}, count};
    const std::span<const std::int32_t> grams(text.data() + 1, static_cast<std::size_t>(text.count() - 1));
    for (const std::int32_t gram : grams)
        if (gram < 0 || (gram >> 5) >= places.count())
            throw std::invalid_argument("text must hold places that places tell of");
    // A gram counts once, and one that is not among them stands behind all that are: hardly a branch asks which it is.
    std::vector<std::uint8_t> unseen(static_cast<std::size_t>(count) + 1, 1);
    unseen.back() = 0;
    std::fill_n(sums.data(), outputs, 0.0F);
    const auto step = [&](std::size_t i) {
        const std::int64_t gram = table.find(grams[i]);
        const auto at = static_cast<std::size_t>(gram < 0 ? count : gram);
        const bool first = unseen[at] != 0;
        unseen[at] = 0;
        const float* const weight = weights.data() + (gram < 0 ? 0 : gram * outputs);
        for (std::int64_t j = 0; j < outputs; ++j) {
            const float part = weight[j];
            sums.data()[j] += first ? part : 0.0F;
        }
        return gram;
    };
    std::fill_n(words.data(), words.count(), 0);
    const auto leading = static_cast<std::size_t>(words.count());
    for (std::size_t i = 0; i < grams.size() && count > 0; ++i) {
        const std::int64_t gram = step(i);
        if (i < leading && gram >= 0) words.data()[i] = rows.data()[gram];
    }
    const float scale = grams.empty() ? 0.0F : 1.0F / std::sqrt(static_cast<float>(grams.size()));
    for (std::int64_t j = 0; j < outputs; ++j) sums.data()[j] *= scale;
}

}  // namespace

void bind_grams(nb::module_& module) {
    module.def("text_grams", &bound_text_grams, nb::arg("characters").none(), nb::arg("bits").none(),
               "How many words a text has, and the places of its words, pairs of words and runs of characters.");
    module.def("ascii_grams", &bound_ascii_grams, nb::arg("characters").none(), nb::arg("bits").none(),
               "The same of a text of ASCII whose words and runs of other marks are not apart yet.");
    module.def("gram_sums", &bound_gram_sums, nb::arg("text").none(), nb::arg("places").none(), nb::arg("weights").none(),
               nb::arg("rows").none(), nb::arg("sums").none(), nb::arg("words").none(),
               "The weights of a text's distinct n-grams, added, and the rows of its words.");
}

}  // namespace sparsernn
