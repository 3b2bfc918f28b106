/* faulty_icd.c: an OpenCL implementation that a loader finds by its .icd file, and that fails as FAULTY_ICD says:
 *
 *     load, list    it crashes when it is loaded, or when its devices are listed
 *     build, hang   its compiler aborts, or does not come to an end
 *     refuse        its compiler refuses every program
 *     numbers       it computes nothing
 *
 * Its one device is a CPU, of the platform that FAULTY_PLATFORM names, else of one of Intel's.
 */
#define _POSIX_C_SOURCE 200809L
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <CL/cl_icd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* All objects begin so. */
struct object {
    const cl_icd_dispatch *dispatch;
    size_t size;
    unsigned char *content;
};

static cl_icd_dispatch dispatch;
static struct object platform = {&dispatch, 0, NULL}, device = {&dispatch, 0, NULL};
static cl_context context; /* the last one */

static bool is_told(const char *what)
{
    const char *told = getenv("FAULTY_ICD");
    return told && strcmp(told, what) == 0;
}

static void crash(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static void *make(size_t size)
{
    struct object *object = calloc(1, sizeof *object);
    object->dispatch = &dispatch;
    object->size = size;
    object->content = calloc(size + 1, 1);
    return object;
}

static cl_int answer(const void *value, size_t size, size_t room, void *out, size_t *size_out)
{
    if (out && room < size)
        return CL_INVALID_VALUE;
    if (out)
        memcpy(out, value, size);
    if (size_out)
        *size_out = size;
    return CL_SUCCESS;
}

static cl_int answer_text(const char *text, size_t room, void *out, size_t *size_out)
{
    return answer(text, strlen(text) + 1, room, out, size_out);
}

EXPORT cl_int CL_API_CALL clGetPlatformInfo(cl_platform_id of, cl_platform_info what, size_t room, void *out, size_t *size)
{
    const char *name = getenv("FAULTY_PLATFORM");

    (void)of;
    switch (what) {
    case CL_PLATFORM_VERSION:
        return answer_text("OpenCL 1.2 faulty", room, out, size);
    case CL_PLATFORM_EXTENSIONS:
        return answer_text("cl_khr_icd", room, out, size);
    case CL_PLATFORM_ICD_SUFFIX_KHR:
        return answer_text("FAULTY", room, out, size);
    default:
        return answer_text(name ? name : "Intel(R) Faulty", room, out, size);
    }
}

static cl_int CL_API_CALL get_device_ids(cl_platform_id of, cl_device_type type, cl_uint room, cl_device_id *out, cl_uint *count)
{
    (void)of, (void)type;
    if (is_told("list"))
        crash("faulty: no list");
    if (out && room)
        *out = (cl_device_id)(void *)&device;
    if (count)
        *count = 1;
    return CL_SUCCESS;
}

static cl_int CL_API_CALL get_device_info(cl_device_id of, cl_device_info what, size_t room, void *out, size_t *size)
{
    const cl_device_type type = CL_DEVICE_TYPE_CPU;
    const cl_platform_id own = (cl_platform_id)(void *)&platform;
    const cl_bool yes = CL_TRUE;
    const cl_uint units = 512;
    const cl_ulong bytes = 1 << 30;

    (void)of;
    switch (what) {
    case CL_DEVICE_TYPE:
        return answer(&type, sizeof type, room, out, size);
    case CL_DEVICE_PLATFORM:
        return answer(&own, sizeof own, room, out, size);
    case CL_DEVICE_AVAILABLE:
    case CL_DEVICE_COMPILER_AVAILABLE:
        return answer(&yes, sizeof yes, room, out, size);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
    case CL_DEVICE_MAX_CONSTANT_BUFFER_SIZE:
        return answer(&bytes, sizeof bytes, room, out, size);
    case CL_DEVICE_MAX_COMPUTE_UNITS:
    case CL_DEVICE_MEM_BASE_ADDR_ALIGN:
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT:
        return answer(&units, sizeof units, room, out, size);
    case CL_DEVICE_VERSION:
        return answer_text("OpenCL 1.2 faulty", room, out, size);
    case CL_DRIVER_VERSION:
    case CL_DEVICE_NAME:
    case CL_DEVICE_VENDOR:
    case CL_DEVICE_EXTENSIONS:
        return answer_text("faulty", room, out, size);
    default:
        return CL_INVALID_VALUE;
    }
}

static cl_context CL_API_CALL create_context(
    const cl_context_properties *properties, cl_uint count, const cl_device_id *devices,
    void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *data, cl_int *error)
{
    (void)properties, (void)count, (void)devices, (void)notify, (void)data;
    *error = CL_SUCCESS;
    context = make(0);
    return context;
}

static cl_int CL_API_CALL get_context_info(cl_context of, cl_context_info what, size_t room, void *out, size_t *size)
{
    const cl_device_id own = (cl_device_id)(void *)&device;
    (void)of;
    return what == CL_CONTEXT_DEVICES ? answer(&own, sizeof own, room, out, size) : CL_INVALID_VALUE;
}

static cl_command_queue CL_API_CALL create_queue(
    cl_context in, cl_device_id on, cl_command_queue_properties properties, cl_int *error)
{
    (void)in, (void)on, (void)properties;
    *error = CL_SUCCESS;
    return make(0);
}

static cl_program CL_API_CALL create_program(
    cl_context in, cl_uint count, const char **strings, const size_t *lengths, cl_int *error)
{
    (void)in, (void)count, (void)strings, (void)lengths;
    *error = CL_SUCCESS;
    return make(0);
}

static cl_int CL_API_CALL build_program(
    cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
    void(CL_CALLBACK *notify)(cl_program, void *), void *data)
{
    (void)program, (void)count, (void)devices, (void)options, (void)notify, (void)data;
    if (is_told("build"))
        crash("LLVM ERROR: Cannot select: v16f32 = vselect v16i1");
    while (is_told("hang"))
        pause();
    return is_told("refuse") ? CL_BUILD_PROGRAM_FAILURE : CL_SUCCESS;
}

static cl_int CL_API_CALL get_build_info(
    cl_program program, cl_device_id on, cl_program_build_info what, size_t room, void *out, size_t *size)
{
    const cl_build_status status = CL_BUILD_ERROR;
    (void)program, (void)on;
    if (what == CL_PROGRAM_BUILD_STATUS)
        return answer(&status, sizeof status, room, out, size);
    return answer_text("note: a log\nerror: unknown target CPU\n", room, out, size);
}

static cl_int CL_API_CALL get_program_info(cl_program of, cl_program_info what, size_t room, void *out, size_t *size)
{
    const cl_device_id own = (cl_device_id)(void *)&device;
    (void)of;
    return what == CL_PROGRAM_DEVICES ? answer(&own, sizeof own, room, out, size) : CL_INVALID_VALUE;
}

static cl_kernel CL_API_CALL create_kernel(cl_program program, const char *name, cl_int *error)
{
    (void)program, (void)name;
    *error = CL_SUCCESS;
    return make(0);
}

static cl_int CL_API_CALL set_argument(cl_kernel kernel, cl_uint index, size_t size, const void *value)
{
    (void)kernel, (void)index, (void)size, (void)value;
    return CL_SUCCESS;
}

static cl_int CL_API_CALL get_kernel_info(cl_kernel kernel, cl_kernel_info what, size_t room, void *out, size_t *size)
{
    const cl_uint count = 3;
    (void)kernel;
    if (what == CL_KERNEL_CONTEXT)
        return answer(&context, sizeof context, room, out, size);
    return what == CL_KERNEL_NUM_ARGS ? answer(&count, sizeof count, room, out, size) : answer_text("trial", room, out, size);
}

static cl_mem CL_API_CALL create_buffer(cl_context in, cl_mem_flags flags, size_t size, void *host, cl_int *error)
{
    (void)in, (void)flags, (void)host;
    *error = CL_SUCCESS;
    return make(size);
}

static cl_int CL_API_CALL get_buffer_info(cl_mem of, cl_mem_info what, size_t room, void *out, size_t *size)
{
    const cl_mem_object_type type = CL_MEM_OBJECT_BUFFER;
    (void)of;
    return what == CL_MEM_TYPE ? answer(&type, sizeof type, room, out, size) : CL_INVALID_VALUE;
}

static cl_int CL_API_CALL read_buffer(
    cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size, void *to, cl_uint count,
    const cl_event *wait_list, cl_event *event)
{
    const struct object *object = (const struct object *)(const void *)buffer;

    (void)queue, (void)blocking, (void)count, (void)wait_list;
    memcpy(to, object->content + offset, size);
    if (event)
        *event = make(0);
    return CL_SUCCESS;
}

static cl_int CL_API_CALL enqueue_kernel(
    cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset, const size_t *global,
    const size_t *local, cl_uint count, const cl_event *wait_list, cl_event *event)
{
    (void)queue, (void)kernel, (void)dimensions, (void)offset, (void)global, (void)local, (void)count, (void)wait_list;
    if (event)
        *event = make(0);
    return CL_SUCCESS;
}

static cl_int CL_API_CALL wait_for_events(cl_uint count, const cl_event *events)
{
    (void)count, (void)events;
    return CL_SUCCESS;
}

/* Objects stay: nobody counts them here. */
static cl_int CL_API_CALL finish(cl_command_queue of) { (void)of; return CL_SUCCESS; }
static cl_int CL_API_CALL keep_context(cl_context of) { (void)of; return CL_SUCCESS; }
static cl_int CL_API_CALL keep_program(cl_program of) { (void)of; return CL_SUCCESS; }
static cl_int CL_API_CALL keep_kernel(cl_kernel of) { (void)of; return CL_SUCCESS; }
static cl_int CL_API_CALL keep_buffer(cl_mem of) { (void)of; return CL_SUCCESS; }
static cl_int CL_API_CALL keep_event(cl_event of) { (void)of; return CL_SUCCESS; }
static cl_int CL_API_CALL keep_device(cl_device_id of) { (void)of; return CL_SUCCESS; }

__attribute__((constructor)) static void loaded(void)
{
    if (is_told("load"))
        crash("faulty: not to be loaded");
    dispatch.clGetPlatformInfo = clGetPlatformInfo;
    dispatch.clGetDeviceIDs = get_device_ids;
    dispatch.clGetDeviceInfo = get_device_info;
    dispatch.clRetainDevice = dispatch.clReleaseDevice = keep_device;
    dispatch.clCreateContext = create_context;
    dispatch.clGetContextInfo = get_context_info;
    dispatch.clRetainContext = dispatch.clReleaseContext = keep_context;
    dispatch.clCreateCommandQueue = create_queue;
    dispatch.clFinish = dispatch.clFlush = finish;
    dispatch.clRetainCommandQueue = dispatch.clReleaseCommandQueue = finish;
    dispatch.clCreateProgramWithSource = create_program;
    dispatch.clBuildProgram = build_program;
    dispatch.clGetProgramInfo = get_program_info;
    dispatch.clGetProgramBuildInfo = get_build_info;
    dispatch.clRetainProgram = dispatch.clReleaseProgram = keep_program;
    dispatch.clCreateKernel = create_kernel;
    dispatch.clSetKernelArg = set_argument;
    dispatch.clGetKernelInfo = get_kernel_info;
    dispatch.clRetainKernel = dispatch.clReleaseKernel = keep_kernel;
    dispatch.clCreateBuffer = create_buffer;
    dispatch.clGetMemObjectInfo = get_buffer_info;
    dispatch.clEnqueueReadBuffer = read_buffer;
    dispatch.clRetainMemObject = dispatch.clReleaseMemObject = keep_buffer;
    dispatch.clEnqueueNDRangeKernel = enqueue_kernel;
    dispatch.clWaitForEvents = wait_for_events;
    dispatch.clRetainEvent = dispatch.clReleaseEvent = keep_event;
}

EXPORT cl_int CL_API_CALL clIcdGetPlatformIDsKHR(cl_uint room, cl_platform_id *out, cl_uint *count)
{
    if (out && room)
        *out = (cl_platform_id)(void *)&platform;
    if (count)
        *count = 1;
    return CL_SUCCESS;
}

EXPORT void *CL_API_CALL clGetExtensionFunctionAddress(const char *name)
{
    void *found = NULL;
    cl_int(CL_API_CALL * get)(cl_uint, cl_platform_id *, cl_uint *) = clIcdGetPlatformIDsKHR;

    if (strcmp(name, "clIcdGetPlatformIDsKHR") == 0)
        memcpy(&found, &get, sizeof found);
    return found;
}
