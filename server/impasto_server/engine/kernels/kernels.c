/* What an evaluation does between its convolutions, each in one pass through memory.
 *
 * All maps are (1, C, H, W) in channels_last memory: position by position, the channels of each side by side. building.py
 * compiles this file; __init__.py calls it, and says what each function returns.
 *
 * The parallel loops call OpenMP as PyTorch does, and find its library in the process when this one is loaded: a second
 * one would have threads of its own. Each thread calls a function for its rows, because the compiler makes versions
 * for several kinds of processors (CLONES) of whole functions only, without the loops that it moves out of them.
 */

#include <stdint.h>
#include <string.h>

#ifdef HAS_CLONES
#define CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define CLONES
#endif
#define API __attribute__((visibility("default")))
#define ALWAYS_INLINE __attribute__((always_inline))
/* Numbers for a thread at a time. */
#define PART 65536
/* Channels at a time, where sums are kept. */
#define AT_ONCE 512

/* The source from which this library was made. */
API const char *source(void) { return SOURCE; }

static inline float float_of(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static inline uint32_t bits_of(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static inline float float_of_bfloat16(uint16_t bits) { return float_of((uint32_t)bits << 16); }

/* To the nearest, and half-way to even. */
static inline uint16_t bfloat16_of(float number)
{
    uint32_t bits = bits_of(number);
    uint32_t nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return number == number ? nearest : 0x7fc0;
}

/* The two neighbouring positions from which an enlargement to twice the size takes a place, along one axis. */
struct between {
    int64_t at[2];
    float weights[2];
};

static inline struct between between(int64_t place, int64_t length)
{
    int64_t before = (place + 1) / 2 - 1, after = before + 1;
    int odd = place % 2;
    struct between found = {{before < 0 ? 0 : before, after < length ? after : length - 1},
                            {odd ? 0.75f : 0.25f, odd ? 0.25f : 0.75f}};
    return found;
}

/* What a place takes of a position: of both neighbours at an edge, where they are the same. */
static inline float weight_of(const struct between *found, int64_t position)
{
    return (found->at[0] == position ? found->weights[0] : 0) + (found->at[1] == position ? found->weights[1] : 0);
}

#define NUMBER uint16_t
#define SIGN 0x8000
#define INFINITE 0x7f80
#define NAME(f) f##_bfloat16
#define widened float_of_bfloat16
#define rounded bfloat16_of
#include "kernels_of_type.h"
#undef NUMBER
#undef SIGN
#undef INFINITE
#undef NAME
#undef widened
#undef rounded

#define NUMBER uint32_t
#define SIGN 0x80000000u
#define INFINITE 0x7f800000u
#define NAME(f) f##_float32
#define widened float_of
#define rounded bits_of
#include "kernels_of_type.h"
