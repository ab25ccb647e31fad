/* Multiply-adds on registers alone: what the processor can do at most. */
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define CHAINS 16

typedef float vec __attribute__((vector_size(BYTES)));

long multiply_adds_per_turn(void) { return CHAINS * (BYTES / (long)sizeof(float)); }

float turn(long turns) {
    vec sums[CHAINS] = {0}, total = {0};
    const vec factor = total + 0.5f, summand = total + 0.25f;
    for (long i = 0; i < turns; i++)
        for (int j = 0; j < CHAINS; j++) sums[j] = sums[j] * factor + summand;
    for (int j = 0; j < CHAINS; j++) total += sums[j];
    return total[0];
}
