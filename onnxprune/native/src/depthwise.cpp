// DepthwiseConv: one filter a channel, on plain NCHW tensors, so that no change of layout is needed between sparse layers.
#include <algorithm>

#include "kernels.h"
#include "operators.h"
#include "scratch.h"
#include "split.h"
#include "stripes.h"

namespace onnxprune {
namespace {

class DepthwiseConv : public Kernel {
 public:
  DepthwiseConv(const Node& node, Fusion fusion)
      : window_(window_of(node)), range_(range_of(node, fusion.activation)), pool_(Pool::shared()) {
    require(window_.depth == 1, "DepthwiseConv: a filter must have one input channel");
    require(window_.x.stride <= kLargestStride, "DepthwiseConv: the stride is too large");
  }

  void compute(const Call& call) override {
    const Tensor<float> x = call.input<float>(0), weight = call.input<float>(1), bias = call.input<float>(2);
    require(weight.size() == window_.rows * window_.taps(), "DepthwiseConv: the weight does not fit weight_shape");
    require(bias.shape.size() == 1 && bias.size() == window_.rows, "DepthwiseConv: bias must have one value a channel");
    const size_t taps = static_cast<size_t>(window_.taps());
    const Frame frame = frame_of(window_, x.shape);
    const Kernels& k = kernels_up_to(frame.out_width);
    float* y = call.output<float>(frame.out_shape);
    const size_t channels = static_cast<size_t>(frame.channels), images = channels * static_cast<size_t>(frame.batch);
    const size_t in = static_cast<size_t>(frame.height) * frame.width;
    const size_t out = static_cast<size_t>(frame.out_height) * frame.out_width;
    if (images == 0 || out == 0) return;

    const Stripes stripes(window_, frame, k.vector);
    const bool neighbours = window_.x.stride == 1 && window_.y.stride == 1 && window_.x.dilation == 1 &&
                            window_.y.dilation == 1 && window_.x.kernel == window_.y.kernel;
    const int dense = neighbours ? static_cast<int>(window_.x.kernel) : 0;

    const size_t parts = std::min<size_t>(images, kTasks), filters = static_cast<size_t>(window_.rows) / channels;
    const Scratch scratch(*pool_, parts * stripes.size * sizeof(float));
    call.parallel(parts, [&](size_t part) {
      float* copy = scratch.as<float>() + part * stripes.size;
      std::fill(copy, copy + stripes.size, 0.f);
      for (size_t i = images * part / parts; i < images * (part + 1) / parts; ++i)
        for (const Stripe& s : stripes.all) {
          stripes.fill(k, x.data + i * in, s, copy);
          for (size_t f = 0; f < filters; ++f) {
            const size_t row = i % channels * filters + f;
            float* to = y + (i * filters + f) * out + static_cast<size_t>(s.first) * static_cast<size_t>(frame.out_width);
            k.depthwise({copy, stripes.offset.data(), weight.data + row * taps, static_cast<int>(taps),
                         s.last - s.first, frame.out_width, static_cast<int>(window_.x.stride), dense,
                         stripes.row_stride, to, bias.data[row], range_.low, range_.high});
          }
        }
    });
  }

 private:
  Window window_;
  Range range_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace

std::unique_ptr<Kernel> make_depthwise_conv(const Node& node, Fusion fusion) {
  return std::make_unique<DepthwiseConv>(node, fusion);
}

}  // namespace onnxprune
