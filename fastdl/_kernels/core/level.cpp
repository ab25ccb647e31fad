// Fills the table for one CPU level. Compiled once per level, with FASTDL_LEVEL naming it.
#include "table.hpp"

namespace fastdl::FASTDL_LEVEL {
using fastdl::AdamFactors;
using fastdl::PatchGrid;
using fastdl::PatchRuns;
using fastdl::PatchTap;
using fastdl::patch_pixels;
using fastdl::PoolAxis;
using fastdl::RMSpropFactors;
using fastdl::SGDFactors;
using fastdl::Size;
}

#include "gemm.hpp"
#include "batch_minor.hpp"
#include "elementwise.hpp"
#include "gather.hpp"
#include "loss.hpp"
#include "norm.hpp"
#include "patches.hpp"
#include "philox.hpp"
#include "planes.hpp"
#include "pool.hpp"
#include "reduce.hpp"
#include "scan.hpp"
#include "sort.hpp"
#include "update.hpp"
#include "winograd.hpp"

#define FASTDL_STRING(x) #x
#define FASTDL_NAME(x) FASTDL_STRING(x)

namespace fastdl::FASTDL_LEVEL {
#define ROW(Function, name) name,
static constexpr const char* activation_names[] = {FASTDL_ACTIVATIONS(ROW) nullptr};
static constexpr const char* loss_names[] = {FASTDL_LOSSES(ROW) nullptr};
#undef ROW
#define ROW(name, function) name,
static constexpr const char* instruction_names[] = {FASTDL_INSTRUCTIONS(ROW) nullptr};
static constexpr const char* whole_instruction_names[] = {FASTDL_WHOLE_INSTRUCTIONS(ROW) nullptr};
#undef ROW
#define ROW(Function, name) Function::keeps == Keeps::output,
static constexpr bool keeps_output[] = {FASTDL_ACTIVATIONS(ROW)};
#undef ROW

template <class T> struct Runs {
#define ROW(Function, name) activation_forward<Function, T>,
    static constexpr void (*forward[])(const T*, T, T, T*, Size) = {FASTDL_ACTIVATIONS(ROW)};
#undef ROW
#define ROW(Function, name) activation_backward<Function, T>,
    static constexpr void (*backward[])(const T*, const T*, T, T, T*, Size) = {FASTDL_ACTIVATIONS(ROW)};
#undef ROW
#define ROW(Loss, name) LossRun<Loss, T>::forward,
    static constexpr void (*loss_forward[])(const T*, const T*, const T*, const T*, T, T*, Size) = {FASTDL_LOSSES(ROW)};
#undef ROW
#define ROW(Loss, name) LossRun<Loss, T>::sum,
    static constexpr T (*loss_sum[])(const T*, const T*, const T*, const T*, T, Size) = {FASTDL_LOSSES(ROW)};
#undef ROW
#define ROW(Loss, name) LossRun<Loss, T>::backward,
    static constexpr void (*loss_backward[])(const T*, const T*, const T*, const T*, T, T, T*, Size) = {FASTDL_LOSSES(ROW)};
#undef ROW
};

template <class T> constexpr Entries<T> make_entries() {
    Entries<T> made{};
#define VALUE(type, name, value) made.name = value;
#define ENTRY(result, name, arguments) made.name = name<T>;
#define ENTRY_OF(result, name, function, arguments) made.name = function;
#define TABLE(result, name, functions, arguments) made.name = functions;
#include "entries.inc"
    return made;
}

extern const Table table;
const Table table = {FASTDL_NAME(FASTDL_LEVEL), activation_names, keeps_output, loss_names, instruction_names, whole_instruction_names, philox, make_entries<float>(), make_entries<double>()};
}  // namespace
