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
/* Numbers for a thread at a time. */
#define PART 65536

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
