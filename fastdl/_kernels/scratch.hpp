// One block of scratch memory for each thread, grown when more is asked for and freed with the thread.
#pragma once
#include <cstdlib>

namespace fastdl {
class Scratch {
    void* block = nullptr;
    size_t size = 0;
public:
    // Null when there is no memory.
    void* at_least(size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
        size = 0;  // a new block of exactly this size each time: what goes beyond it is seen
        const size_t rounded = bytes ? bytes : 1;
#else
        const size_t rounded = (bytes + 4095) / 4096 * 4096 + 4096;
#endif
        if (bytes > size || !block) {
            std::free(block);
            block = nullptr;
            size = posix_memalign(&block, 64, rounded) == 0 ? rounded : 0;
            if (!size) block = nullptr;
        }
        return block;
    }
    ~Scratch() { std::free(block); }
};
inline void* thread_scratch(size_t bytes) {
    static thread_local Scratch scratch;
    return scratch.at_least(bytes);
}
}  // namespace fastdl
