/* both.c: an artefact with OpenCL and plain C.
 *
 *     both            with -DFAKE and linked with fake_opencl.c: whatever fails in OpenCL, plain C is taken
 *     both [DEVICE]   prints "opencl" or "c", and why OpenCL was not taken, on lines of their own; checks that the results
 *                     are those of the plain C, up to rounding
 */
#include "check.h"

#include <math.h>

#ifdef FAKE
#include "fake_opencl.h"

int main(void)
{
    int call = 0;

    fake_refuse(1);
    do {
        MODEL *model = NULL;
        const char *reason;

        fake_fail(call);
        CHECK_IS(M(create)(&model, NULL), M_UPPER(OK));
        CHECK(M(as_c)(model) != NULL);
        reason = M(no_opencl_because)(model);
        if (call == 0)
            puts(reason);
        fake_refuse(0);
        CHECK(reason[0]);
        ++call;
        CHECK_IS(M(selftest)(model), M_UPPER(OK));
        M(destroy)(model);
        CHECK(fake_living() == 0);
    } while (call == 1 || fake_failed());
    {
        /* Nothing fails, and the device computes nothing. */
        MODEL *model = NULL;

        fake_fail(0);
        CHECK_IS(M(create)(&model, NULL), M_UPPER(OK));
        puts(M(no_opencl_because)(model));
        M(destroy)(model);
    }
    return 0;
}
#else
static struct inputs inputs;
static struct outputs chosen, plain;

int main(int argc, char **argv)
{
    MODEL *model = NULL, *other = NULL;

    CHECK_IS(M(create)(NULL, NULL), M_UPPER(BAD_ARGUMENT));
    CHECK_IS(M(selftest)(NULL), M_UPPER(BAD_ARGUMENT));
    CHECK_IS(run(NULL, &inputs, &chosen), M_UPPER(BAD_ARGUMENT));
    M(destroy)(NULL);
    CHECK(M(as_opencl)(NULL) == NULL && M(as_c)(NULL) == NULL);
    CHECK(M(device_name)(NULL)[0] == '\0' && M(no_opencl_because)(NULL)[0] == '\0');

    CHECK_IS(M(create)(&model, argc > 1 ? argv[1] : NULL), M_UPPER(OK));
    CHECK((M(as_opencl)(model) == NULL) != (M(as_c)(model) == NULL));
    CHECK((M(device_name)(model)[0] == 'C' && M(device_name)(model)[1] == ',') == (M(as_c)(model) != NULL));
    puts(M(as_c)(model) ? "c" : "opencl");
    puts(M(no_opencl_because)(model));
    CHECK_IS(M(selftest)(model), M_UPPER(OK));

    CHECK_IS(M(create)(&other, "c"), M_UPPER(OK));
    CHECK(M(as_c)(other) != NULL && M(no_opencl_because)(other)[0] == '\0');
    fill(&inputs, 1);
    CHECK_IS(run(model, &inputs, &chosen), M_UPPER(OK));
    CHECK_IS(run(other, &inputs, &plain), M_UPPER(OK));
    for (int i = 0; i < OUTPUT_TOTAL; ++i)
        CHECK(fabsf(chosen.values[i] - plain.values[i]) <= 1e-4f * (1.0f + fabsf(plain.values[i])));

    for (int status = 0; status <= M_UPPER(WRONG_RESULT); ++status) {
        CHECK(strcmp(M(status_text)((M(status))status), "unknown status") != 0);
        for (int lower = 0; lower < status; ++lower)
            CHECK(strcmp(M(status_text)((M(status))status), M(status_text)((M(status))lower)) != 0);
    }
    M(destroy)(other);
    M(destroy)(model);
    return 0;
}
#endif
