#include "isa.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace onnxprune {
namespace {

#if defined(__x86_64__)
bool bit(unsigned word, int position) { return (word >> position) & 1u; }

// CPUID says what the processor can do, XGETBV which registers the system saves on a switch: both are needed.
Isa detect() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27) || !bit(c, 12)) return Isa::kBase;  // OSXSAVE, FMA
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 0x6) != 0x6) return Isa::kBase;  // XMM and YMM
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !bit(b, 5)) return Isa::kBase;
  const bool wide = (low & 0xe6) == 0xe6 && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);  // F, DQ, BW, VL
  if (!wide) return Isa::kAvx2;
  return bit(c, 11) ? Isa::kAvx512Vnni : Isa::kAvx512;
}
#else
Isa detect() { return Isa::kBase; }
#endif

Isa choose() {
  const Isa best = detect();
  const char* wish = std::getenv("ONNXPRUNE_ISA");
  if (wish == nullptr) return best;
  for (Isa candidate : {Isa::kBase, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni})
    if (std::strcmp(wish, isa_name(candidate)) == 0) return std::min(best, candidate);
  return best;
}

}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx512Vnni: return "avx512-vnni";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx2: return "avx2";
    default: break;
  }
#if defined(__aarch64__)
  return "neon";
#else
  return "base";
#endif
}

}  // namespace onnxprune
