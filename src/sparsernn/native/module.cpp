#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>

#include "bits.h"
#include "modules.h"

namespace nb = nanobind;

namespace {

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
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

NumpyBytes pack_bits(const Bytes& flags) {
    const std::size_t count = flags.shape(0);
    return filled((count + 7) / 8, [&](std::uint8_t* bits) { sparsernn::pack_bits(flags.data(), count, bits); });
}

NumpyBytes unpack_bits(const Bytes& bits, std::size_t count) {
    if (bits.shape(0) != count / 8 + (count % 8 != 0)) throw nb::value_error("unpack_bits: bits and count disagree");
    return filled(count, [&](std::uint8_t* flags) { sparsernn::unpack_bits(bits.data(), count, flags); });
}

}  // namespace

NB_MODULE(_native, module) {
    nb::set_leak_warnings(false);  // patterns of masks are kept for as long as the masks, to the very end
    module.def("pack_bits", &pack_bits, nb::arg("flags"), "One bit for each byte, lowest bit first: 1 where it is not 0.");
    module.def("unpack_bits", &unpack_bits, nb::arg("bits"), nb::arg("count"), "The first `count` bits as bytes 0 or 1.");
    sparsernn::bind_recurrence(module);
    sparsernn::bind_scan(module);
    sparsernn::bind_sparse(module);
}
