/* The kernels for one type of numbers; kernels.c includes this file once for each type. It defines before:
 *   NUMBER     unsigned integer with a number's bits
 *   SIGN       the sign's bit
 *   INFINITE   the bits of infinity: larger ones, without the sign, are NaN
 *   NAME(f)    the name of function f for this type
 *   widened(bits) -> float, rounded(float) -> bits
 *
 * Features come from a ReLU, so they are >= 0 or NaN, and the order of their bits is the order of the numbers.
 */

#define MAGNITUDE (SIGN - 1)

/* One row of pooled values: the largest of each block of 2 x 2 positions. */
CLONES static void NAME(pool_row)(NUMBER *restrict values, const NUMBER *restrict top,
                                  const NUMBER *restrict bottom, int64_t columns, int64_t channels)
{
    for (int64_t column = 0; column < columns; column++)
        for (int64_t c = 0; c < channels; c++) {
            int64_t left = 2 * column * channels + c, right = left + channels;
            NUMBER a = top[left] & MAGNITUDE, b = top[right] & MAGNITUDE;
            NUMBER d = bottom[left] & MAGNITUDE, e = bottom[right] & MAGNITUDE;
            NUMBER above = a > b ? a : b, below = d > e ? d : e;
            values[column * channels + c] = above > below ? above : below;
        }
}

API void NAME(pooled)(NUMBER *values, const NUMBER *x, int64_t height, int64_t width, int64_t channels,
                      int threads)
{
    int64_t rows = height / 2, columns = width / 2;
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        const NUMBER *top = x + 2 * row * width * channels;
        NAME(pool_row)(values + row * columns * channels, top, top + width * channels, columns, channels);
    }
}

/* Two rows of the gradient for what was pooled: all of a block's gradient goes to its first largest value. */
CLONES static void NAME(unpool_row)(NUMBER *restrict to_top, NUMBER *restrict to_bottom,
                                    const NUMBER *restrict gradient, const NUMBER *restrict top,
                                    const NUMBER *restrict bottom, const NUMBER *restrict values,
                                    int64_t columns, int64_t channels)
{
    for (int64_t column = 0; column < columns; column++)
        for (int64_t c = 0; c < channels; c++) {
            int64_t left = 2 * column * channels + c, right = left + channels;
            NUMBER value = values[column * channels + c] & MAGNITUDE;
            NUMBER of_block = value ? gradient[column * channels + c] : 0;
            /* No number is below NaN, so that NaN's gradient goes to the block's first value. */
            value = value > INFINITE ? 0 : value;
            NUMBER first = -((top[left] & MAGNITUDE) >= value), second = -((top[right] & MAGNITUDE) >= value);
            NUMBER third = -((bottom[left] & MAGNITUDE) >= value);
            to_top[left] = of_block & first;
            to_top[right] = of_block & ~first & second;
            to_bottom[left] = of_block & ~first & ~second & third;
            to_bottom[right] = of_block & ~first & ~second & ~third;
        }
}

API void NAME(unpooled)(NUMBER *result, const NUMBER *gradient, const NUMBER *x, const NUMBER *values,
                        int64_t height, int64_t width, int64_t channels, int threads)
{
    int64_t rows = height / 2, columns = width / 2, length = width * channels;
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        int64_t first = 2 * row * length, pooled = row * columns * channels;
        NUMBER *to_top = result + first, *to_bottom = to_top + length;
        NAME(unpool_row)(to_top, to_bottom, gradient + pooled, x + first, x + first + length,
                         values + pooled, columns, channels);
        /* What no block has of a row of odd length. */
        int64_t end = 2 * columns * channels;
        memset(to_top + end, 0, (length - end) * sizeof(NUMBER));
        memset(to_bottom + end, 0, (length - end) * sizeof(NUMBER));
    }
    memset(result + 2 * rows * length, 0, (height - 2 * rows) * length * sizeof(NUMBER));
}

/* Whether a number is above 0 or NaN. */
static inline int NAME(passes)(NUMBER bits)
{
    return bits > SIGN + INFINITE || (bits != 0 && bits < SIGN);
}

CLONES static void NAME(mask_part)(NUMBER *restrict gradient, const NUMBER *restrict x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        gradient[i] = NAME(passes)(x[i]) ? gradient[i] : 0;
}

API void NAME(mask)(NUMBER *gradient, const NUMBER *x, int64_t count, int threads)
{
#pragma omp parallel for num_threads(threads)
    for (int64_t start = 0; start < count; start += PART)
        NAME(mask_part)(gradient + start, x + start, count - start < PART ? count - start : PART);
}

CLONES static void NAME(add_masked_part)(NUMBER *restrict gradient, const NUMBER *restrict own,
                                         const NUMBER *restrict x, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        NUMBER sum = rounded(widened(gradient[i]) + widened(own[i]));
        gradient[i] = NAME(passes)(x[i]) ? sum : 0;
    }
}

API void NAME(add_masked)(NUMBER *gradient, const NUMBER *own, const NUMBER *x, int64_t count, int threads)
{
#pragma omp parallel for num_threads(threads)
    for (int64_t start = 0; start < count; start += PART)
        NAME(add_masked_part)(gradient + start, own + start, x + start,
                              count - start < PART ? count - start : PART);
}

#undef MAGNITUDE
