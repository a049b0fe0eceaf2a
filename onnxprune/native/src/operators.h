// The operators of the domain "onnxprune". Each has a model-local function of the same name and signature that decodes
// the weight and calls the operators of ONNX (onnxprune/sparse/functions.py): what a kernel computes is defined there.
// Those of backward passes have none: no file has them (onnxprune/capture/grad).
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "abi.h"
#include "runtime.h"

namespace onnxprune {

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void compute(const Call& call) = 0;  // may run in several threads at the same time
};

// What is fused behind the multiplication. It is part of the name, so that each fallback function is exactly the
// operators that it stands for: SparseConv, SparseConvRelu, SparseConvClip, SparseConvAdd, SparseConvAddRelu, ...
enum class Activation { kNone, kRelu, kClip };

struct Fusion {
  bool add;
  Activation activation;
};

struct Range {
  float low, high;
};

Range range_of(const Node& node, Activation activation);

using Create = std::unique_ptr<Kernel> (*)(const Node& node, Fusion fusion);

struct Operator {
  std::string name;
  std::vector<int> inputs;  // element types
  int output;
  Create create;
  Fusion fusion;
};

std::unique_ptr<Kernel> make_sparse_conv(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_sparse_matmul(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_depthwise_conv(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_sparse_qconv(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_sparse_qmatmul(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_depthwise_gradient(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_depthwise_transpose(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_clip_gradient(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_sigmoid_gradient(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_weighted_distance(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_weighted_difference(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_squared_distance(const Node& node, Fusion fusion);
std::unique_ptr<Kernel> make_scaled_difference(const Node& node, Fusion fusion);

const std::vector<Operator>& operators();

}  // namespace onnxprune
