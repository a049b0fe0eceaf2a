// What the checks of the kernels share: guarded memory, seeded random data, the report.
//
// Floats are whole numbers so small that every sum is exact: whatever the order of additions, results must be equal.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels.h"

namespace onnxprune {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint32_t bits() {  // SplitMix64 (Steele, Lea, Flood 2014)
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return static_cast<uint32_t>((z ^ (z >> 31)) >> 16);
  }
  int between(int low, int high) {  // both included
    return low + static_cast<int>(bits() % static_cast<uint32_t>(high - low + 1));
  }
  bool one_in(int n) { return between(1, n) == 1; }
  float whole(int size) { return static_cast<float>(between(-size, size)); }
  float special() {  // what must pass through sums and clips as well
    const float all[] = {__builtin_nanf(""), __builtin_inff(), -__builtin_inff()};
    return all[between(0, 2)];
  }

 private:
  uint64_t state_;
};

// Memory between two pages that cannot be touched.
class Arena {
 public:
  static Arena* take();
  static void give(Arena* arena);
  void* place(size_t bytes, bool at_end);

 private:
  Arena();
  unsigned char* start_;
};

// `count` elements that end where the memory ends (or, every fourth time, start where it starts): reading or writing
// beyond stops the program. Elements have no type before they are written, so kernels may see them as any.
template <class T>
class Buffer {
 public:
  Buffer(size_t count, Random& random) : arena_(Arena::take()), count_(count) {
    data_ = static_cast<T*>(arena_->place(count * sizeof(T), !random.one_in(4)));
  }
  ~Buffer() { Arena::give(arena_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* data() { return data_; }
  T& operator[](size_t i) { return data_[i]; }
  size_t size() const { return count_; }
  std::vector<T> copy() const { return std::vector<T>(data_, data_ + count_); }

 private:
  Arena* arena_;
  size_t count_;
  T* data_;
};

// Ends the program, saying what was found. `where` describes the case.
[[noreturn]] void fail(const std::string& where, const std::string& what);

// All of the output, also what lies between its rows, against what it should be. NaN equals NaN, 0 equals -0.
void compare(const std::string& where, Buffer<float>& found, const std::vector<float>& expected);
void compare(const std::string& where, Buffer<uint8_t>& found, const std::vector<uint8_t>& expected);
void compare(const std::string& where, Buffer<uint32_t>& found, const std::vector<uint32_t>& expected);

// A NaN passes.
inline float clipped(float v, float low, float high) {
  if (v != v) return v;
  return v < low ? low : v > high ? high : v;
}

constexpr float kUntouched = 0.375f;  // no result: those are whole numbers
constexpr float kInfinity = __builtin_inff();

// Non-zeros of row blocks as SpmmTask and QspmmTask take them. Those before start[0] belong to another slice.
struct Pattern {
  int rows, blocks, first, last, depth;
  std::vector<int32_t> start, index;
};

Pattern random_pattern(int block, Random& random);

// Each returns how many cases it ran.
int check_spmm(const Kernels& k, Random& random);
int check_spmv(const Kernels& k, Random& random);
int check_depthwise(const Kernels& k, Random& random);
int check_transpose_in(const Kernels& k, Random& random);
int check_transpose_out(const Kernels& k, Random& random);
int check_copy_rows(const Kernels& k, Random& random);
int check_every_second(const Kernels& k, Random& random);
int check_interleave(const Kernels& k, Random& random);
int check_qspmm_bytes(const Kernels& k, Random& random);
int check_qspmm_floats(const Kernels& k, Random& random);
int check_depthwise_gradient(const Kernels& k, Random& random);
int check_clip_gradient(const Kernels& k, Random& random);
int check_sigmoid_gradient(const Kernels& k, Random& random);
int check_squared_distance(const Kernels& k, Random& random);
int check_scaled_difference(const Kernels& k, Random& random);

}  // namespace onnxprune
