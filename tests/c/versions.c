/* versions.c: a model of plain C with versions for several processors.
 *
 *     versions   checks every version that this processor can run against the portable one, and prints the name of each:
 *                "DEVICE: NAME", or "DEVICE: refused"
 */
#include "check.h"

#include <math.h>

static struct inputs inputs;
static struct outputs portable, outputs;

static void check_version(const char *device)
{
    MODEL *model = NULL;
    M(status) status = M(create)(&model, device);

    if (status == M_UPPER(BAD_ARGUMENT)) {
        CHECK(model == NULL);
        printf("%s: refused\n", device);
        return;
    }
    CHECK_IS(status, M_UPPER(OK));
    printf("%s: %s\n", device ? device : "best", M(device_name)(model));
    CHECK_IS(M(selftest)(model), M_UPPER(OK));
    CHECK_IS(run(model, &inputs, &outputs), M_UPPER(OK));
    for (int i = 0; i < OUTPUT_TOTAL; ++i)
        CHECK(fabsf(outputs.values[i] - portable.values[i]) <= 1e-4f * (1.0f + fabsf(portable.values[i])));
    M(destroy)(model);
}

int main(void)
{
    static unsigned char memory[M_UPPER(MEMORY_BYTES)];
    MODEL *model = NULL;

    fill(&inputs, 1);
    CHECK_IS(M(create)(&model, "c:portable"), M_UPPER(OK));
    CHECK_IS(run(model, &inputs, &portable), M_UPPER(OK));
    M(destroy)(model);

    check_version(NULL);
    check_version("c:portable");
    check_version("c:avx2");
    check_version("c:avx512");
    check_version("c:pentium");
    check_version("CPU"); /* a device of OpenCL */

    CHECK_IS(M(create_in)(&model, memory, sizeof memory), M_UPPER(OK));
    printf("in: %s\n", M(device_name)(model));
    M(destroy)(model);
    return 0;
}
