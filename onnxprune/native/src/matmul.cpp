// SparseMatMul: y[..., n] = clip(bias[n] + sum over k of weight[n, k] * x[..., k]).
#include <algorithm>

#include "kernels.h"
#include "operators.h"
#include "scratch.h"
#include "split.h"
#include "stored.h"

namespace onnxprune {
namespace {

constexpr int kSlice = 256;  // columns of an unstructured weight that are worked on at a time
constexpr int kStageRows = 32;
// Up to this many tokens go one by one: a panel of several vectors would be mostly empty.
constexpr int64_t kFewTokens = 2;

class SparseMatMul : public Kernel {
 public:
  SparseMatMul(const Node& node, Fusion fusion) : range_(range_of(node, fusion.activation)), pool_(Pool::shared()) {
    const auto shape = node.integers("weight_shape");
    require(shape.size() == 2, "SparseMatMul: weight_shape must have 2 sizes");
    const int64_t block = node.integer("block");
    const int slice = block == 1 ? kSlice : static_cast<int>(std::clamp<int64_t>(shape[1], 1, (int64_t{1} << 31) - 1));
    weight_ = decode(node.constant<float>(1, "the sparse values"), node.constant<uint8_t>(2, "the gaps"),
                     node.constant<float>(3, "the bias"), shape[0], shape[1], block, slice);
  }

  void compute(const Call& call) override {
    const Tensor<float> x = call.input<float>(0);
    require(!x.shape.empty() && x.shape.back() == weight_.depth, "SparseMatMul: the last axis of the input does not fit");
    Shape out = x.shape;
    out.back() = weight_.rows;
    float* y = call.output<float>(out);
    const int64_t tokens = x.size() / weight_.depth;
    require(tokens < (int64_t{1} << 31) - 1024, "SparseMatMul: the input is too large");
    if (tokens == 0) return;
    if (tokens <= kFewTokens)
      multiply_vectors(call, x.data, static_cast<int>(tokens), y);
    else
      multiply_panels(call, x.data, static_cast<int>(tokens), y);
  }

 private:
  SpmmTask task() const {
    SpmmTask t{};
    t.value = weight_.value.data();
    t.index = weight_.index.data();
    t.start = weight_.start[0].data();
    t.rows = weight_.rows;
    t.bias = weight_.bias.data();
    t.low = range_.low;
    t.high = range_.high;
    return t;
  }

  void multiply_vectors(const Call& call, const float* x, int tokens, float* y) const {
    const std::vector<Chunk> rows = chunks(weight_.work, 0, weight_.row_blocks, kTasks / 2);
    call.parallel(rows.size(), [&](size_t i) {
      for (int token = 0; token < tokens; ++token) {
        SpmmTask t = task();
        t.panel = x + static_cast<size_t>(token) * weight_.depth;
        t.out = y + static_cast<size_t>(token) * weight_.rows;
        t.first = rows[i].first;
        t.last = rows[i].last;
        multiply_slices(weight_, t, [&](const SpmmTask& slice) { kernels().spmv(weight_.block, slice); });
      }
    });
  }

  void multiply_panels(const Call& call, const float* x, int tokens, float* y) const {
    const Kernels& k = kernels();
    const std::vector<Panel> cut = panels(tokens, k.vector, k.widest(weight_.block));
    const std::vector<Chunk> rows = chunks(weight_.work, 0, weight_.row_blocks, chunks_for(cut.size()));
    const size_t depth = static_cast<size_t>(weight_.depth), all = static_cast<size_t>(weight_.rows);
    const size_t width = static_cast<size_t>(tokens) + static_cast<size_t>(k.vector);
    const Scratch packed(*pool_, width * depth * sizeof(float));
    const Scratch product(*pool_, width * all * sizeof(float));

    // Depth is cut as well, so that a single panel keeps all threads busy.
    constexpr size_t kDepth = 64;
    const size_t parts = (depth + kDepth - 1) / kDepth;
    call.parallel(cut.size() * parts, [&](size_t i) {
      const Panel& p = cut[i / parts];
      const size_t from = i % parts * kDepth, wide = static_cast<size_t>(p.vectors * k.vector);
      k.transpose_in(x + static_cast<size_t>(p.first) * depth + from, depth, p.columns,
                     static_cast<int>(std::min(kDepth, depth - from)),
                     packed.as<float>() + static_cast<size_t>(p.first) * depth + from * wide, static_cast<int>(wide));
    });

    call.parallel(cut.size() * rows.size(), [&](size_t i) {
      const Panel& p = cut[i / rows.size()];
      SpmmTask t = task();
      t.stride = static_cast<size_t>(p.vectors * k.vector);
      t.panel = packed.as<float>() + static_cast<size_t>(p.first) * depth;
      t.columns = static_cast<int>(t.stride);
      t.out = product.as<float>() + static_cast<size_t>(p.first) * all;
      t.out_stride = t.stride;
      multiply_chunk(k, t, p, rows[i % rows.size()], y);
    });
  }

  // Slice by slice; after the last one, rows go back into the order of the output while they are in the first cache.
  void multiply_chunk(const Kernels& k, SpmmTask t, const Panel& p, const Chunk& chunk, float* y) const {
    const Spmm spmm = k.spmm(weight_.block, p.vectors);
    const size_t last_slice = weight_.start.size() - 1;
    t.first = chunk.first;
    t.last = chunk.last;
    t.low = -__builtin_inff();
    t.high = __builtin_inff();
    for (size_t s = 0; s < last_slice; ++s, t.accumulate = true) {
      t.start = weight_.start[s].data();
      spmm(t);
    }
    t.start = weight_.start[last_slice].data();
    t.low = range_.low;
    t.high = range_.high;
    const int step = kStageRows / weight_.block;
    for (int block = chunk.first; block < chunk.last; block += step) {
      t.first = block;
      t.last = std::min(block + step, chunk.last);
      spmm(t);
      const int row = block * weight_.block, end = std::min(t.last * weight_.block, weight_.rows);
      k.transpose_out(t.out + static_cast<size_t>(row) * t.stride, static_cast<int>(t.stride), p.columns, end - row,
                      y + static_cast<size_t>(p.first) * weight_.rows + row, static_cast<size_t>(weight_.rows));
    }
  }

  Sparse weight_;
  Range range_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace

std::unique_ptr<Kernel> make_sparse_matmul(const Node& node, Fusion fusion) {
  return std::make_unique<SparseMatMul>(node, fusion);
}

}  // namespace onnxprune
