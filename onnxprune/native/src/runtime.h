// ONNX Runtime as C++: typed access to attributes, tensors and threads. Every status is looked at; failures are thrown
// as Failure and turned back into a status where the runtime called us (guarded).
#pragma once
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <type_traits>
#include <vector>

#include "abi.h"

namespace onnxprune {

struct Failure : std::exception {
  explicit Failure(std::string text) : message(std::move(text)) {}
  const char* what() const noexcept override { return message.c_str(); }
  std::string message;
};

inline void require(bool condition, const char* message) {
  if (!condition) throw Failure(message);
}

// The table of the runtime that loaded this library. Set once, before any kernel exists.
extern const abi::Api* runtime_api;

void check(abi::Status* status);
abi::Status* as_status(const char* message);

// Runs body; an exception becomes the status that is returned.
template <class Body>
abi::Status* guarded(Body&& body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return as_status(error.what());
  } catch (...) {
    return as_status("unknown failure");
  }
}

using Shape = std::vector<int64_t>;

template <class T>
struct Tensor {
  const T* data = nullptr;
  Shape shape;
  int64_t size() const {
    int64_t count = 1;
    for (int64_t dim : shape) count *= dim;
    return count;
  }
};

Shape shape_of(const abi::Value* value);
void* data_of(const abi::Value* value);

// What a node says about itself: attributes, and inputs that are initializers.
class Node {
 public:
  explicit Node(const abi::KernelInfo* info) : info_(info) {}
  int64_t integer(const char* name) const;
  float number(const char* name) const;
  std::vector<int64_t> integers(const char* name) const;
  template <class T>
  Tensor<T> constant(size_t index, const char* what) const {
    const abi::Value* value = constant_value(index, what);
    return {static_cast<const T*>(data_of(value)), shape_of(value)};
  }

 private:
  const abi::Value* constant_value(size_t index, const char* what) const;
  const abi::KernelInfo* info_;
};

// One run of a node.
class Call {
 public:
  explicit Call(abi::KernelContext* context) : context_(context) {}
  template <class T>
  Tensor<T> input(size_t index) const {
    const abi::Value* value = nullptr;
    check(abi::KernelContext_GetInput::in(runtime_api)(context_, index, &value));
    require(value != nullptr, "an input is missing");
    return {static_cast<const T*>(data_of(value)), shape_of(value)};
  }
  template <class T>
  T* output(const Shape& shape) const {
    abi::Value* value = nullptr;
    check(abi::KernelContext_GetOutput::in(runtime_api)(context_, 0, shape.data(), shape.size(), &value));
    return static_cast<T*>(data_of(value));
  }
  // Calls task(0) ... task(count - 1) on the threads of the session. Tasks must not throw.
  template <class Task>
  void parallel(size_t count, Task&& task) const {
    if (count == 1) task(size_t{0});
    if (count <= 1) return;
    auto call = [](void* body, size_t index) { (*static_cast<std::remove_reference_t<Task>*>(body))(index); };
    check(abi::KernelContext_ParallelFor::in(runtime_api)(context_, call, count, count, &task));
  }

 private:
  abi::KernelContext* context_;
};

}  // namespace onnxprune
