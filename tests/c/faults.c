/* faults.c: a model on the OpenCL of fake_opencl.c, with every call failing once; and what may not happen after create.
 *
 * Link with -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free: only calls from the model's and this program's
 * objects are counted.
 */
#define CL_TARGET_OPENCL_VERSION 120
#include "fake_opencl.h"

#include <CL/cl.h>

#include "check.h"

#define OK M_UPPER(OK)

static struct inputs inputs;
static struct outputs outputs;

/* Memory. */

static int allocations, frees;
static int allocation_to_refuse; /* from 1; 0: none */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void __wrap_free(void *memory);

static int refused(void)
{
    return ++allocations == allocation_to_refuse;
}

void *__wrap_malloc(size_t size)
{
    return refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return refused() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return refused() ? NULL : __real_realloc(memory, size);
}

void __wrap_free(void *memory)
{
    frees += memory != NULL;
    __real_free(memory);
}

/* Instances. */

static cl_device_id device;
static cl_context context;
static cl_command_queue queue; /* the application's; NULL: create makes one */

static M(status) create(MODEL **model)
{
    return queue ? M(create_on)(model, context, device, queue) : M(create)(model, "fake");
}

/* Of a create that failed. */
static void check_refusal(MODEL *model)
{
    cl_mem none[INPUTS + OUTPUTS] = {NULL};

    CHECK(model);
    CHECK_IS(run(model, &inputs, &outputs), M_UPPER(BAD_ARGUMENT));
    CHECK_IS(call_enqueue(model, none, none, 0, NULL, NULL), M_UPPER(BAD_ARGUMENT));
    CHECK_IS(M(selftest)(model), M_UPPER(BAD_ARGUMENT));
    CHECK(M(build_log)(model));
    CHECK(M(device_name)(model));
}

static cl_mem in[INPUTS], out[OUTPUTS];

static M(status) do_run(MODEL *model)
{
    return run(model, &inputs, &outputs);
}

static M(status) do_enqueue(MODEL *model)
{
    cl_event event = NULL;
    M(status) status = call_enqueue(model, in, out, 0, NULL, &event);

    CHECK((status == OK) == (event != NULL));
    if (event)
        clReleaseEvent(event);
    return status;
}

/* The kernels do nothing, which the self-test notices. */
static M(status) do_selftest(MODEL *model)
{
    M(status) status = M(selftest)(model);
    return status == M_UPPER(WRONG_RESULT) ? OK : status;
}

static M(status) (*const work[])(MODEL *) = {do_run, do_selftest, do_enqueue};

static int work_count(void)
{
    return queue ? 3 : 2; /* enqueue takes buffers of a context that we know */
}

static void check_works(MODEL *model)
{
    int living = fake_living();

    allocations = frees = 0;
    fake_finished(1);
    for (int i = 0; i < work_count(); ++i)
        CHECK_IS(work[i](model), OK);
    fake_finished(0);
    CHECK_IS(allocations, 0);
    CHECK_IS(frees, 0);
    CHECK_IS(fake_living(), living);
}

/* Faults. */

static int calls_fail_in_create(void)
{
    int before = fake_living();
    int call = 1;

    for (;; ++call) {
        MODEL *model;
        M(status) status;

        allocations = frees = 0;
        fake_fail(call);
        status = create(&model);
        if (!fake_failed()) {
            fake_fail(0);
            CHECK_IS(status, OK);
            check_works(model);
            M(destroy)(model);
            break;
        }
        fake_fail(0);
        if (status == OK) {
            M(destroy)(model); /* without a name of the platform, say, it goes on */
        } else {
            check_refusal(model);
            CHECK(status == M_UPPER(NO_DEVICE) || M(cl_error)(model) == FAKE_ERROR);
            M(destroy)(model);
        }
        CHECK_IS(fake_living(), before);
        CHECK_IS(frees, allocations);
    }
    CHECK_IS(fake_living(), before);
    return call - 1;
}

static void calls_fail_in_work(void)
{
    MODEL *model;

    CHECK_IS(create(&model), OK);
    for (int i = 0; i < work_count(); ++i) {
        for (int call = 1;; ++call) {
            M(status) status;

            fake_fail(call);
            status = work[i](model);
            if (!fake_failed()) {
                CHECK_IS(status, OK);
                CHECK(call > 3);
                break;
            }
            fake_fail(0);
            CHECK(status == M_UPPER(OPENCL_ERROR) || status == M_UPPER(BAD_ARGUMENT)); /* a buffer of no size */
            CHECK(status == M_UPPER(BAD_ARGUMENT) || M(cl_error)(model) == FAKE_ERROR);
            check_works(model);
        }
    }
    fake_fail(0);
    M(destroy)(model);
}

static void memory_is_refused(void)
{
    int before = fake_living();

    for (int allocation = 1;; ++allocation) {
        MODEL *model;
        M(status) status;

        allocations = frees = 0;
        allocation_to_refuse = allocation;
        status = create(&model);
        allocation_to_refuse = 0;
        if (allocations < allocation) {
            CHECK_IS(status, OK);
            M(destroy)(model);
            break;
        }
        if (allocation == 1) {
            CHECK_IS(status, M_UPPER(OUT_OF_MEMORY));
            CHECK(!model);
        } else {
            CHECK(status != OK);
            check_refusal(model);
        }
        M(destroy)(model);
        CHECK_IS(frees, allocations - 1);
        CHECK_IS(fake_living(), before);
    }
    CHECK_IS(fake_living(), before);
}

static void programs_are_refused(void)
{
    MODEL *model;

    fake_refuse(1);
    CHECK_IS(create(&model), M_UPPER(BUILD_FAILED));
    CHECK(strcmp(M(build_log)(model), "refused") == 0);
    CHECK_IS(M(cl_error)(model), CL_BUILD_PROGRAM_FAILURE);
    check_refusal(model);
    M(destroy)(model);
    for (int allocation = 2; allocation < 4; ++allocation) { /* no memory for what the compiler said */
        allocations = 0;
        allocation_to_refuse = allocation;
        CHECK_IS(create(&model), M_UPPER(BUILD_FAILED));
        allocation_to_refuse = 0;
        M(destroy)(model);
    }
    for (int call = 1;; ++call) {
        M(status) status;

        fake_fail(call);
        status = create(&model);
        CHECK(status != OK);
        M(destroy)(model);
        if (!fake_failed())
            break;
    }
    fake_fail(0);
    fake_refuse(0);
}

static void with_queue_of(int own, cl_command_queue_properties properties)
{
    int calls;

    if (own) {
        context = clCreateContext(NULL, 1, &device, NULL, NULL, NULL);
        queue = clCreateCommandQueue(context, device, properties, NULL);
        for (int i = 0; i < INPUTS; ++i)
            in[i] = clCreateBuffer(context, CL_MEM_READ_WRITE, 4 * input_counts[i], NULL, NULL);
        for (int i = 0; i < OUTPUTS; ++i)
            out[i] = clCreateBuffer(context, CL_MEM_READ_WRITE, 4 * output_counts[i], NULL, NULL);
    }
    calls = calls_fail_in_create();
    CHECK(calls > 20);
    calls_fail_in_work();
    memory_is_refused();
    programs_are_refused();
    if (own) {
        for (int i = 0; i < INPUTS; ++i)
            clReleaseMemObject(in[i]);
        for (int i = 0; i < OUTPUTS; ++i)
            clReleaseMemObject(out[i]);
        clReleaseCommandQueue(queue);
        clReleaseContext(context);
        queue = NULL;
    }
    CHECK_IS(fake_living(), 0);
    printf("each of %d calls failed in create\n", calls);
}

int main(void)
{
    cl_platform_id platform;

    fill(&inputs, 0);
    CHECK_IS(clGetPlatformIDs(1, &platform, NULL), CL_SUCCESS);
    CHECK_IS(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL), CL_SUCCESS);
    for (int kind = 0; kind < 3; ++kind) {
        fake_be_gpu(kind == 1);
        fake_share_memory(kind == 2);
        with_queue_of(0, 0);
        with_queue_of(1, 0);
        with_queue_of(1, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    }
    puts("ok");
    return 0;
}
