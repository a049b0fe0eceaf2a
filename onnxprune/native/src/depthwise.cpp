// DepthwiseConv: one filter a channel, on plain NCHW tensors, so that no change of layout is needed between sparse layers.
#include <algorithm>

#include "kernels.h"
#include "operators.h"
#include "scratch.h"
#include "split.h"
#include "window.h"

namespace onnxprune {
namespace {

constexpr int64_t kLargestStride = 1024;  // reads beyond a row are in proportion to it

class DepthwiseConv : public Kernel {
 public:
  DepthwiseConv(const Node& node, Fusion fusion)
      : window_(window_of(node)), range_(range_of(node, fusion.activation)), pool_(Pool::shared()) {
    const Tensor<float> weight = node.constant<float>(1, "the weight"), bias = node.constant<float>(2, "the bias");
    require(window_.depth == 1, "DepthwiseConv: a filter must have one input channel");
    require(window_.x.stride <= kLargestStride, "DepthwiseConv: the stride is too large");
    require(weight.size() == window_.rows * window_.taps(), "DepthwiseConv: the weight does not fit weight_shape");
    require(bias.shape.size() == 1 && bias.size() == window_.rows, "DepthwiseConv: bias must have one value a channel");
    weight_.assign(weight.data, weight.data + weight.size());
    bias_.assign(bias.data, bias.data + bias.size());
  }

  void compute(const Call& call) override {
    const Tensor<float> x = call.input<float>(0);
    const Frame frame = frame_of(window_, x.shape);
    const Kernels& k = kernels_up_to(frame.out_width);
    float* y = call.output<float>(frame.out_shape);
    const size_t channels = static_cast<size_t>(frame.channels), images = channels * static_cast<size_t>(frame.batch);
    const size_t in = static_cast<size_t>(frame.height) * frame.width;
    const size_t out = static_cast<size_t>(frame.out_height) * frame.out_width;
    if (images == 0 || out == 0) return;

    // A padded copy of one channel at a time. The frame of zeros stays from channel to channel.
    const size_t width = static_cast<size_t>(frame.width + window_.x.before + window_.x.after);
    const size_t height = static_cast<size_t>(frame.height + window_.y.before + window_.y.after);
    const size_t slack = 8 * static_cast<size_t>(k.vector * window_.x.stride);
    const size_t inside = static_cast<size_t>(window_.y.before) * width + static_cast<size_t>(window_.x.before);
    const size_t size = height * width + slack;
    std::vector<int32_t> offset;
    for (int64_t i = 0; i < window_.y.kernel; ++i)
      for (int64_t j = 0; j < window_.x.kernel; ++j)
        offset.push_back(static_cast<int32_t>(i * window_.y.dilation * static_cast<int64_t>(width) + j * window_.x.dilation));

    const bool neighbours = window_.x.stride == 1 && window_.y.stride == 1 && window_.x.dilation == 1 &&
                            window_.y.dilation == 1 && window_.x.kernel == window_.y.kernel;
    const int dense = neighbours ? static_cast<int>(window_.x.kernel) : 0;

    const size_t parts = std::min<size_t>(images, kTasks), filters = static_cast<size_t>(window_.rows) / channels;
    const Scratch scratch(*pool_, parts * size * sizeof(float));
    call.parallel(parts, [&](size_t part) {
      float* copy = scratch.as<float>() + part * size;
      std::fill(copy, copy + size, 0.f);
      for (size_t i = images * part / parts; i < images * (part + 1) / parts; ++i) {
        k.copy_rows(x.data + i * in, static_cast<size_t>(frame.width), frame.height, frame.width, copy + inside, width);
        for (size_t f = 0; f < filters; ++f) {
          const size_t row = i % channels * filters + f;
          k.depthwise({copy, offset.data(), weight_.data() + row * offset.size(), static_cast<int>(offset.size()),
                       frame.out_height, frame.out_width, static_cast<int>(window_.x.stride), dense,
                       width * static_cast<size_t>(window_.y.stride), y + (i * filters + f) * out, bias_[row],
                       range_.low, range_.high});
        }
      }
    });
  }

 private:
  Window window_;
  std::vector<float> weight_, bias_;
  Range range_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace

std::unique_ptr<Kernel> make_depthwise_conv(const Node& node, Fusion fusion) {
  return std::make_unique<DepthwiseConv>(node, fusion);
}

}  // namespace onnxprune
