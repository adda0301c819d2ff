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

/* The kernels below compare a layer's features with a target at the places of a window. What a place sees of the
 * features is the mean of side x side positions, or, where side is 0, an enlargement to twice the size: bilinear
 * between 2 x 2 positions.
 *
 *   x          the layer's features, height x width positions
 *   target     the target's numbers for the window's first place; the steps lead to the next row and column
 *   row, column, rows, columns
 *              the window's first place, and its size in places
 *   Arrays of one float for each of the window's places are dense.
 */

/* Sums over the channels of seen * target and of seen * seen, where what a place sees is the mean of a block. */
static inline ALWAYS_INLINE void NAME(mean_sums)(float *product, float *square, const NUMBER *x,
                                                 const NUMBER *target, int64_t length, int64_t channels,
                                                 const int side)
{
    float share = 1.0f / (float)(side * side), of_product = 0, of_square = 0;
#pragma omp simd reduction(+ : of_product, of_square)
    for (int64_t c = 0; c < channels; c++) {
        float seen = 0;
        for (int i = 0; i < side; i++)
            for (int j = 0; j < side; j++)
                seen += widened(x[i * length + j * channels + c]);
        of_product += seen * share * widened(target[c]);
        of_square += seen * share * (seen * share);
    }
    *product = of_product;
    *square = of_square;
}

/* The same, where it is bilinear between four positions. */
static inline ALWAYS_INLINE void NAME(enlarged_sums)(float *product, float *square, const NUMBER *const at[4],
                                                     const float weights[4], const NUMBER *target,
                                                     int64_t channels)
{
    const NUMBER *a = at[0], *b = at[1], *d = at[2], *e = at[3];
    float of_a = weights[0], of_b = weights[1], of_d = weights[2], of_e = weights[3];
    float of_product = 0, of_square = 0;
#pragma omp simd reduction(+ : of_product, of_square)
    for (int64_t c = 0; c < channels; c++) {
        float seen = of_a * widened(a[c]) + of_b * widened(b[c]) + of_d * widened(d[c]) + of_e * widened(e[c]);
        of_product += seen * widened(target[c]);
        of_square += seen * seen;
    }
    *product = of_product;
    *square = of_square;
}

CLONES static void NAME(row_sums)(float *product, float *square, const NUMBER *x, const NUMBER *target,
                                  int64_t target_step, int64_t row, int64_t column, int64_t columns,
                                  int64_t height, int64_t width, int64_t channels, int side)
{
    int64_t length = width * channels;
    struct between down = between(row, height);
    for (int64_t j = 0; j < columns; j++, target += target_step) {
        const NUMBER *block = x + row * side * length + (column + j) * side * channels;
        if (side == 4)
            NAME(mean_sums)(product + j, square + j, block, target, length, channels, 4);
        else if (side == 2)
            NAME(mean_sums)(product + j, square + j, block, target, length, channels, 2);
        else if (side == 1)
            NAME(mean_sums)(product + j, square + j, block, target, length, channels, 1);
        else {
            struct between along = between(column + j, width);
            const NUMBER *at[4];
            float weights[4];
            for (int k = 0; k < 4; k++) {
                at[k] = x + down.at[k / 2] * length + along.at[k % 2] * channels;
                weights[k] = down.weights[k / 2] * along.weights[k % 2];
            }
            NAME(enlarged_sums)(product + j, square + j, at, weights, target, channels);
        }
    }
}

API void NAME(place_sums)(float *product, float *square, const NUMBER *x, const NUMBER *target,
                          int64_t target_row_step, int64_t target_step, int64_t row, int64_t column,
                          int64_t rows, int64_t columns, int64_t height, int64_t width, int64_t channels,
                          int64_t side, int threads)
{
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < rows; i++)
        NAME(row_sums)(product + i * columns, square + i * columns, x, target + i * target_row_step,
                       target_step, row + i, column, columns, height, width, channels, (int)side);
}

/* One row of places: adds of_target * target + of_seen * seen to the gradient for each block's positions, shared
 * among them. */
CLONES static void NAME(add_to_blocks)(NUMBER *restrict gradient, const NUMBER *restrict x,
                                       const NUMBER *restrict target, int64_t target_step,
                                       const float *of_target, const float *of_seen, int64_t columns,
                                       int64_t length, int64_t channels, int64_t side)
{
    float own[AT_ONCE], share = 1.0f / (float)(side * side);
    for (int64_t place = 0; place < columns; place++)
        for (int64_t first = 0; first < channels; first += AT_ONCE) {
            int64_t count = channels - first < AT_ONCE ? channels - first : AT_ONCE;
            int64_t start = place * side * channels + first;
            const NUMBER *to = target + place * target_step + first;
            float by_target = of_target[place] * share, by_seen = of_seen[place] * share * share;
            for (int64_t c = 0; c < count; c++)
                own[c] = by_target * widened(to[c]);
            for (int64_t k = 0; k < side * side; k++) {
                const NUMBER *at = x + start + k / side * length + k % side * channels;
                for (int64_t c = 0; c < count; c++)
                    own[c] += by_seen * widened(at[c]);
            }
            for (int64_t k = 0; k < side * side; k++) {
                NUMBER *to_position = gradient + start + k / side * length + k % side * channels;
                for (int64_t c = 0; c < count; c++)
                    to_position[c] = rounded(widened(to_position[c]) + own[c]);
            }
        }
}

/* Not inlined, because the compiler does not vectorise it in the function below. */
CLONES static void NAME(add_four)(float *restrict own, const NUMBER *const at[4], const float weights[4],
                                  int64_t first, int64_t count)
{
    const NUMBER *a = at[0] + first, *b = at[1] + first, *d = at[2] + first, *e = at[3] + first;
    float of_a = weights[0], of_b = weights[1], of_d = weights[2], of_e = weights[3];
    for (int64_t c = 0; c < count; c++)
        own[c] += of_a * widened(a[c]) + of_b * widened(b[c]) + of_d * widened(d[c]) + of_e * widened(e[c]);
}

/* One row of positions y that is enlarged to places: the 4 x 4 places around each position see it. What they see comes
 * from 3 x 3 positions, so that the gradient is a weighted sum of 16 targets and 9 positions. */
CLONES static void NAME(add_from_places)(NUMBER *restrict gradient, const NUMBER *restrict x,
                                         const NUMBER *restrict target, int64_t target_row_step,
                                         int64_t target_step, const float *of_target, const float *of_seen,
                                         int64_t row, int64_t column, int64_t rows, int64_t columns, int64_t y,
                                         int64_t height, int64_t width, int64_t channels)
{
    float own[AT_ONCE];
    for (int64_t position = 0; position < width; position++) {
        const NUMBER *centre = x + (y * width + position) * channels;
        const NUMBER *targets[4][4], *around[3][4];
        float by_target[4][4] = {0}, by_seen[3][4] = {0};
        for (int k = 0; k < 16; k++) {
            int64_t i = 2 * y - 1 + k / 4 - row, j = 2 * position - 1 + k % 4 - column;
            /* A place outside of the window has weight 0. */
            int inside = i >= 0 && i < rows && j >= 0 && j < columns;
            targets[k / 4][k % 4] = inside ? target + i * target_row_step + j * target_step : target;
            if (!inside)
                continue;
            struct between down = between(row + i, height), along = between(column + j, width);
            float weight = weight_of(&down, y) * weight_of(&along, position);
            by_target[k / 4][k % 4] = weight * of_target[i * columns + j];
            for (int n = 0; n < 4; n++)
                by_seen[down.at[n / 2] - y + 1][along.at[n % 2] - position + 1] +=
                    weight * of_seen[i * columns + j] * down.weights[n / 2] * along.weights[n % 2];
        }
        for (int k = 0; k < 12; k++) {
            int64_t i = k / 4 - 1, j = k % 4 - 1;
            int inside = y + i >= 0 && y + i < height && position + j >= 0 && position + j < width && j < 2;
            around[k / 4][k % 4] = inside ? centre + (i * width + j) * channels : centre;
        }
        for (int64_t first = 0; first < channels; first += AT_ONCE) {
            int64_t count = channels - first < AT_ONCE ? channels - first : AT_ONCE;
            NUMBER *to = gradient + (centre - x) + first;
            memset(own, 0, sizeof own);
            for (int k = 0; k < 4; k++)
                NAME(add_four)(own, targets[k], by_target[k], first, count);
            for (int k = 0; k < 3; k++)
                NAME(add_four)(own, around[k], by_seen[k], first, count);
            for (int64_t c = 0; c < count; c++)
                to[c] = rounded(widened(to[c]) + own[c]);
        }
    }
}

API void NAME(add_place_gradient)(NUMBER *gradient, const NUMBER *x, const NUMBER *target,
                                  const float *of_target, const float *of_seen, int64_t target_row_step,
                                  int64_t target_step, int64_t row, int64_t column, int64_t rows,
                                  int64_t columns, int64_t height, int64_t width, int64_t channels,
                                  int64_t side, int threads)
{
    int64_t length = width * channels;
    if (side) {
#pragma omp parallel for num_threads(threads)
        for (int64_t i = 0; i < rows; i++) {
            int64_t start = (row + i) * side * length + column * side * channels;
            NAME(add_to_blocks)(gradient + start, x + start, target + i * target_row_step, target_step,
                                of_target + i * columns, of_seen + i * columns, columns, length, channels, side);
        }
    } else if (rows && columns) {
        /* Others have no place in the window. */
        int64_t first = row / 2 - 1 > 0 ? row / 2 - 1 : 0;
        int64_t end = (row + rows) / 2 + 1 < height ? (row + rows) / 2 + 1 : height;
#pragma omp parallel for num_threads(threads)
        for (int64_t y = first; y < end; y++)
            NAME(add_from_places)(gradient, x, target, target_row_step, target_step, of_target, of_seen, row,
                                  column, rows, columns, y, height, width, channels);
    }
}

#undef MAGNITUDE
