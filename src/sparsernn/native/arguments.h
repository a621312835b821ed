#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
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
struct Scalar<double> {
    static constexpr const char *name = "float64", *codes = "d";
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
struct Scalar<std::uint64_t> {
    static constexpr const char *name = "uint64", *codes = "LQ";
};
template <>
struct Scalar<std::int32_t> {
    static constexpr const char *name = "int32", *codes = "il";
};
template <>
struct Scalar<std::int64_t> {
    static constexpr const char *name = "int64", *codes = "lq";
};

constexpr std::int64_t any = -1;  // a length that is not prescribed
using Shape = std::initializer_list<std::int64_t>;

// Where the numbers of an argument lie.
struct Extent {
    const char* name;
    std::uintptr_t begin, end;
    bool written;
};

// An array that an argument must be, exactly: its type, its shape, without gaps, writable if it is written to; nothing
// is converted or copied. The numbers stay where they are for as long as this lives.
template <typename T>
class Argument {
public:
    Argument(nanobind::handle array, const char* name, Shape shape, bool written = false) : name_(name), written_(written) {
        if (PyObject_GetBuffer(array.ptr(), &buffer_, PyBUF_FORMAT | PyBUF_STRIDES | (written ? PyBUF_WRITABLE : 0)) != 0) {
            PyErr_Clear();
            refuse(shape);
        }
        if (!fits(shape)) {
            PyBuffer_Release(&buffer_);
            refuse(shape);
        }
    }
    ~Argument() { PyBuffer_Release(&buffer_); }
    Argument(const Argument&) = delete;
    Argument& operator=(const Argument&) = delete;

    T* data() const { return static_cast<T*>(buffer_.buf); }
    std::int64_t length(int axis) const { return buffer_.shape[axis]; }
    std::int64_t count() const { return buffer_.len / static_cast<std::int64_t>(sizeof(T)); }
    Extent extent() const {
        const auto begin = reinterpret_cast<std::uintptr_t>(buffer_.buf);
        return {name_, begin, begin + static_cast<std::uintptr_t>(buffer_.len), written_};
    }

private:
    bool fits(Shape shape) const {
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

    [[noreturn]] void refuse(Shape shape) const {
        std::string lengths;
        for (const std::int64_t length : shape)
            lengths += (lengths.empty() ? "" : ", ") + (length == any ? std::string("any") : std::to_string(length));
        throw std::invalid_argument(std::string(name_) + " must be a " + (written_ ? "writable " : "") +
                                    "C-contiguous array of " + Scalar<T>::name + " and shape [" + lengths + "]");
    }

    const char* name_;
    bool written_;
    Py_buffer buffer_;
};

// The same, or None where it is not needed.
template <typename T>
class OptionalArgument {
public:
    OptionalArgument(nanobind::handle array, const char* name, Shape shape, bool written = false) {
        if (!array.is_none()) argument_.emplace(array, name, shape, written);
    }
    // One that must be there where it is needed, and must not be there elsewhere.
    OptionalArgument(nanobind::handle array, const char* name, bool needed, Shape shape, bool written = false) {
        if (needed) argument_.emplace(array, name, shape, written);
        else if (!array.is_none()) throw std::invalid_argument(std::string(name) + " must be None here");
    }
    explicit operator bool() const { return argument_.has_value(); }
    T* data() const { return argument_ ? argument_->data() : nullptr; }
    Extent extent() const { return argument_ ? argument_->extent() : Extent{"", 0, 0, false}; }

private:
    std::optional<Argument<T>> argument_;
};

// Throws if an array that is written to shares memory with another one.
template <typename... Arguments>
void require_apart(const Arguments&... arguments) {
    const Extent extents[] = {arguments.extent()...};
    for (const Extent& one : extents)
        for (const Extent& other : extents)
            if (&one != &other && one.written && one.begin < other.end && other.begin < one.end)
                throw std::invalid_argument(std::string(one.name) + " must not share memory with " + other.name);
}

// A whole number within bounds.
inline std::int64_t whole(nanobind::handle number, const char* name, std::int64_t least, std::int64_t most) {
    if (PyLong_CheckExact(number.ptr())) {
        int overflow = 0;
        const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
        if (overflow == 0 && value >= least && value <= most) return value;
    }
    throw std::invalid_argument(std::string(name) + " must be a whole number from " + std::to_string(least) + " to " +
                                std::to_string(most));
}

// Calls work(T()) with the type of an array of float32 or float64.
template <typename Work>
void with_type_of(nanobind::handle array, const char* name, Work work) {
    Py_buffer buffer;
    std::string code;
    if (PyObject_GetBuffer(array.ptr(), &buffer, PyBUF_FORMAT | PyBUF_STRIDES) == 0) {
        if (buffer.format != nullptr) code = buffer.format;
        PyBuffer_Release(&buffer);
    } else {
        PyErr_Clear();
    }
    if (code == Scalar<float>::codes) return work(float());
    if (code == Scalar<double>::codes) return work(double());
    throw std::invalid_argument(std::string(name) + " must be an array of float32 or float64");
}

constexpr std::int64_t most_threads = 1 << 16;

}  // namespace sparsernn
