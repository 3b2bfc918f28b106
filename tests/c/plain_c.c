/* plain_c.c: a model of the plain C backend in the application's memory.
 *
 *     plain_c   checks create_in, run, selftest and destroy
 */
#include "check.h"

#include <stdint.h>

static unsigned char memory[M_UPPER(MEMORY_BYTES) + 64];
static struct inputs inputs;
static struct outputs first, second;

int main(void)
{
    MODEL *model = NULL, *other = NULL;

    CHECK_IS(M(create_in)(NULL, memory, sizeof memory), M_UPPER(BAD_ARGUMENT));
    CHECK_IS(M(create_in)(&model, NULL, sizeof memory), M_UPPER(BAD_ARGUMENT));
    CHECK_IS(M(create_in)(&model, memory, M_UPPER(MEMORY_BYTES) - 1), M_UPPER(BAD_ARGUMENT));
    CHECK(model == NULL);
    CHECK_IS(M(create)(NULL, NULL), M_UPPER(BAD_ARGUMENT));
    CHECK_IS(M(selftest)(NULL), M_UPPER(BAD_ARGUMENT));
    M(destroy)(NULL);

    /* Any address will do, and no byte beyond the memory is written. */
    for (size_t shift = 0; shift < 64; shift += 13) {
        memset(memory, 0xa5, sizeof memory);
        CHECK_IS(M(create_in)(&model, memory + shift, M_UPPER(MEMORY_BYTES)), M_UPPER(OK));
        CHECK_IS(M(selftest)(model), M_UPPER(OK));
        for (size_t i = 0; i < sizeof memory; ++i)
            CHECK((i >= shift && i < shift + M_UPPER(MEMORY_BYTES)) || memory[i] == 0xa5);
        if (shift + 13 < 64)
            M(destroy)(model);
    }

    /* Two instances give the same results, and a run leaves nothing behind. */
    CHECK_IS(M(create)(&other, NULL), M_UPPER(OK));
    fill(&inputs, 1);
    CHECK_IS(run(model, &inputs, &first), M_UPPER(OK));
    CHECK_IS(M(selftest)(model), M_UPPER(OK));
    CHECK_IS(run(other, &inputs, &second), M_UPPER(OK));
    CHECK(memcmp(&first, &second, sizeof first) == 0);
    CHECK_IS(run(model, &inputs, &second), M_UPPER(OK));
    CHECK(memcmp(&first, &second, sizeof first) == 0);

    /* An output over an input is refused. */
    {
        float *in[INPUTS], *out[OUTPUTS];
        float *next = inputs.values;
        for (int i = 0; i < INPUTS; next += input_counts[i++])
            in[i] = next;
        next = second.values;
        for (int i = 0; i < OUTPUTS; next += output_counts[i++])
            out[i] = next;
        out[0] = in[0];
        CHECK_IS(call_run(model, in, out), M_UPPER(BAD_ARGUMENT));
        out[0] = NULL;
        CHECK_IS(call_run(model, in, out), M_UPPER(BAD_ARGUMENT));
    }
    CHECK(M(device_name)(model)[0] == 'C');
    CHECK(strcmp(M(status_text)(M_UPPER(OK)), "no error") == 0);
    M(destroy)(model);
    M(destroy)(other);
    puts("ok");
    return 0;
}
