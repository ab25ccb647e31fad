/* Multiply-adds on registers alone: what the processor can do at most. */
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define CHAINS 12

typedef float vec __attribute__((vector_size(BYTES)));

long multiply_adds_per_turn(void) { return CHAINS * (BYTES / (long)sizeof(float)); }

/* Each chain starts from numbers of its own that the compiler does not see: equal chains would be computed once. */
float turn(long turns, const float *starts) {
    vec sums[CHAINS], total = {0};
    const vec factor = total + 0.5f, summand = total + 0.25f;
    for (int j = 0; j < CHAINS; j++) sums[j] = total + starts[j];
    for (long i = 0; i < turns; i++)
        for (int j = 0; j < CHAINS; j++) sums[j] = sums[j] * factor + summand;
    for (int j = 0; j < CHAINS; j++) total += sums[j];
    float sum = 0;
    for (int k = 0; k < BYTES / (int)sizeof(float); k++) sum += total[k];
    return sum;
}
