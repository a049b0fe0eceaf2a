#include "operators.h"

#include <cmath>

namespace onnxprune {
namespace {

struct Activated {
  const char* suffix;
  Activation activation;
};

constexpr Activated kActivations[] = {{"", Activation::kNone}, {"Relu", Activation::kRelu}, {"Clip", Activation::kClip}};

std::vector<Operator> table() {
  using namespace abi;
  std::vector<Operator> all;
  const auto family = [&](const std::string& name, std::vector<int> inputs, Create create, bool add) {
    for (const Activated& a : kActivations) all.push_back({name + a.suffix, inputs, kFloat, create, {add, a.activation}});
  };
  family("SparseConv", {kFloat, kFloat, kUint8, kFloat}, make_sparse_conv, false);
  family("SparseConvAdd", {kFloat, kFloat, kUint8, kFloat, kFloat}, make_sparse_conv, true);
  family("SparseMatMul", {kFloat, kFloat, kUint8, kFloat}, make_sparse_matmul, false);
  family("DepthwiseConv", {kFloat, kFloat, kFloat}, make_depthwise_conv, false);
  const Fusion none{false, Activation::kNone};
  // x, its scale and zero point, values, gaps, scale of the weight, scale and zero point of y, bias
  all.push_back({"SparseQConv",
                 {kUint8, kFloat, kUint8, kInt8, kUint8, kFloat, kFloat, kUint8, kInt32},
                 kUint8, make_sparse_qconv, none});
  // x, its scale and zero point, values, gaps, scale of the weight, bias
  all.push_back(
      {"SparseQMatMul", {kUint8, kFloat, kUint8, kInt8, kUint8, kFloat, kFloat}, kFloat, make_sparse_qmatmul, none});
  // Backward passes; graphs of training alone have them.
  all.push_back({"DepthwiseGradient", {kFloat, kFloat}, kFloat, make_depthwise_gradient, none});
  all.push_back({"DepthwiseTranspose", {kFloat, kFloat}, kFloat, make_depthwise_transpose, none});
  all.push_back({"ClipGradient", {kFloat, kFloat}, kFloat, make_clip_gradient, none});
  all.push_back({"SigmoidGradient", {kFloat, kFloat}, kFloat, make_sigmoid_gradient, none});
  all.push_back({"SquaredDistance", {kFloat, kFloat}, kFloat, make_squared_distance, none});
  all.push_back({"WeightedSquaredDistance", {kFloat, kFloat, kFloat}, kFloat, make_weighted_distance, none});
  for (const bool add : {false, true}) {
    const std::string name = add ? "ScaledDifferenceAdd" : "ScaledDifference";
    const size_t count = add ? 4 : 3;  // a, b, scale, (weight,) what is added
    const Fusion fusion{add, Activation::kNone};
    all.push_back({name, std::vector<int>(count, kFloat), kFloat, make_scaled_difference, fusion});
    all.push_back({"Weighted" + name, std::vector<int>(count + 1, kFloat), kFloat, make_weighted_difference, fusion});
  }
  return all;
}

}  // namespace

Range range_of(const Node& node, Activation activation) {
  if (activation == Activation::kNone) return {-INFINITY, INFINITY};
  if (activation == Activation::kRelu) return {0.f, INFINITY};
  const Range range{node.number("low"), node.number("high")};
  require(range.low <= range.high, "the bounds of the clip are in the wrong order");
  return range;
}

const std::vector<Operator>& operators() {
  static const std::vector<Operator> all = table();
  return all;
}

}  // namespace onnxprune
