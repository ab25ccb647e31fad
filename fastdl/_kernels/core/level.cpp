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
#include "lanes.hpp"
#include "loss.hpp"
#include "norm.hpp"
#include "patches.hpp"
#include "philox.hpp"
#include "planes.hpp"
#include "pool.hpp"
#include "update.hpp"
#include "winograd.hpp"

#define FASTDL_STRING(x) #x
#define FASTDL_NAME(x) FASTDL_STRING(x)

namespace fastdl::FASTDL_LEVEL {
#define ROW(Function, name) name,
static constexpr const char* activation_names[] = {FASTDL_ACTIVATIONS(ROW) nullptr};
static constexpr const char* loss_names[] = {FASTDL_LOSSES(ROW) nullptr};
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
    return {tile_rows, tile_columns<T>, lanes<T>, direct_tails,
            pack_columns<T>, pack_rows<T>, multiply<T>, multiply_vector<T>, backward_of_row<T>,
            pack_patches<T>, unpack_line<T>, turn<T>,
            multiply_lines<T>, correlate<T>, sum_registers<T>, copy_rows<T>,
            to_lanes<T>, correlate_lanes<T>, sum_lanes<T>,
            point_tiles<T, tile_points>, point_tiles<T, 4>, tiles_from_points<T>, point_weights<T>, weights_from_points<T>,
            Runs<T>::forward, Runs<T>::backward,
            Runs<T>::loss_forward, Runs<T>::loss_sum, Runs<T>::loss_backward,
            dot<T>, total<T>, scale<T>, clamp<T>, add_rows<T>, softmax<T>, softmax_backward<T>, log_softmax<T>, log_softmax_backward<T>,
            max_pool<T>, max_pool_backward<T>, avg_pool<T>, avg_pool_backward<T>,
            moments<T>, normalize<T>, gradient_sums<T>, normalize_backward<T>, layer_norm<T>, layer_norm_sums<T>, layer_norm_backward<T>,
            dropout<T>,
            sgd<T>, rmsprop<T>, adam<T>};
}

extern const Table table;
const Table table = {FASTDL_NAME(FASTDL_LEVEL), activation_names, keeps_output, loss_names, philox, make_entries<float>(), make_entries<double>()};
}  // namespace
