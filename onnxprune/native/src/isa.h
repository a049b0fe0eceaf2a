// Which instruction set this processor and this system offer.
#pragma once

namespace onnxprune {

enum class Isa { kBase, kAvx2, kAvx512, kAvx512Vnni };

// The best one, or a lesser one that the environment variable ONNXPRUNE_ISA (base, avx2, avx512, avx512-vnni) asks for.
Isa isa();

const char* isa_name(Isa isa);

}  // namespace onnxprune
