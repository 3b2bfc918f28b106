/* check.h: what the test programs share.
 *
 * "calls.h" is written by the test for each model: its header, its name as MODEL and MODEL_UPPER, how many floats its
 * inputs and outputs take, and its run and enqueue with all tensors in one array.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* For status codes, the model's and OpenCL's. */
#define CHECK_IS(call, wanted)                                                                                         \
    do {                                                                                                               \
        int got_ = (int)(call);                                                                                        \
        if (got_ != (int)(wanted)) {                                                                                   \
            fprintf(stderr, "%s:%d: %s is %d, not %s\n", __FILE__, __LINE__, #call, got_, #wanted);                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define JOIN_(a, b)   a##_##b
#define JOIN(a, b)    JOIN_(a, b)
#define M(name)       JOIN(MODEL, name)       /* <name>_... */
#define M_UPPER(name) JOIN(MODEL_UPPER, name) /* <NAME>_... */

#include "calls.h"

/* All inputs, and all outputs, one after the other. */
struct inputs {
    float values[INPUT_TOTAL];
};

struct outputs {
    float values[OUTPUT_TOTAL];
};

/* Numbers in [-1, 1] that differ from element to element, and from seed to seed. */
static inline void fill(struct inputs *inputs, unsigned seed)
{
    for (unsigned i = 0; i < INPUT_TOTAL; ++i)
        inputs->values[i] = (float)((i * 7919u + seed * 104729u) % 2003u) / 1001.0f - 1.0f;
}

static inline M(status) run(MODEL *model, struct inputs *inputs, struct outputs *outputs)
{
    float *in[INPUTS], *out[OUTPUTS];
    float *next = inputs->values;

    for (int i = 0; i < INPUTS; next += input_counts[i++])
        in[i] = next;
    next = outputs->values;
    for (int i = 0; i < OUTPUTS; next += output_counts[i++])
        out[i] = next;
    return call_run(model, in, out);
}

static inline void check_equal(const struct outputs *got, const struct outputs *wanted)
{
    CHECK(memcmp(got, wanted, sizeof *got) == 0);
}

#endif
