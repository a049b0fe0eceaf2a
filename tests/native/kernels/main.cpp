// Every kernel of the instruction set in use (ONNXPRUNE_ISA) against plain loops, on seeded random data; or those that
// are named. Prints a line for each with the number of cases; ends with 1 at the first difference, and by a signal
// where a kernel reads or writes beyond its bounds.
#include <sys/mman.h>
#include <unistd.h>

#include <iterator>

#include "check.h"
#include "isa.h"

namespace onnxprune {
namespace {

constexpr size_t kSize = size_t{1} << 18;
constexpr size_t kGuard = size_t{1} << 16;  // a multiple of the page size anywhere
std::vector<Arena*> unused;

template <class T, class Show>
void compare_all(const std::string& where, Buffer<T>& found, const std::vector<T>& expected, Show show) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const T a = found[i], b = expected[i];
    if (a == b || (a != a && b != b)) continue;
    fail(where, "element " + std::to_string(i) + " of " + std::to_string(expected.size()) + ": found " + show(a) +
                    ", expected " + show(b));
  }
}

}  // namespace

Arena::Arena() {
  void* all = mmap(nullptr, kSize + 2 * kGuard, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) fail("memory", "mmap failed");
  start_ = static_cast<unsigned char*>(all) + kGuard;
  if (mprotect(all, kGuard, PROT_NONE) != 0 || mprotect(start_ + kSize, kGuard, PROT_NONE) != 0)
    fail("memory", "mprotect failed");
}

Arena* Arena::take() {
  if (unused.empty()) return new Arena;
  Arena* arena = unused.back();
  unused.pop_back();
  return arena;
}

void Arena::give(Arena* arena) { unused.push_back(arena); }

void* Arena::place(size_t bytes, bool at_end) {
  if (bytes > kSize) fail("memory", "a case is too large");
  return at_end ? start_ + kSize - bytes : start_;
}

void fail(const std::string& where, const std::string& what) {
  std::printf("DIFFERENT\n%s\n  %s\n", where.c_str(), what.c_str());
  std::fflush(stdout);
  _exit(1);
}

void compare(const std::string& where, Buffer<float>& found, const std::vector<float>& expected) {
  compare_all(where, found, expected, [](float v) {
    char text[40];
    std::snprintf(text, sizeof(text), "%.9g", static_cast<double>(v));
    return std::string(text);
  });
}

void compare(const std::string& where, Buffer<uint8_t>& found, const std::vector<uint8_t>& expected) {
  compare_all(where, found, expected, [](uint8_t v) { return std::to_string(v); });
}

void compare(const std::string& where, Buffer<uint32_t>& found, const std::vector<uint32_t>& expected) {
  compare_all(where, found, expected, [](uint32_t v) { return std::to_string(v); });
}

Pattern random_pattern(int block, Random& random) {
  Pattern p;
  p.blocks = random.between(1, 5);
  p.rows = p.blocks * block - random.between(0, block - 1);
  p.first = random.one_in(3) ? random.between(0, p.blocks - 1) : 0;
  p.last = random.one_in(3) ? random.between(p.first, p.blocks) : p.blocks;
  p.depth = random.between(1, 40);
  p.start.push_back(random.one_in(3) ? random.between(1, 3) : 0);
  for (int b = 0; b < p.blocks; ++b) {
    const int most = random.one_in(4) ? 0 : random.one_in(4) ? 40 : 9;  // a quarter of the rows is empty
    p.start.push_back(p.start.back() + random.between(0, most));
  }
  for (int i = 0; i < p.start.back(); ++i)
    p.index.push_back(i < p.start[0] ? INT32_MIN : random.between(0, p.depth - 1));  // of another slice: never read
  return p;
}

}  // namespace onnxprune

int main(int count, char** words) {
  using namespace onnxprune;
  struct Check {
    const char* name;
    int (*run)(const Kernels&, Random&);
  };
  const Check checks[] = {{"spmm", check_spmm},
                          {"spmv", check_spmv},
                          {"depthwise", check_depthwise},
                          {"transpose_in", check_transpose_in},
                          {"transpose_out", check_transpose_out},
                          {"copy_rows", check_copy_rows},
                          {"every_second", check_every_second},
                          {"interleave", check_interleave},
                          {"qspmm_bytes", check_qspmm_bytes},
                          {"qspmm_floats", check_qspmm_floats},
                          {"depthwise_gradient", check_depthwise_gradient},
                          {"clip_gradient", check_clip_gradient},
                          {"sigmoid_gradient", check_sigmoid_gradient},
                          {"squared_distance", check_squared_distance},
                          {"scaled_difference", check_scaled_difference}};
  // All function pointers of the table, and two padded integers.
  static_assert(sizeof(Kernels) == 20 * sizeof(void*), "a kernel was added or removed: its check belongs here");
  const Kernels& k = kernels();
  std::printf("%s, %d floats in a vector, %d words for four weights\n", isa_name(isa()), k.vector, k.words);
  for (int i = 1; i < count; ++i)
    if (std::none_of(std::begin(checks), std::end(checks), [&](const Check& c) { return !std::strcmp(c.name, words[i]); })) {
      std::printf("there is no kernel %s\n", words[i]);
      return 2;
    }
  uint64_t seed = 0;
  for (const Check& check : checks) {
    ++seed;
    if (count > 1 && std::none_of(words + 1, words + count, [&](const char* w) { return !std::strcmp(w, check.name); }))
      continue;
    std::printf("  %-18s", check.name);
    std::fflush(stdout);  // in case that it ends here
    Random random(seed);
    std::printf("%6d cases\n", check.run(k, random));
  }
  return 0;
}
