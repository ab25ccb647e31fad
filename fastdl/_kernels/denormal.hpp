// Denormal numbers are flushed to zero from on() to the end of one of these' life, on the calling thread, and the setting restored.
// (Cython drops a variable that is only declared, so it has to be something that is called.)
#pragma once
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace fastdl {
#if defined(__x86_64__)
class FlushDenormals {
    static constexpr unsigned flush = 0x8040;  // FTZ | DAZ
    unsigned before = flush;
public:
    void on() {
        before = _mm_getcsr();
        if ((before & flush) != flush) _mm_setcsr(before | flush);
    }
    ~FlushDenormals() { if ((before & flush) != flush) _mm_setcsr(before); }
};
#elif defined(__aarch64__)
class FlushDenormals {
    static constexpr unsigned long flush = 1ul << 24;  // FPCR.FZ
    unsigned long before = flush;
public:
    void on() {
        asm volatile("mrs %0, fpcr" : "=r"(before));
        if (!(before & flush)) asm volatile("msr fpcr, %0" ::"r"(before | flush));
    }
    ~FlushDenormals() { if (!(before & flush)) asm volatile("msr fpcr, %0" ::"r"(before)); }
};
#else
struct FlushDenormals { void on() {} ~FlushDenormals() {} };
#endif
}  // namespace fastdl
