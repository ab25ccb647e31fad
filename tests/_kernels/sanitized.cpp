// Products of a matrix and a vector on two threads, with arrays that end where their memory does: built by test_sanitizers.py.
// One argument makes it wrong: "beyond" reads an element too many, "race" lets both threads write one array.
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "core/table.hpp"
namespace fastdl::FASTDL_LEVEL {
using fastdl::Size;
}
#include "core/gemm.hpp"

using fastdl::Size;

template <class T> void multiply(Size n, Size k, Size beyond, T* y) {
    const std::vector<T> w(n * k, 2), x(k, 3), bias(n, 1);
    fastdl::FASTDL_LEVEL::multiply_vector(w.data(), k, n, k + beyond, x.data(), false, bias.data(), y);
}

int main(int count, char** words) {
    const Size beyond = count > 1 && !std::strcmp(words[1], "beyond");
    const bool race = count > 1 && !std::strcmp(words[1], "race");
    for (Size n : {1, 3, 16, 33})
        for (Size k : {1, 7, 16, 65}) {
            std::vector<float> y(n), z(n);
            std::thread other([&] { multiply<float>(n, k, beyond, race ? y.data() : z.data()); });
            multiply<float>(n, k, 0, y.data());
            other.join();
            std::vector<double> of_doubles(n);
            multiply<double>(n, k, 0, of_doubles.data());
            for (Size i = 0; i < n; ++i)
                if (y[i] != 6 * k + 1 || of_doubles[i] != 6 * k + 1) return 1;
        }
    std::puts("right");
}
