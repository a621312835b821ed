#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>
#include <stdexcept>

#include "arguments.h"
#include "bits.h"
#include "modules.h"

namespace nb = nanobind;

namespace {

using sparsernn::any;
using sparsernn::Argument;
using NumpyBytes = nb::ndarray<nb::numpy, std::uint8_t, nb::ndim<1>>;

// A numpy array that owns `size` bytes, filled by `fill` without the GIL.
template <typename Fill>
NumpyBytes filled(std::size_t size, Fill fill) {
    auto bytes = std::make_unique_for_overwrite<std::uint8_t[]>(size);
    {
        nb::gil_scoped_release unlocked;
        fill(bytes.get());
    }
    nb::capsule owner(bytes.get(), [](void* data) noexcept { delete[] static_cast<std::uint8_t*>(data); });
    return NumpyBytes(bytes.release(), {size}, owner);
}

NumpyBytes pack_bits(nb::handle array) {
    const Argument<std::uint8_t> flags(array, "flags", {any});
    const auto count = static_cast<std::size_t>(flags.count());
    return filled(count / 8 + (count % 8 != 0), [&](std::uint8_t* bits) { sparsernn::pack_bits(flags.data(), count, bits); });
}

NumpyBytes unpack_bits(nb::handle array, nb::handle number) {
    const Argument<std::uint8_t> bits(array, "bits", {any});
    const auto count = static_cast<std::size_t>(sparsernn::whole(number, "count", 0, PY_SSIZE_T_MAX));
    if (static_cast<std::size_t>(bits.count()) != count / 8 + (count % 8 != 0))
        throw std::invalid_argument("count must be a number of flags that take as many bytes as bits has");
    return filled(count, [&](std::uint8_t* flags) { sparsernn::unpack_bits(bits.data(), count, flags); });
}

}  // namespace

NB_MODULE(_native, module) {
    nb::set_leak_warnings(false);  // patterns of masks are kept for as long as the masks, to the very end
    module.def("pack_bits", &pack_bits, nb::arg("flags").none(), "One bit for each byte, lowest bit first: 1 where it is not 0.");
    module.def("unpack_bits", &unpack_bits, nb::arg("bits").none(), nb::arg("count").none(), "The first `count` bits as bytes 0 or 1.");
    sparsernn::bind_grams(module);
    sparsernn::bind_recurrence(module);
    sparsernn::bind_scan(module);
    sparsernn::bind_sparse(module);
}
