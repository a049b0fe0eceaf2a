// Weights as files hold them. A file may come from anywhere: everything is checked here, once, when a kernel is made,
// so that the inner loops need no checks at all.
//
// A weight [rows, depth] is cut into blocks of `block` rows by one column, numbered row block by row block. Stored are
// the blocks that are not zero, in order: their values, and as a byte how many blocks further each one is than the one
// before (the first counts from -1). A block of zeros bridges gaps of more than 255.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels.h"
#include "runtime.h"

namespace onnxprune {

struct Sparse {
  int rows = 0, depth = 0, block = 0, row_blocks = 0;
  // The columns are worked on slice by slice, so that the part of a panel that a slice needs stays in the first cache.
  std::vector<std::vector<int32_t>> start;  // one a slice, row_blocks + 1 each: where a row block starts
  std::vector<int32_t> index;               // column of every non-zero block
  std::vector<float> value;                 // block values of every non-zero block
  std::vector<float> bias;                  // one a row
  std::vector<int64_t> work;                // before each row block, in non-zero blocks; row_blocks + 1
};

// Positions of the stored blocks, all below `limit` and increasing. Throws Failure.
std::vector<int64_t> positions(const Tensor<uint8_t>& gaps, int64_t limit);

// Multiplies slice by slice, in place in t.out; residual and clip come with the last slice.
template <class Multiply>
void multiply_slices(const Sparse& sparse, SpmmTask t, Multiply multiply) {
  const float *residual = t.residual, low = t.low, high = t.high;
  for (size_t s = 0; s < sparse.start.size(); ++s) {
    const bool last = s + 1 == sparse.start.size();
    t.start = sparse.start[s].data();
    t.accumulate = s > 0;
    t.residual = last ? residual : nullptr;
    t.low = last ? low : -__builtin_inff();
    t.high = last ? high : __builtin_inff();
    multiply(t);
  }
}

// Throws Failure unless values, gaps and bias describe a weight [rows, depth].
Sparse decode(const Tensor<float>& values, const Tensor<uint8_t>& gaps, const Tensor<float>& bias, int64_t rows,
              int64_t depth, int64_t block, int slice);

}  // namespace onnxprune
