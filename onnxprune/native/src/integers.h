// Integer weights as files hold them: as in stored.h, but a block is `block` rows by four columns, and the columns of a
// convolution are ordered by tap, then by channel, filled up with zeros to a multiple of four channels.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels.h"
#include "runtime.h"

namespace onnxprune {

struct SparseIntegers {
  int rows = 0, fours = 0, block = 0, row_blocks = 0;  // fours: groups of four columns
  std::vector<int32_t> start;                          // row_blocks + 1
  std::vector<int32_t> index;                          // group of every non-zero block
  std::vector<int32_t> word;                           // packed for the kernels of this processor
  std::vector<int32_t> row_sum;                        // of the weights, one a row
  std::vector<int64_t> work;                           // before each row block; row_blocks + 1
};

// Throws Failure unless values and gaps describe a weight [rows, 4 * fours].
SparseIntegers decode_integers(const Tensor<int8_t>& values, const Tensor<uint8_t>& gaps, int64_t rows, int64_t fours,
                               int64_t block);

}  // namespace onnxprune
