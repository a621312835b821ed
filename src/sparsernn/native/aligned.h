#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

namespace sparsernn {

// Numbers aligned to 64 bytes, zeros at first.
template <typename T>
class Aligned {
public:
    explicit Aligned(std::int64_t count = 0)
        : count_(count),
          data_(static_cast<T*>(::operator new(static_cast<std::size_t>(bytes()) + 64, std::align_val_t(64)))) {
        std::memset(static_cast<void*>(data_.get()), 0, static_cast<std::size_t>(bytes()) + 64);
    }
    Aligned(const T* from, std::int64_t count) : Aligned(count) { std::copy_n(from, count, data_.get()); }

    T* data() const { return data_.get(); }
    std::int64_t count() const { return count_; }
    std::int64_t bytes() const { return count_ * static_cast<std::int64_t>(sizeof(T)); }

private:
    struct Release {
        void operator()(T* data) const { ::operator delete(data, std::align_val_t(64)); }
    };
    std::int64_t count_;
    std::unique_ptr<T, Release> data_;
};

using NumpyFloats = nanobind::ndarray<nanobind::numpy, float, nanobind::ndim<2>>;

// Zeros as a numpy array: [rows columns].
class OwnArray {
public:
    OwnArray(std::int64_t rows, std::int64_t columns) {
        auto numbers = std::make_unique<Aligned<float>>(rows * columns);
        data_ = numbers->data(), count_ = numbers->count();
        const auto release = [](void* data) noexcept { delete static_cast<Aligned<float>*>(data); };
        const nanobind::capsule owner(numbers.get(), release);
        numbers.release();
        array_ = NumpyFloats(data_, {static_cast<std::size_t>(rows), static_cast<std::size_t>(columns)}, owner).cast();
        base_ = array_.attr("base");
    }
    float* data() const { return data_; }
    nanobind::object array() const { return array_; }
    // Whether somebody else holds the array, or a view of it, whose base is that of the array.
    bool is_held() const {
#ifdef Py_GIL_DISABLED
        return true;
#else
        return Py_REFCNT(array_.ptr()) > 1 || Py_REFCNT(base_.ptr()) > 2;
#endif
    }
    void clear() { std::fill_n(data_, count_, 0.f); }

private:
    float* data_;
    std::int64_t count_;
    nanobind::object array_, base_;
};

}  // namespace sparsernn
