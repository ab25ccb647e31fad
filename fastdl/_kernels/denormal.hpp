// Denormal numbers are flushed to zero for the life of one of these, on the calling thread, and the setting restored.
#pragma once
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace fastdl {
#if defined(__x86_64__)
class FlushDenormals {
    unsigned before = _mm_getcsr();
    static constexpr unsigned flush = 0x8040;  // FTZ | DAZ
public:
    FlushDenormals() { if ((before & flush) != flush) _mm_setcsr(before | flush); }
    ~FlushDenormals() { if ((before & flush) != flush) _mm_setcsr(before); }
};
#elif defined(__aarch64__)
class FlushDenormals {
    unsigned long before;
    static constexpr unsigned long flush = 1ul << 24;  // FPCR.FZ
public:
    FlushDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(before));
        if (!(before & flush)) asm volatile("msr fpcr, %0" ::"r"(before | flush));
    }
    ~FlushDenormals() { if (!(before & flush)) asm volatile("msr fpcr, %0" ::"r"(before)); }
};
#else
struct FlushDenormals { FlushDenormals() {} ~FlushDenormals() {} };
#endif
}  // namespace fastdl
