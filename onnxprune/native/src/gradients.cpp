// DepthwiseGradient, DepthwiseTranspose, ClipGradient, SigmoidGradient, SquaredDistance, ScaledDifference:
// what ONNX can say only in many passes over memory.
#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "operators.h"
#include "scratch.h"
#include "split.h"
#include "stripes.h"

namespace onnxprune {
namespace {

constexpr int64_t kPiece = 1 << 20;  // numbers that one call of a kernel goes through

// The gradient for the weight of a DepthwiseConv of one filter a channel: of x and the gradient for its output.
class DepthwiseGradient : public Kernel {
 public:
  DepthwiseGradient(const Node& node, Fusion) : window_(window_of(node)), pool_(Pool::shared()) {
    require(window_.depth == 1 && window_.rows == window_.group, "DepthwiseGradient: not one filter a channel");
    require(window_.x.stride <= kLargestStride, "DepthwiseGradient: the stride is too large");
  }

  void compute(const Call& call) override {
    const Tensor<float> x = call.input<float>(0), dy = call.input<float>(1);
    const Frame frame = frame_of(window_, x.shape);
    require(dy.shape == frame.out_shape, "DepthwiseGradient: the gradient has not the shape of the output");
    Shape shape{window_.rows, 1};
    if (window_.rank == 2) shape.push_back(window_.y.kernel);
    shape.push_back(window_.x.kernel);
    float* to = call.output<float>(shape);
    const Kernels& k = kernels_up_to(frame.out_width);
    const Stripes stripes(window_, frame, k.vector);
    const size_t channels = static_cast<size_t>(frame.channels), taps = stripes.offset.size();
    const size_t in = static_cast<size_t>(frame.height) * static_cast<size_t>(frame.width);
    const size_t wide = static_cast<size_t>(frame.out_width), out = static_cast<size_t>(frame.out_height) * wide;
    const size_t parts = std::min<size_t>(channels, kTasks);
    const Scratch scratch(*pool_, parts * (stripes.size * sizeof(float) + taps * sizeof(double)));
    call.parallel(parts, [&](size_t part) {
      // sums first: they are the larger type
      double* sum = scratch.as<double>() + part * taps;
      float* copy = reinterpret_cast<float*>(scratch.as<double>() + parts * taps) + part * stripes.size;
      std::fill(copy, copy + stripes.size, 0.f);
      for (size_t c = channels * part / parts; c < channels * (part + 1) / parts; ++c) {
        std::fill(sum, sum + taps, 0.0);
        for (size_t n = 0; n < static_cast<size_t>(frame.batch); ++n)
          for (const Stripe& s : stripes.all) {
            stripes.fill(k, x.data + (n * channels + c) * in, s, copy);
            k.depthwise_gradient({copy, stripes.offset.data(), static_cast<int>(taps), s.last - s.first,
                                  frame.out_width, static_cast<int>(window_.x.stride), stripes.row_stride,
                                  dy.data + (n * channels + c) * out + static_cast<size_t>(s.first) * wide, sum});
          }
        std::transform(sum, sum + taps, to + c * taps, [](double one) { return static_cast<float>(one); });
      }
    });
  }

 private:
  Window window_;
  std::shared_ptr<Pool> pool_;
};

// The gradient for the input of a DepthwiseConv with strides: of the gradient for its output, and the weight. The rows of
// dy are spread out to the places of the input, zeros in between, where the mirrored filter goes over them.
class DepthwiseTranspose : public Kernel {
 public:
  DepthwiseTranspose(const Node& node, Fusion)
      : window_(window_of(node)), size_(node.integers("size")), pool_(Pool::shared()) {
    require(window_.depth == 1 && window_.rows == window_.group, "DepthwiseTranspose: not one filter a channel");
    require(size_.size() == static_cast<size_t>(window_.rank), "DepthwiseTranspose: size does not fit weight_shape");
    for (const Axis& axis : {window_.y, window_.x})
      require(std::max(axis.before, axis.after) < axis.reach(), "DepthwiseTranspose: the pads are too large");
  }

  void compute(const Call& call) override {
    const Tensor<float> dy = call.input<float>(0), weight = call.input<float>(1);
    require(!dy.shape.empty(), "DepthwiseTranspose: wrong rank of the gradient");
    Shape shape{dy.shape[0], window_.rows};
    shape.insert(shape.end(), size_.begin(), size_.end());
    const Frame frame = frame_of(window_, shape);
    require(dy.shape == frame.out_shape, "DepthwiseTranspose: the gradient has not the shape of the output");
    require(weight.size() == window_.rows * window_.taps(), "DepthwiseTranspose: the weight does not fit weight_shape");
    float* to = call.output<float>(shape);
    const Kernels& k = kernels_up_to(frame.width);
    const Axis &y = window_.y, &x = window_.x;
    const size_t wide = static_cast<size_t>(frame.width + x.reach() - 1), taps = static_cast<size_t>(window_.taps());
    const size_t spread = wide * static_cast<size_t>(frame.height + y.reach() - 1) + 8 * static_cast<size_t>(k.vector);
    std::vector<int32_t> offset;
    for (int64_t i = 0; i < y.kernel; ++i)
      for (int64_t j = 0; j < x.kernel; ++j)
        offset.push_back(static_cast<int32_t>(i * y.dilation * static_cast<int64_t>(wide) + j * x.dilation));
    const bool neighbours = x.dilation == 1 && y.dilation == 1 && x.kernel == y.kernel;
    const int dense = neighbours ? static_cast<int>(x.kernel) : 0;
    const size_t channels = static_cast<size_t>(frame.channels), images = channels * static_cast<size_t>(frame.batch);
    const size_t in = static_cast<size_t>(frame.height) * static_cast<size_t>(frame.width);
    const size_t narrow = static_cast<size_t>(frame.out_width), out = static_cast<size_t>(frame.out_height) * narrow;
    const size_t first = static_cast<size_t>(y.reach() - 1 - y.before) * wide + static_cast<size_t>(x.reach() - 1 - x.before);
    if (images == 0 || in == 0) return;
    const size_t parts = std::min<size_t>(images, kTasks);
    const Scratch scratch(*pool_, parts * (spread + taps) * sizeof(float));
    call.parallel(parts, [&](size_t part) {
      float *copy = scratch.as<float>() + part * (spread + taps), *mirrored = copy + spread;
      std::fill(copy, copy + spread, 0.f);  // what lies between the places of dy stays so
      for (size_t i = images * part / parts; i < images * (part + 1) / parts; ++i) {
        const float *from = dy.data + i * out, *filter = weight.data + i % channels * taps;
        for (size_t row = 0; row < static_cast<size_t>(frame.out_height); ++row) {
          float* line = copy + first + row * static_cast<size_t>(y.stride) * wide;
          for (size_t column = 0; column < narrow; ++column)
            line[column * static_cast<size_t>(x.stride)] = from[row * narrow + column];
        }
        std::reverse_copy(filter, filter + taps, mirrored);
        k.depthwise({copy, offset.data(), mirrored, static_cast<int>(taps), frame.height, frame.width, 1, dense, wide,
                     to + i * in, 0.f, -INFINITY, INFINITY});
      }
    });
  }

 private:
  Window window_;
  std::vector<int64_t> size_;
  std::shared_ptr<Pool> pool_;
};

// Calls piece(first, count) for pieces of `size` numbers.
template <class Piece>
void in_pieces(const Call& call, int64_t size, Piece&& piece) {
  const int64_t pieces = (size + kPiece - 1) / kPiece;
  call.parallel(static_cast<size_t>(pieces), [&](size_t p) {
    const int64_t first = static_cast<int64_t>(p) * kPiece;
    piece(first, static_cast<int>(std::min(kPiece, size - first)));
  });
}

// dy where low < y < high, else 0: y is what a clip gave.
class ClipGradient : public Kernel {
 public:
  ClipGradient(const Node& node, Fusion) : low_(node.number("low")), high_(node.number("high")) {}

  void compute(const Call& call) override {
    const Tensor<float> y = call.input<float>(0), dy = call.input<float>(1);
    require(y.shape == dy.shape, "ClipGradient: the gradient has not the shape of the output");
    float* to = call.output<float>(y.shape);
    const Kernels& k = kernels();
    in_pieces(call, y.size(), [&](int64_t first, int count) {
      k.clip_gradient(y.data + first, dy.data + first, count, low_, high_, to + first);
    });
  }

 private:
  float low_, high_;
};

// dy * y * (1 - y): y is what a sigmoid gave.
class SigmoidGradient : public Kernel {
 public:
  SigmoidGradient(const Node&, Fusion) {}

  void compute(const Call& call) override {
    const Tensor<float> y = call.input<float>(0), dy = call.input<float>(1);
    require(y.shape == dy.shape, "SigmoidGradient: the gradient has not the shape of the output");
    float* to = call.output<float>(y.shape);
    in_pieces(call, y.size(), [&](int64_t first, int count) {
      kernels().sigmoid_gradient(y.data + first, dy.data + first, count, to + first);
    });
  }
};

// How weights of positions lie on a tensor: of its shape, or 1 on the axis of channels.
struct Rows {
  int64_t outer = 1, channels = 1, inner;

  // Without weights it is one row.
  explicit Rows(int64_t size) : inner(size) {}

  Rows(const Shape& shape, const Shape& weight) : inner(1) {
    require(shape.size() == weight.size(), "the weights have not the rank of the values");
    bool after = false;
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      if (weight[axis] == shape[axis]) {
        (after ? inner : outer) *= shape[axis];
        continue;
      }
      require(weight[axis] == 1 && !after, "the weights do not fit the values");
      channels = shape[axis];
      after = true;
    }
    if (!after) std::swap(outer, inner);
  }

  // Calls row(place in the tensor, place in the weights, count); with weights that are numbers of whole rows, the last is
  // the number of channels and there is one weight.
  template <class Row>
  void each(Row&& row) const {
    const bool numbers = inner == 1;
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t c = 0; c < (numbers ? 1 : channels); ++c)
        for (int64_t i = 0, all = numbers ? channels : inner; i < all; i += kPiece)
          row((o * channels + c) * inner + i, o * inner + (numbers ? 0 : i), static_cast<int>(std::min(kPiece, all - i)));
  }
};

// The mean of the squares of a - b; Weighted: each counts as much as its position does.
template <bool Weighted>
class SquaredDistance : public Kernel {
 public:
  SquaredDistance(const Node&, Fusion) {}

  void compute(const Call& call) override {
    const Tensor<float> a = call.input<float>(0), b = call.input<float>(1);
    require(a.shape == b.shape, "SquaredDistance: the shapes differ");
    const Tensor<float> weight = Weighted ? call.input<float>(2) : Tensor<float>{};
    const Rows rows = Weighted ? Rows(a.shape, weight.shape) : Rows(a.size());
    float* to = call.output<float>({});
    double total = 0;
    rows.each([&](int64_t at, int64_t from, int count) {
      const bool number = Weighted && rows.inner == 1;
      const float* weights = Weighted && !number ? weight.data + from : nullptr;
      const double found = kernels().squared_distance(a.data + at, b.data + at, weights, count);
      total += number ? found * static_cast<double>(weight.data[from]) : found;
    });
    *to = static_cast<float>(total / static_cast<double>(std::max<int64_t>(a.size(), 1)));
  }
};

// scale * weight * (a - b), the scale being a number; with `add`, to a tensor of the same shape.
template <bool Weighted>
class ScaledDifference : public Kernel {
 public:
  ScaledDifference(const Node&, Fusion fusion) : add_(fusion.add) {}

  void compute(const Call& call) override {
    const Tensor<float> a = call.input<float>(0), b = call.input<float>(1), scale = call.input<float>(2);
    require(a.shape == b.shape, "ScaledDifference: the shapes differ");
    require(scale.size() == 1, "ScaledDifference: the scale must be one number");
    const Tensor<float> weight = Weighted ? call.input<float>(3) : Tensor<float>{};
    const Tensor<float> more = add_ ? call.input<float>(Weighted ? 4 : 3) : Tensor<float>{};
    require(!add_ || more.shape == a.shape, "ScaledDifference: what is added has another shape");
    const Rows rows = Weighted ? Rows(a.shape, weight.shape) : Rows(a.size());
    float* to = call.output<float>(a.shape);
    rows.each([&](int64_t at, int64_t from, int count) {
      const bool number = Weighted && rows.inner == 1;
      kernels().scaled_difference(a.data + at, b.data + at, Weighted && !number ? weight.data + from : nullptr, count,
                                  number ? *scale.data * weight.data[from] : *scale.data,
                                  add_ ? more.data + at : nullptr, to + at);
    });
  }

 private:
  bool add_;
};

}  // namespace

std::unique_ptr<Kernel> make_depthwise_gradient(const Node& node, Fusion fusion) {
  return std::make_unique<DepthwiseGradient>(node, fusion);
}

std::unique_ptr<Kernel> make_depthwise_transpose(const Node& node, Fusion fusion) {
  return std::make_unique<DepthwiseTranspose>(node, fusion);
}

std::unique_ptr<Kernel> make_clip_gradient(const Node& node, Fusion fusion) {
  return std::make_unique<ClipGradient>(node, fusion);
}

std::unique_ptr<Kernel> make_sigmoid_gradient(const Node& node, Fusion fusion) {
  return std::make_unique<SigmoidGradient>(node, fusion);
}

std::unique_ptr<Kernel> make_squared_distance(const Node& node, Fusion fusion) {
  return std::make_unique<SquaredDistance<false>>(node, fusion);
}

std::unique_ptr<Kernel> make_weighted_distance(const Node& node, Fusion fusion) {
  return std::make_unique<SquaredDistance<true>>(node, fusion);
}

std::unique_ptr<Kernel> make_scaled_difference(const Node& node, Fusion fusion) {
  return std::make_unique<ScaledDifference<false>>(node, fusion);
}

std::unique_ptr<Kernel> make_weighted_difference(const Node& node, Fusion fusion) {
  return std::make_unique<ScaledDifference<true>>(node, fusion);
}

}  // namespace onnxprune
