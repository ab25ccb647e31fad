// One block of scratch memory for each thread, grown when more is asked for and freed with the thread.
#pragma once
#include <cstdlib>

namespace fastdl {
struct Block {
    void* memory = nullptr;
    size_t size = 0;

    // At least so many bytes, aligned to a cache line; null when there is no memory.
    void* at_least(size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
        const bool enough = false;  // a new block of exactly this size each time: what goes beyond it is seen
        const size_t rounded = bytes ? bytes : 1;
#else
        const bool enough = memory && bytes <= size;
        const size_t rounded = (bytes + 4095) / 4096 * 4096 + 4096;
#endif
        if (!enough) {
            release();
            if (bytes <= rounded && posix_memalign(&memory, 64, rounded) == 0) size = rounded;
            else memory = nullptr;
        }
        return memory;
    }
    void release() {
        std::free(memory);
        memory = nullptr;
        size = 0;
    }
};

// The calling thread's block, for kernels between which no Python code runs.
struct ThreadBlock : Block {
    ~ThreadBlock() { release(); }
};
inline Block& thread_block() {
    static thread_local ThreadBlock block;
    return block;
}
// For an owner between whose kernels Python code may run (signal handlers, callbacks), which may call other kernels: the thread's block
// is taken away from it, and given back afterwards.
inline Block take_thread_block() {
    const Block taken = thread_block();
    static_cast<Block&>(thread_block()) = Block();
    return taken;
}
inline void give_thread_block(Block block) {
    Block& other = thread_block();
    if (block.size > other.size) {
        const Block smaller = other;
        other = block;
        block = smaller;
    }
    block.release();
}
}  // namespace fastdl
