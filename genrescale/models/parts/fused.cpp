// ReLU, batch norm and max-pool of channels-last maps on a CPU, in as few passes over memory as they need.
//
// A map has B x L x C cells, C fastest. Output row p of P is the maximum over the rows p * step + k * stride, k < K.
// Rows behind P * K count for the statistics only. Partial sums belong to a fixed piece of the data, not to a thread:
// results do not depend on the number of threads. See fused.py for the maths.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

struct Shape {
    int64_t B, L, C, P, K, step, stride;
};

constexpr int64_t PIECES = 4;         // of a clip: what threads share out
constexpr int64_t BLOCK_CELLS = 2048; // fit the first-level cache

inline float to_float(float value) { return value; }
inline float to_float(uint16_t value) {  // bfloat16: the upper half of a float
    uint32_t bits = uint32_t(value) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}
inline void from_float(float value, float& target) { target = value; }
inline void from_float(float value, uint16_t& target) {  // to the nearest, ties to even, NaN kept
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    target = uint16_t((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}
inline float relu(float value) { return value < 0 ? 0 : value; }  // NaN stays NaN

// One piece of one clip: sums over its rows of ReLU and its square into `sums` (2 x C), and what the pool selects.
template <class T>
void select_piece(const Shape& s, const T* __restrict x, const float* __restrict sign, T* __restrict selected,
                  uint8_t* __restrict chosen, double* __restrict sums, int64_t first, int64_t last, int64_t rest) {
    const int64_t C = s.C, rows = std::max<int64_t>(1, BLOCK_CELLS / C);
    std::vector<float> total(2 * C), best_(rows * C);
    std::vector<int32_t> where_(rows * C);
    std::fill(sums, sums + 2 * C, 0.0);
    float* __restrict sum = total.data();
    float* __restrict square = total.data() + C;
    auto flush = [&] {
        for (int64_t c = 0; c < 2 * C; ++c) sums[c] += total[c], total[c] = 0;
    };
    for (int64_t p0 = first; p0 < last; p0 += rows) {
        const int64_t p1 = std::min(p0 + rows, last);
        for (int64_t k = 0; k < s.K; ++k) {
            for (int64_t p = p0; p < p1; ++p) {
                const T* __restrict row = x + (p * s.step + k * s.stride) * C;
                float* __restrict best = best_.data() + (p - p0) * C;
                int32_t* __restrict where = where_.data() + (p - p0) * C;
                if (s.K == 1) {
                    for (int64_t c = 0; c < C; ++c) {
                        const float r = relu(to_float(row[c]));
                        sum[c] += r, square[c] += r * r;
                    }
                } else if (k == 0) {
                    for (int64_t c = 0; c < C; ++c) {
                        const float r = relu(to_float(row[c]));
                        sum[c] += r, square[c] += r * r;
                        best[c] = sign[c] * r, where[c] = 0;
                    }
                } else {
                    for (int64_t c = 0; c < C; ++c) {
                        const float r = relu(to_float(row[c])), v = sign[c] * r;
                        sum[c] += r, square[c] += r * r;
                        where[c] = v > best[c] ? int32_t(k) : where[c];
                        best[c] = v > best[c] ? v : best[c];
                    }
                }
            }
        }
        if (s.K > 1) {
            for (int64_t p = p0; p < p1; ++p)
                for (int64_t c = 0; c < C; ++c) {
                    from_float(best_[(p - p0) * C + c] * sign[c], selected[p * C + c]);
                    chosen[p * C + c] = uint8_t(where_[(p - p0) * C + c]);
                }
        }
        flush();
    }
    for (int64_t i = s.P * s.K; i < rest; ++i) {
        for (int64_t c = 0; c < C; ++c) {
            const float r = relu(to_float(x[i * C + c]));
            sum[c] += r, square[c] += r * r;
        }
    }
    flush();
}

template <class T>
void select_all(const Shape& s, const T* x, const float* sign, T* selected, uint8_t* chosen, double* sums,
                int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < s.B * PIECES; ++i) {
        const int64_t b = i / PIECES, piece = i % PIECES;
        select_piece(s, x + b * s.L * s.C, sign, selected + b * s.P * s.C, chosen + b * s.P * s.C, sums + i * 2 * s.C,
                     s.P * piece / PIECES, s.P * (piece + 1) / PIECES, piece == PIECES - 1 ? s.L : 0);
    }
}

// scale * ReLU(x) + offset over `rows` rows.
template <class T>
void scale_rows(const T* x, const float* scale, const float* offset, T* y, int64_t rows, int64_t C, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < rows; ++i) {
        const T* __restrict from = x + i * C;
        T* __restrict to = y + i * C;
        for (int64_t c = 0; c < C; ++c) from_float(scale[c] * relu(to_float(from[c])) + offset[c], to[c]);
    }
}

// Sums over the rows of one clip's piece of the gradient and of the gradient times ReLU(x), (B * PIECES, 2, C).
template <class T>
void sum_gradients(const T* gradient, const T* x, double* sums, int64_t B, int64_t P, int64_t C, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < B * PIECES; ++i) {
        const int64_t piece = i % PIECES, start = i / PIECES * P;
        const int64_t last = start + P * (piece + 1) / PIECES, rows = std::max<int64_t>(1, BLOCK_CELLS / C);
        std::vector<float> total(2 * C);
        float* __restrict plain = total.data();
        float* __restrict product = total.data() + C;
        double* out = sums + i * 2 * C;
        std::fill(out, out + 2 * C, 0.0);
        for (int64_t p0 = start + P * piece / PIECES; p0 < last; p0 += rows) {
            for (int64_t p = p0; p < std::min(p0 + rows, last); ++p) {
                const T* __restrict g = gradient + p * C;
                const T* __restrict from = x + p * C;
                for (int64_t c = 0; c < C; ++c) {
                    const float value = to_float(g[c]);
                    plain[c] += value, product[c] += value * relu(to_float(from[c]));
                }
            }
            for (int64_t c = 0; c < 2 * C; ++c) out[c] += total[c], total[c] = 0;
        }
    }
}

// The gradient of x: where x > 0, scale * (gradient of the cell, if the pool chose it) + offset + slope * x.
template <class T>
void spread_gradients(const Shape& s, const T* gradient, const T* x, const uint8_t* chosen, const float* scale,
                      const float* offset, const float* slope, T* result, int threads) {
    const int64_t C = s.C, rows = std::max<int64_t>(1, BLOCK_CELLS / C);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < s.B * PIECES; ++i) {
        const int64_t b = i / PIECES, piece = i % PIECES, last = s.P * (piece + 1) / PIECES;
        const T* cells = x + b * s.L * C;
        T* target = result + b * s.L * C;
        for (int64_t p0 = s.P * piece / PIECES; p0 < last; p0 += rows) {
            for (int64_t k = 0; k < s.K; ++k) {
                for (int64_t p = p0; p < std::min(p0 + rows, last); ++p) {
                    const int64_t at = (p * s.step + k * s.stride) * C;
                    const T* __restrict from = cells + at;
                    const T* __restrict g = gradient + (b * s.P + p) * C;
                    const uint8_t* __restrict where = chosen + (b * s.P + p) * C;
                    T* __restrict to = target + at;
                    if (s.K == 1) {
                        for (int64_t c = 0; c < C; ++c) {
                            const float v = to_float(from[c]);
                            const float d = scale[c] * to_float(g[c]) + offset[c] + slope[c] * v;
                            from_float(v <= 0 ? 0 : d, to[c]);
                        }
                    } else {
                        for (int64_t c = 0; c < C; ++c) {
                            const float v = to_float(from[c]), own = where[c] == k ? to_float(g[c]) : 0;
                            const float d = scale[c] * own + offset[c] + slope[c] * v;
                            from_float(v <= 0 ? 0 : d, to[c]);
                        }
                    }
                }
            }
        }
        for (int64_t row = s.P * s.K; piece == PIECES - 1 && row < s.L; ++row) {
            for (int64_t c = 0; c < C; ++c) {
                const float v = to_float(cells[row * C + c]);
                from_float(v <= 0 ? 0 : offset[c] + slope[c] * v, target[row * C + c]);
            }
        }
    }
}

}  // namespace

#define GENRESCALE_FUSED(T, NAME)                                                                                     \
    extern "C" void select_##NAME(const Shape* s, const T* x, const float* sign, T* selected, uint8_t* chosen,        \
                                  double* sums, int threads) {                                                        \
        select_all(*s, x, sign, selected, chosen, sums, threads);                                                     \
    }                                                                                                                 \
    extern "C" void scale_##NAME(const T* x, const float* scale, const float* offset, T* y, int64_t rows, int64_t C,  \
                                 int threads) {                                                                       \
        scale_rows(x, scale, offset, y, rows, C, threads);                                                            \
    }                                                                                                                 \
    extern "C" void sums_##NAME(const T* gradient, const T* x, double* sums, int64_t B, int64_t P, int64_t C,         \
                                int threads) {                                                                        \
        sum_gradients(gradient, x, sums, B, P, C, threads);                                                           \
    }                                                                                                                 \
    extern "C" void spread_##NAME(const Shape* s, const T* gradient, const T* x, const uint8_t* chosen,               \
                                  const float* scale, const float* offset, const float* slope, T* result,             \
                                  int threads) {                                                                      \
        spread_gradients(*s, gradient, x, chosen, scale, offset, slope, result, threads);                             \
    }

GENRESCALE_FUSED(float, float32)
GENRESCALE_FUSED(uint16_t, bfloat16)
