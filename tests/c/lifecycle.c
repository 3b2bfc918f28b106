/* lifecycle.c: a model on a device, from create to destroy; in an order in which nothing can be forgotten.
 *
 * usage: lifecycle DEVICE [--quick]
 *     DEVICE is part of a platform's name; --quick creates one instance only.
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <time.h>

#include "check.h"

#define OK           M_UPPER(OK)
#define BAD_ARGUMENT M_UPPER(BAD_ARGUMENT)

enum { SETS = 3 };
static struct inputs inputs[SETS];
static struct outputs wanted[SETS]; /* what the first instance answered to `inputs` */
static struct outputs got;

static void bad_arguments(void)
{
    MODEL *model = (MODEL *)(void *)inputs;
    cl_mem none[INPUTS + OUTPUTS] = {NULL};

    CHECK_IS(M(create)(NULL, NULL), BAD_ARGUMENT);
    CHECK_IS(M(create_on)(NULL, NULL, NULL, NULL), BAD_ARGUMENT);
    CHECK_IS(M(create_on)(&model, NULL, NULL, NULL), BAD_ARGUMENT);
    CHECK(!model);
    CHECK_IS(run(NULL, &inputs[0], &got), BAD_ARGUMENT);
    CHECK_IS(call_enqueue(NULL, none, none, 0, NULL, NULL), BAD_ARGUMENT);
    CHECK_IS(M(selftest)(NULL), BAD_ARGUMENT);
    CHECK(M(cl_error)(NULL) == 0);
    CHECK(strcmp(M(build_log)(NULL), "") == 0);
    CHECK(strcmp(M(device_name)(NULL), "") == 0);
    M(destroy)(NULL);

    for (int a = 0; a <= M_UPPER(WRONG_RESULT); ++a)
        for (int b = 0; b <= a; ++b)
            CHECK((strcmp(M(status_text)((M(status))a), M(status_text)((M(status))b)) == 0) == (a == b));
}

/* Of a create that failed: the instance answers questions and refuses work. */
static void check_failed(MODEL *model)
{
    cl_mem none[INPUTS + OUTPUTS] = {NULL};

    CHECK(model);
    CHECK_IS(run(model, &inputs[0], &got), BAD_ARGUMENT);
    CHECK_IS(call_enqueue(model, none, none, 0, NULL, NULL), BAD_ARGUMENT);
    CHECK_IS(M(selftest)(model), BAD_ARGUMENT);
    CHECK(M(build_log)(model));
    CHECK(M(device_name)(model));
    M(destroy)(model);
}

static void choice_of_device(const char *device)
{
    MODEL *model;

    CHECK_IS(M(create)(&model, "no device has this name"), M_UPPER(NO_DEVICE));
    check_failed(model);

    setenv("CLGEN_DEVICE", "no device has this name", 1);
    CHECK_IS(M(create)(&model, NULL), M_UPPER(NO_DEVICE));
    check_failed(model);
    CHECK_IS(M(create)(&model, device), OK); /* an argument outranks the environment */
    M(destroy)(model);

    setenv("CLGEN_DEVICE", device, 1);
    CHECK_IS(M(create)(&model, NULL), OK);
    CHECK(*M(device_name)(model));
    M(destroy)(model);
    unsetenv("CLGEN_DEVICE");
}

/* Where the program is linked with OpenCL, there is nothing to be loaded. */
#ifndef SYSTEM_OPENCL
static void no_library(void)
{
    static const char *const wrong[] = {"/nowhere/libOpenCL.so.1", "libm.so.6"}; /* not there; not OpenCL */
    const char *before = getenv("CLGEN_OPENCL_LIBRARY");
    char kept[1024] = "";
    MODEL *model;

    if (before)
        strncpy(kept, before, sizeof kept - 1);
    for (int i = 0; i < 2; ++i) {
        setenv("CLGEN_OPENCL_LIBRARY", wrong[i], 1);
        CHECK_IS(M(create)(&model, NULL), M_UPPER(NO_OPENCL));
        check_failed(model);
        CHECK_IS(
            M(create_on)(&model, (cl_context)(void *)inputs, (cl_device_id)(void *)inputs,
                         (cl_command_queue)(void *)inputs),
            M_UPPER(NO_OPENCL));
        check_failed(model);
    }
    if (before)
        setenv("CLGEN_OPENCL_LIBRARY", kept, 1);
    else
        unsetenv("CLGEN_OPENCL_LIBRARY");
}
#endif

static void run_and_selftest(MODEL *model)
{
    float *in[INPUTS], *out[OUTPUTS];

    for (int i = 0; i < SETS; ++i)
        CHECK_IS(run(model, &inputs[i], &wanted[i]), OK);
    CHECK(memcmp(&wanted[0], &wanted[1], sizeof wanted[0]) != 0);
    for (int i = 0; i < SETS; ++i) {
        CHECK_IS(M(selftest)(model), OK);
        CHECK_IS(run(model, &inputs[i], &got), OK);
        check_equal(&got, &wanted[i]);
    }

    for (int missing = 0; missing < INPUTS + OUTPUTS; ++missing) {
        for (int i = 0; i < INPUTS; ++i)
            in[i] = missing == i ? NULL : inputs[0].values;
        for (int i = 0; i < OUTPUTS; ++i)
            out[i] = missing == INPUTS + i ? NULL : got.values;
        CHECK_IS(call_run(model, in, out), BAD_ARGUMENT);
    }
    check_equal(&got, &wanted[SETS - 1]);
    CHECK(M(cl_error)(model) == 0);
    CHECK(strcmp(M(build_log)(model), "") == 0);
    CHECK(strcmp(M(device_name)(model), "") != 0);
}

/* The application's buffers for one batch. */
struct batch {
    cl_mem in[INPUTS];
    cl_mem out[OUTPUTS];
};

static cl_mem buffer_of(cl_context context, size_t floats)
{
    cl_int error;
    cl_mem buffer = clCreateBuffer(context, CL_MEM_READ_WRITE, 4 * floats, NULL, &error);
    CHECK_IS(error, CL_SUCCESS);
    return buffer;
}

static struct batch create_batch(cl_context context)
{
    struct batch batch;

    for (int i = 0; i < INPUTS; ++i)
        batch.in[i] = buffer_of(context, input_counts[i]);
    for (int i = 0; i < OUTPUTS; ++i)
        batch.out[i] = buffer_of(context, output_counts[i] + 1); /* more than enough is fine */
    return batch;
}

static void release_batch(struct batch batch)
{
    for (int i = 0; i < INPUTS; ++i)
        CHECK_IS(clReleaseMemObject(batch.in[i]), CL_SUCCESS);
    for (int i = 0; i < OUTPUTS; ++i)
        CHECK_IS(clReleaseMemObject(batch.out[i]), CL_SUCCESS);
}

/* Without waiting, except in `wait`, of INPUTS. */
static void write_batch(cl_command_queue queue, struct batch batch, const struct inputs *from, cl_event *wait)
{
    const float *next = from->values;

    for (int i = 0; i < INPUTS; next += input_counts[i++])
        CHECK_IS(
            clEnqueueWriteBuffer(queue, batch.in[i], CL_FALSE, 0, 4 * input_counts[i], next, 0, NULL, &wait[i]),
            CL_SUCCESS);
}

static void check_batch(cl_command_queue queue, struct batch batch, const struct outputs *against, cl_event done)
{
    float *next = got.values;

    for (int i = 0; i < OUTPUTS; next += output_counts[i++])
        CHECK_IS(
            clEnqueueReadBuffer(queue, batch.out[i], CL_TRUE, 0, 4 * output_counts[i], next, done ? 1 : 0,
                                done ? &done : NULL, NULL),
            CL_SUCCESS);
    check_equal(&got, against);
}

static void enqueue(MODEL *model, cl_context context, cl_command_queue queue)
{
    struct batch batches[SETS];
    cl_event wait[SETS][INPUTS + 1], done[SETS];
    cl_mem in[INPUTS], out[OUTPUTS];
    cl_mem small = buffer_of(context, 1);
    cl_int status;
    cl_event gate = clCreateUserEvent(context, &status);
    CHECK_IS(status, CL_SUCCESS);

    /* Several batches at once, each behind its own inputs; the first also behind the gate. */
    for (int i = 0; i < SETS; ++i) {
        batches[i] = create_batch(context);
        write_batch(queue, batches[i], &inputs[i], wait[i]);
        wait[i][INPUTS] = gate;
        CHECK_IS(call_enqueue(model, batches[i].in, batches[i].out, INPUTS + (i == 0), wait[i], &done[i]), OK);
    }
    CHECK_IS(clGetEventInfo(done[0], CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL), CL_SUCCESS);
    CHECK(status > CL_COMPLETE);
    CHECK_IS(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
    for (int i = SETS - 1; i >= 0; --i)
        check_batch(queue, batches[i], &wanted[i], done[i]);

    /* Without events, onto buffers that hold another batch. */
    CHECK_IS(call_enqueue(model, batches[1].in, batches[0].out, 0, NULL, NULL), OK);
    CHECK_IS(call_enqueue(model, batches[2].in, batches[1].out, 0, NULL, NULL), OK);
    CHECK_IS(clFinish(queue), CL_SUCCESS);
    check_batch(queue, batches[0], &wanted[1], NULL);
    check_batch(queue, batches[1], &wanted[2], NULL);

    /* In turns with run, which has buffers of its own. */
    CHECK_IS(run(model, &inputs[0], &got), OK);
    check_equal(&got, &wanted[0]);
    CHECK_IS(M(selftest)(model), OK);
    check_batch(queue, batches[1], &wanted[2], NULL);

    for (int wrong = 0; wrong < 2 * (INPUTS + OUTPUTS); ++wrong) {
        memcpy(in, batches[0].in, sizeof in);
        memcpy(out, batches[0].out, sizeof out);
        *(wrong / 2 < INPUTS ? &in[wrong / 2] : &out[wrong / 2 - INPUTS]) = wrong % 2 ? small : NULL;
        CHECK_IS(call_enqueue(model, in, out, 0, NULL, NULL), BAD_ARGUMENT);
    }
    CHECK_IS(call_enqueue(model, batches[0].in, batches[0].out, 1, NULL, NULL), BAD_ARGUMENT);
    CHECK_IS(call_enqueue(model, batches[0].in, batches[0].out, 0, done, NULL), BAD_ARGUMENT);
    CHECK(M(cl_error)(model) == 0);

    for (int i = 0; i < SETS; ++i) {
        release_batch(batches[i]);
        CHECK_IS(clReleaseEvent(done[i]), CL_SUCCESS);
        for (int k = 0; k < INPUTS; ++k)
            CHECK_IS(clReleaseEvent(wait[i][k]), CL_SUCCESS);
    }
    CHECK_IS(clReleaseEvent(gate), CL_SUCCESS);
    CHECK_IS(clReleaseMemObject(small), CL_SUCCESS);
}

/* The last batch is complete when destroy returns. */
static void destroy_while_busy(MODEL *model, cl_context context, cl_command_queue queue)
{
    struct batch batch = create_batch(context);
    cl_event written[INPUTS];
    cl_event done = NULL;
    cl_int status = CL_QUEUED;

    write_batch(queue, batch, &inputs[2], written);
    CHECK_IS(clFinish(queue), CL_SUCCESS);
    for (int i = 0; i < 20; ++i)
        CHECK_IS(call_enqueue(model, batch.in, batch.out, 0, NULL, i < 19 ? NULL : &done), OK);
    M(destroy)(model);
    CHECK_IS(clGetEventInfo(done, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL), CL_SUCCESS);
    CHECK_IS(status, CL_COMPLETE);
    check_batch(queue, batch, &wanted[2], NULL);
    for (int i = 0; i < INPUTS; ++i)
        clReleaseEvent(written[i]);
    clReleaseEvent(done);
    release_batch(batch);
}

static cl_uint references(cl_context context, cl_command_queue queue)
{
    cl_uint of_context = 0, of_queue = 0;
    CHECK_IS(clGetContextInfo(context, CL_CONTEXT_REFERENCE_COUNT, sizeof of_context, &of_context, NULL), CL_SUCCESS);
    CHECK_IS(clGetCommandQueueInfo(queue, CL_QUEUE_REFERENCE_COUNT, sizeof of_queue, &of_queue, NULL), CL_SUCCESS);
    return 1000 * of_context + of_queue;
}

static void on_own_queue(cl_device_id device, cl_command_queue_properties properties, int instances)
{
    cl_int error;
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
    CHECK_IS(error, CL_SUCCESS);
    cl_command_queue queue = clCreateCommandQueue(context, device, properties, &error);
    CHECK_IS(error, CL_SUCCESS);
    cl_uint before = references(context, queue);
    MODEL *models[2] = {NULL, NULL};

    CHECK_IS(M(create_on)(&models[0], NULL, device, queue), BAD_ARGUMENT);
    CHECK_IS(M(create_on)(&models[0], context, NULL, queue), BAD_ARGUMENT);
    CHECK_IS(M(create_on)(&models[0], context, device, NULL), BAD_ARGUMENT);

    for (int i = 0; i < instances; ++i)
        CHECK_IS(M(create_on)(&models[i], context, device, queue), OK);
    if (instances == 1)
        run_and_selftest(models[0]);
    enqueue(models[0], context, queue);
    if (instances == 2) {
        /* The other one has not noticed anything, and outlives the first. */
        M(destroy)(models[0]);
        enqueue(models[1], context, queue);
    }
    destroy_while_busy(models[instances - 1], context, queue);

    /* PoCL's threads let go of a command's queue and context some time after it has finished. */
    CHECK_IS(clFinish(queue), CL_SUCCESS);
    for (int i = 0; i < 500 && references(context, queue) != before; ++i)
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    CHECK_IS(references(context, queue), before);
    CHECK_IS(clReleaseCommandQueue(queue), CL_SUCCESS);
    CHECK_IS(clReleaseContext(context), CL_SUCCESS);
}

int main(int argc, char **argv)
{
    cl_platform_id platform;
    cl_device_id device;
    MODEL *model;

    CHECK(argc > 1);
    for (unsigned i = 0; i < SETS; ++i)
        fill(&inputs[i], i);
    bad_arguments();
#ifndef SYSTEM_OPENCL
    no_library();
#endif
    CHECK_IS(clGetPlatformIDs(1, &platform, NULL), CL_SUCCESS);
    CHECK_IS(clGetDeviceIDs(platform, CL_DEVICE_TYPE_CPU, 1, &device, NULL), CL_SUCCESS);
    if (argc > 2) {
        on_own_queue(device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, 1);
    } else {
        CHECK_IS(M(create)(&model, argv[1]), OK);
        run_and_selftest(model);
        M(destroy)(model);
        choice_of_device(argv[1]);
        on_own_queue(device, 0, 2);
        on_own_queue(device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, 2);
    }
    puts("ok");
    return 0;
}
