#include "runtime.h"

#include <string>

namespace onnxprune {

const abi::Api* runtime_api = nullptr;

abi::Status* as_status(const char* message) {
  return abi::CreateStatus::in(runtime_api)(abi::kInvalidArgument, (std::string("onnxprune: ") + message).c_str());
}

void check(abi::Status* status) {
  if (status == nullptr) return;
  std::string message = abi::GetErrorMessage::in(runtime_api)(status);
  abi::ReleaseStatus::in(runtime_api)(status);
  throw Failure(message);
}

Shape shape_of(const abi::Value* value) {
  abi::TensorInfo* info = nullptr;
  check(abi::GetTensorTypeAndShape::in(runtime_api)(value, &info));
  struct Release {
    abi::TensorInfo* info;
    ~Release() { abi::ReleaseTensorTypeAndShapeInfo::in(runtime_api)(info); }
  } release{info};
  size_t rank = 0;
  check(abi::GetDimensionsCount::in(runtime_api)(info, &rank));
  Shape shape(rank);
  check(abi::GetDimensions::in(runtime_api)(info, shape.data(), rank));
  return shape;
}

void* data_of(const abi::Value* value) {
  void* data = nullptr;
  check(abi::GetTensorMutableData::in(runtime_api)(const_cast<abi::Value*>(value), &data));
  return data;
}

int64_t Node::integer(const char* name) const {
  int64_t value = 0;
  check(abi::KernelInfoGetAttribute_int64::in(runtime_api)(info_, name, &value));
  return value;
}

float Node::number(const char* name) const {
  float value = 0;
  check(abi::KernelInfoGetAttribute_float::in(runtime_api)(info_, name, &value));
  return value;
}

std::vector<int64_t> Node::integers(const char* name) const {
  size_t count = 0;
  check(abi::KernelInfoGetAttributeArray_int64::in(runtime_api)(info_, name, nullptr, &count));
  std::vector<int64_t> values(count);
  if (count) check(abi::KernelInfoGetAttributeArray_int64::in(runtime_api)(info_, name, values.data(), &count));
  return values;
}

const abi::Value* Node::constant_value(size_t index, const char* what) const {
  int constant = 0;
  const abi::Value* value = nullptr;
  check(abi::KernelInfoGetConstantInput_tensor::in(runtime_api)(info_, index, &constant, &value));
  if (!constant || value == nullptr) throw Failure(std::string(what) + " must be an initializer");
  return value;
}

}  // namespace onnxprune
