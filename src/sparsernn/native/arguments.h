#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace sparsernn {

template <typename T>
struct Scalar;
template <>
struct Scalar<float> {
    static constexpr const char *name = "float32", *codes = "f";
};
template <>
struct Scalar<std::uint8_t> {
    static constexpr const char *name = "uint8", *codes = "B";
};
template <>
struct Scalar<std::uint16_t> {
    static constexpr const char *name = "uint16", *codes = "H";
};
template <>
struct Scalar<std::uint32_t> {
    static constexpr const char *name = "uint32", *codes = "IL";
};
template <>
struct Scalar<std::int64_t> {
    static constexpr const char *name = "int64", *codes = "lq";
};

// An array that an argument must be, exactly: its type, its shape, without gaps; nothing is converted or copied. The
// numbers stay where they are for as long as this lives.
template <typename T>
class Argument {
public:
    static constexpr std::int64_t any = -1;  // a length that is not prescribed

    Argument(nanobind::handle array, const char* name, std::initializer_list<std::int64_t> shape, bool written = false) {
        if (PyObject_GetBuffer(array.ptr(), &buffer_, PyBUF_FORMAT | PyBUF_STRIDES | (written ? PyBUF_WRITABLE : 0)) != 0) {
            PyErr_Clear();
            refuse(name, shape, written);
        }
        if (!fits(shape)) {
            PyBuffer_Release(&buffer_);
            refuse(name, shape, written);
        }
    }
    ~Argument() { PyBuffer_Release(&buffer_); }
    Argument(const Argument&) = delete;
    Argument& operator=(const Argument&) = delete;

    T* data() const { return static_cast<T*>(buffer_.buf); }
    std::int64_t length(int axis) const { return buffer_.shape[axis]; }
    std::int64_t count() const { return buffer_.len / static_cast<std::int64_t>(sizeof(T)); }

private:
    bool fits(std::initializer_list<std::int64_t> shape) const {
        const char* const code = buffer_.format;
        if (code == nullptr || *code == 0 || code[1] != 0 || std::string(Scalar<T>::codes).find(*code) == std::string::npos)
            return false;
        if (buffer_.itemsize != sizeof(T) || buffer_.ndim != static_cast<int>(shape.size())) return false;
        int axis = 0;
        for (const std::int64_t length : shape) {
            if (length != any && buffer_.shape[axis] != length) return false;
            ++axis;
        }
        if (buffer_.len == 0) return true;
        return PyBuffer_IsContiguous(&buffer_, 'C') && reinterpret_cast<std::uintptr_t>(buffer_.buf) % alignof(T) == 0;
    }

    [[noreturn]] static void refuse(const char* name, std::initializer_list<std::int64_t> shape, bool written) {
        std::string lengths;
        for (const std::int64_t length : shape)
            lengths += (lengths.empty() ? "" : ", ") + (length == any ? std::string("any") : std::to_string(length));
        throw std::invalid_argument(std::string(name) + " must be a " + (written ? "writable " : "") + "C-contiguous array of " +
                                    Scalar<T>::name + " and shape [" + lengths + "]");
    }

    Py_buffer buffer_;
};

}  // namespace sparsernn
