/* fake_opencl.c: an OpenCL that computes nothing, looks at everything and fails when it is told to.
 *
 * It aborts with a message where the standard is violated: an object used after its release, a kernel that the source
 * does not have or whose arguments are not all set, work on an out-of-order queue that nothing puts in order.
 */
#define _POSIX_C_SOURCE 200809L
#define CL_TARGET_OPENCL_VERSION 200
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include "fake_opencl.h"

#include <CL/cl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { CONTEXT = 1, QUEUE, BUFFER, PROGRAM, KERNEL, EVENT };
enum { ARGUMENTS = 32, PLATFORMS = 8, DEVICES = 32, TEXT = 256 };

struct object {
    enum kind kind;
    int references;
    struct object *parent; /* is kept alive */
    struct object *next;
};

/* What the loader lists; texts that begin with '!' stand for a question that fails. */
struct _cl_platform_id {
    char name[TEXT], version[TEXT];
    bool fails; /* lists no devices */
};

struct _cl_device_id {
    cl_platform_id platform;
    char name[TEXT];
    cl_device_type type;
    cl_uint units;
    cl_bool available, has_compiler;
};

struct _cl_context {
    struct object object;
};

struct _cl_command_queue {
    struct object object;
    bool ordered;
};

struct _cl_mem {
    struct object object;
    size_t size;
    unsigned char *content;
    bool own;
    /* Commands of an out-of-order queue that are not known to have ended. */
    cl_command_queue queue;
    bool being_read;
    bool being_written;
};

struct _cl_program {
    struct object object;
    char *source;
    bool built;
};

struct _cl_kernel {
    struct object object;
    cl_uint count;
    bool set[ARGUMENTS];
    bool writes[ARGUMENTS];
    cl_mem buffers[ARGUMENTS]; /* NULL where the argument is a number */
};

struct _cl_event {
    struct object object;
};

static struct _cl_platform_id platforms[PLATFORMS] = {{"Fake platform", "OpenCL 1.2 fake", false}};
static struct _cl_device_id devices[DEVICES] = {{platforms, "Fake device", CL_DEVICE_TYPE_CPU, 4, CL_TRUE, CL_TRUE}};
static cl_uint platform_count = 1, device_count = 1;
static int chosen = -1;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct object *living;
static int calls, fail_at;
static bool failed, finished, refuse, shares;

static void complain(const char *what)
{
    fprintf(stderr, "fake OpenCL: %s\n", what);
    abort();
}

void fake_fail(int call)
{
    pthread_mutex_lock(&lock);
    calls = 0;
    fail_at = call;
    failed = false;
    pthread_mutex_unlock(&lock);
}

int fake_failed(void)
{
    return failed;
}

void fake_finished(int done)
{
    finished = done;
}

void fake_refuse(int refuses)
{
    refuse = refuses;
}

void fake_share_memory(int share)
{
    shares = share;
}

void fake_be_gpu(int is_gpu)
{
    devices[0].type = is_gpu ? CL_DEVICE_TYPE_GPU : CL_DEVICE_TYPE_CPU;
}

/* The next field of a line, which ends at a tab. */
static char *cut(char **line)
{
    char *field = *line, *end = strchr(field, '\t');
    if (end)
        *end = '\0';
    *line = end ? end + 1 : field + strlen(field);
    return field;
}

void fake_list_nothing(void)
{
    platform_count = device_count = 0;
    chosen = -1;
}

void fake_list(char *line)
{
    bool is_platform = strcmp(cut(&line), "platform") == 0;

    if (is_platform && platform_count < PLATFORMS) {
        cl_platform_id platform = &platforms[platform_count++];
        snprintf(platform->name, TEXT, "%s", cut(&line));
        snprintf(platform->version, TEXT, "%s", cut(&line));
        platform->fails = atoi(cut(&line)) != 0;
    } else if (!is_platform && platform_count && device_count < DEVICES) {
        cl_device_id device = &devices[device_count++];
        device->platform = &platforms[platform_count - 1];
        snprintf(device->name, TEXT, "%s", cut(&line));
        device->type = strtoul(cut(&line), NULL, 10);
        device->units = (cl_uint)strtoul(cut(&line), NULL, 10);
        device->available = atoi(cut(&line)) != 0;
        device->has_compiler = atoi(cut(&line)) != 0;
    } else {
        complain("a device without a platform, or too many of them");
    }
}

int fake_chosen(void)
{
    return chosen;
}

int fake_living(void)
{
    int count = 0;
    for (struct object *o = living; o; o = o->next)
        ++count;
    return count;
}

/* Enters a call; true if it has to fail. */
static bool enter(void)
{
    bool now;
    pthread_mutex_lock(&lock);
    now = ++calls == fail_at;
    failed |= now;
    return now;
}

static cl_int leave(cl_int result)
{
    pthread_mutex_unlock(&lock);
    return result;
}

static void *leave_with(void *result, cl_int error, cl_int *error_out)
{
    if (error_out)
        *error_out = error;
    pthread_mutex_unlock(&lock);
    return result;
}

#define FAIL_IF_TOLD                                                                                                   \
    if (enter())                                                                                                       \
        return leave(FAKE_ERROR);

#define FAIL_CREATION_IF_TOLD                                                                                          \
    if (enter())                                                                                                       \
        return leave_with(NULL, FAKE_ERROR, error);

static void *checked(void *object, enum kind kind)
{
    for (struct object *o = living; o; o = o->next)
        if (o == object && o->kind == kind)
            return object;
    complain("an object that is not alive, or of another kind");
    return NULL;
}

static void *create(enum kind kind, size_t size, void *parent)
{
    struct object *object = calloc(1, size);

    if (!object)
        complain("no memory");
    if (finished && kind != EVENT)
        complain("something is created after create");
    object->kind = kind;
    object->references = 1;
    object->parent = parent;
    object->next = living;
    living = object;
    if (parent)
        ++object->parent->references;
    return object;
}

static void release(struct object *object)
{
    struct object **link = &living;
    struct object *parent = object->parent;

    if (--object->references)
        return;
    while (*link != object)
        link = &(*link)->next;
    *link = object->next;
    if (object->kind == BUFFER && ((cl_mem)object)->own)
        free(((cl_mem)object)->content);
    if (object->kind == PROGRAM)
        free(((cl_program)object)->source);
    free(object);
    if (parent)
        release(parent);
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

/* Platform and device. */

static void check_platform(cl_platform_id platform)
{
    if (platform < platforms || platform >= platforms + platform_count)
        complain("no such platform");
}

static void check_device(cl_device_id device)
{
    if (device < devices || device >= devices + device_count)
        complain("no such device");
}

cl_int clGetPlatformIDs(cl_uint room, cl_platform_id *out, cl_uint *count)
{
    FAIL_IF_TOLD
    for (cl_uint i = 0; out && i < room && i < platform_count; ++i)
        out[i] = &platforms[i];
    if (count)
        *count = platform_count;
    return leave(CL_SUCCESS);
}

static cl_int answer_listed(const char *text, size_t room, void *out, size_t *size)
{
    return text[0] == '!' ? FAKE_ERROR : answer_text(text, room, out, size);
}

cl_int clGetPlatformInfo(cl_platform_id platform, cl_platform_info what, size_t room, void *out, size_t *size)
{
    FAIL_IF_TOLD
    check_platform(platform);
    return leave(answer_listed(what == CL_PLATFORM_VERSION ? platform->version : platform->name, room, out, size));
}

cl_int clGetDeviceIDs(cl_platform_id platform, cl_device_type type, cl_uint room, cl_device_id *out, cl_uint *count)
{
    cl_uint found = 0;

    FAIL_IF_TOLD
    (void)type;
    check_platform(platform);
    for (cl_uint i = 0; i < device_count; ++i)
        if (devices[i].platform == platform && found++ < room && out)
            out[found - 1] = &devices[i];
    if (count)
        *count = found;
    return leave(platform->fails ? FAKE_ERROR : found ? CL_SUCCESS : CL_DEVICE_NOT_FOUND);
}

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t room, void *out, size_t *size)
{
    const cl_uint floats = 16;
    const cl_device_svm_capabilities sharing =
        shares ? CL_DEVICE_SVM_FINE_GRAIN_SYSTEM : CL_DEVICE_SVM_COARSE_GRAIN_BUFFER;

    FAIL_IF_TOLD
    check_device(device);
    switch (what) {
    case CL_DEVICE_NAME:
        return leave(answer_listed(device->name, room, out, size));
    case CL_DEVICE_SVM_CAPABILITIES:
        if (device->type == CL_DEVICE_TYPE_GPU)
            return leave(CL_INVALID_VALUE);
        return leave(answer(&sharing, sizeof sharing, room, out, size));
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT:
        return leave(answer(&floats, sizeof floats, room, out, size));
    case CL_DEVICE_MAX_COMPUTE_UNITS:
        return leave(answer(&device->units, sizeof device->units, room, out, size));
    case CL_DEVICE_TYPE:
        return leave(answer(&device->type, sizeof device->type, room, out, size));
    case CL_DEVICE_PLATFORM:
        return leave(answer(&device->platform, sizeof device->platform, room, out, size));
    case CL_DEVICE_AVAILABLE:
        return leave(answer(&device->available, sizeof device->available, room, out, size));
    case CL_DEVICE_COMPILER_AVAILABLE:
        return leave(answer(&device->has_compiler, sizeof device->has_compiler, room, out, size));
    default:
        return leave(CL_INVALID_VALUE);
    }
}

cl_int clRetainDevice(cl_device_id device)
{
    FAIL_IF_TOLD
    check_device(device);
    return leave(CL_SUCCESS);
}

cl_int clReleaseDevice(cl_device_id device)
{
    check_device(device);
    return CL_SUCCESS;
}

/* Objects. */

cl_context clCreateContext(
    const cl_context_properties *properties, cl_uint count, const cl_device_id *wanted,
    void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *data, cl_int *error)
{
    FAIL_CREATION_IF_TOLD
    (void)properties, (void)notify, (void)data;
    if (count != 1)
        complain("not one device");
    check_device(*wanted);
    chosen = (int)(*wanted - devices);
    return leave_with(create(CONTEXT, sizeof(struct _cl_context), NULL), CL_SUCCESS, error);
}

cl_command_queue clCreateCommandQueue(
    cl_context context, cl_device_id device, cl_command_queue_properties properties, cl_int *error)
{
    cl_command_queue queue;

    FAIL_CREATION_IF_TOLD
    (void)device;
    queue = create(QUEUE, sizeof *queue, checked(context, CONTEXT));
    queue->ordered = !(properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    return leave_with(queue, CL_SUCCESS, error);
}

cl_int clGetCommandQueueInfo(cl_command_queue queue, cl_command_queue_info what, size_t room, void *out, size_t *size)
{
    cl_command_queue_properties properties;

    FAIL_IF_TOLD
    checked(queue, QUEUE);
    properties = queue->ordered ? 0 : CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE;
    if (what == CL_QUEUE_PROPERTIES)
        return leave(answer(&properties, sizeof properties, room, out, size));
    return leave(CL_INVALID_VALUE);
}

cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *error)
{
    cl_mem buffer;

    FAIL_CREATION_IF_TOLD
    if (!size || (host != NULL) != ((flags & (CL_MEM_USE_HOST_PTR | CL_MEM_COPY_HOST_PTR)) != 0))
        complain("a buffer of no size, or flags that do not go with the pointer");
    buffer = create(BUFFER, sizeof *buffer, checked(context, CONTEXT));
    buffer->size = size;
    buffer->own = !(flags & CL_MEM_USE_HOST_PTR);
    buffer->content = buffer->own ? malloc(size) : host;
    if (flags & CL_MEM_COPY_HOST_PTR)
        memcpy(buffer->content, host, size);
    if (!buffer->own && (uintptr_t)host % 128)
        complain("host memory at no multiple of 128, which a CPU device may copy");
    return leave_with(buffer, CL_SUCCESS, error);
}

cl_int clGetMemObjectInfo(cl_mem buffer, cl_mem_info what, size_t room, void *out, size_t *size)
{
    FAIL_IF_TOLD
    checked(buffer, BUFFER);
    if (what == CL_MEM_SIZE)
        return leave(answer(&buffer->size, sizeof buffer->size, room, out, size));
    return leave(CL_INVALID_VALUE);
}

cl_program clCreateProgramWithSource(
    cl_context context, cl_uint count, const char **strings, const size_t *lengths, cl_int *error)
{
    cl_program program;
    size_t length = 0;

    FAIL_CREATION_IF_TOLD
    program = create(PROGRAM, sizeof *program, checked(context, CONTEXT));
    for (cl_uint i = 0; i < count; ++i)
        length += lengths && lengths[i] ? lengths[i] : strlen(strings[i]);
    program->source = calloc(length + 1, 1);
    for (cl_uint i = 0; i < count; ++i)
        strncat(program->source, strings[i], lengths && lengths[i] ? lengths[i] : strlen(strings[i]));
    return leave_with(program, CL_SUCCESS, error);
}

cl_int clBuildProgram(
    cl_program program, cl_uint count, const cl_device_id *listed, const char *options,
    void(CL_CALLBACK *notify)(cl_program, void *), void *data)
{
    FAIL_IF_TOLD
    (void)count, (void)listed, (void)options, (void)notify, (void)data;
    checked(program, PROGRAM);
    if (finished)
        complain("something is compiled after create");
    if (refuse)
        return leave(CL_BUILD_PROGRAM_FAILURE);
    program->built = true;
    return leave(CL_SUCCESS);
}

cl_int clGetProgramBuildInfo(
    cl_program program, cl_device_id device, cl_program_build_info what, size_t room, void *out, size_t *size)
{
    FAIL_IF_TOLD
    (void)device;
    checked(program, PROGRAM);
    if (what == CL_PROGRAM_BUILD_LOG)
        return leave(answer_text("refused", room, out, size));
    return leave(CL_INVALID_VALUE);
}

/* What is made of a program is its source. */
cl_int clGetProgramInfo(cl_program program, cl_program_info what, size_t room, void *out, size_t *size)
{
    FAIL_IF_TOLD
    checked(program, PROGRAM);
    if (what == CL_PROGRAM_BINARY_SIZES) {
        size_t length = strlen(program->source) + 1;
        return leave(answer(&length, sizeof length, room, out, size));
    }
    if (what != CL_PROGRAM_BINARIES || room < sizeof(char *))
        return leave(CL_INVALID_VALUE);
    memcpy(*(char **)out, program->source, strlen(program->source) + 1);
    return leave(CL_SUCCESS);
}

cl_program clCreateProgramWithBinary(
    cl_context context, cl_uint count, const cl_device_id *listed, const size_t *lengths,
    const unsigned char **binaries, cl_int *status, cl_int *error)
{
    cl_program program;

    FAIL_CREATION_IF_TOLD
    (void)count;
    (void)listed;
    program = create(PROGRAM, sizeof *program, checked(context, CONTEXT));
    program->source = calloc(lengths[0] + 1, 1);
    memcpy(program->source, binaries[0], lengths[0]);
    *status = CL_SUCCESS;
    return leave_with(program, CL_SUCCESS, error);
}

cl_kernel clCreateKernel(cl_program program, const char *name, cl_int *error)
{
    cl_kernel kernel;
    char start[256];
    const char *parameters;

    FAIL_CREATION_IF_TOLD
    checked(program, PROGRAM);
    snprintf(start, sizeof start, "void %s(", name);
    parameters = program->built ? strstr(program->source, start) : NULL;
    if (!parameters)
        complain("no such kernel");
    kernel = create(KERNEL, sizeof *kernel, program);
    for (parameters += strlen(start);; ++kernel->count, ++parameters) {
        const char *end = parameters + strcspn(parameters, ",)");
        const char *constant = strstr(parameters, "const");

        if (kernel->count == ARGUMENTS)
            complain("too many parameters");
        kernel->writes[kernel->count] = !constant || constant > end;
        parameters = end;
        if (*end == ')')
            break;
    }
    ++kernel->count;
    return leave_with(kernel, CL_SUCCESS, error);
}

cl_int clSetKernelArg(cl_kernel kernel, cl_uint index, size_t size, const void *value)
{
    FAIL_IF_TOLD
    checked(kernel, KERNEL);
    if (index >= kernel->count || (size != sizeof(cl_mem) && size != sizeof(cl_uint)))
        complain("no such argument");
    kernel->set[index] = true;
    kernel->buffers[index] = NULL;
    if (size == sizeof(cl_mem)) {
        memcpy(&kernel->buffers[index], value, size);
        checked(kernel->buffers[index], BUFFER);
    }
    return leave(CL_SUCCESS);
}

cl_int clSetKernelArgSVMPointer(cl_kernel kernel, cl_uint index, const void *value)
{
    FAIL_IF_TOLD
    checked(kernel, KERNEL);
    if (index >= kernel->count || !value)
        complain("no such argument");
    if (!shares)
        complain("memory that the device cannot reach");
    kernel->set[index] = true;
    kernel->buffers[index] = NULL;
    return leave(CL_SUCCESS);
}

static cl_int retain(void *object, enum kind kind)
{
    FAIL_IF_TOLD
    ++((struct object *)checked(object, kind))->references;
    return leave(CL_SUCCESS);
}

/* Never fails: nobody could do anything about it. */
static cl_int let_go(void *object, enum kind kind)
{
    pthread_mutex_lock(&lock);
    release(checked(object, kind));
    return leave(CL_SUCCESS);
}

cl_int clRetainContext(cl_context context)
{
    return retain(context, CONTEXT);
}

cl_int clReleaseContext(cl_context context)
{
    return let_go(context, CONTEXT);
}

cl_int clRetainCommandQueue(cl_command_queue queue)
{
    return retain(queue, QUEUE);
}

cl_int clReleaseCommandQueue(cl_command_queue queue)
{
    return let_go(queue, QUEUE);
}

cl_int clReleaseMemObject(cl_mem buffer)
{
    return let_go(buffer, BUFFER);
}

cl_int clReleaseProgram(cl_program program)
{
    return let_go(program, PROGRAM);
}

cl_int clReleaseKernel(cl_kernel kernel)
{
    return let_go(kernel, KERNEL);
}

cl_int clReleaseEvent(cl_event event)
{
    return let_go(event, EVENT);
}

/* Commands, each carried out at once. */

static void begin(cl_command_queue queue, cl_uint count, const cl_event *wait_list, cl_event *event)
{
    checked(queue, QUEUE);
    if ((count != 0) != (wait_list != NULL))
        complain("a wait list that does not go with its length");
    for (cl_uint i = 0; i < count; ++i)
        checked(wait_list[i], EVENT);
    if (event)
        *event = create(EVENT, sizeof(struct _cl_event), queue);
}

/* What a command does with a buffer.  Events are taken to stand for all that the command depends on. */
static void check_order(cl_command_queue queue, cl_mem buffer, bool writes, bool waits)
{
    checked(buffer, BUFFER);
    if (!queue->ordered && !waits && (buffer->being_written || (writes && buffer->being_read)))
        complain("commands that depend on each other, and nothing puts them in order");
}

static void mark(cl_command_queue queue, cl_mem buffer, bool writes)
{
    buffer->queue = queue;
    *(writes ? &buffer->being_written : &buffer->being_read) = true;
}

static void use(cl_command_queue queue, cl_mem buffer, bool writes, bool waits)
{
    check_order(queue, buffer, writes, waits);
    mark(queue, buffer, writes);
}

static void all_ended(cl_command_queue queue)
{
    for (struct object *o = living; o; o = o->next) {
        cl_mem buffer = (cl_mem)o;
        if (o->kind == BUFFER && buffer->queue == queue)
            buffer->being_read = buffer->being_written = false;
    }
}

static void *range(cl_mem buffer, size_t offset, size_t size)
{
    checked(buffer, BUFFER);
    if (offset > buffer->size || size > buffer->size - offset)
        complain("beyond the end of a buffer");
    return buffer->content + offset;
}

cl_int clEnqueueFillBuffer(
    cl_command_queue queue, cl_mem buffer, const void *pattern, size_t pattern_size, size_t offset, size_t size,
    cl_uint count, const cl_event *wait_list, cl_event *event)
{
    unsigned char *at;

    FAIL_IF_TOLD
    begin(queue, count, wait_list, event);
    use(queue, buffer, true, count != 0);
    at = range(buffer, offset, size);
    for (size_t i = 0; i < size; i += pattern_size)
        memcpy(at + i, pattern, pattern_size);
    return leave(CL_SUCCESS);
}

cl_int clEnqueueWriteBuffer(
    cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size, const void *from,
    cl_uint count, const cl_event *wait_list, cl_event *event)
{
    FAIL_IF_TOLD
    begin(queue, count, wait_list, event);
    use(queue, buffer, true, count != 0);
    memcpy(range(buffer, offset, size), from, size);
    if (blocking)
        buffer->being_written = false;
    return leave(CL_SUCCESS);
}

cl_int clEnqueueReadBuffer(
    cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size, void *to, cl_uint count,
    const cl_event *wait_list, cl_event *event)
{
    FAIL_IF_TOLD
    begin(queue, count, wait_list, event);
    use(queue, buffer, false, count != 0);
    memcpy(to, range(buffer, offset, size), size);
    if (blocking)
        buffer->being_read = false;
    return leave(CL_SUCCESS);
}

void *clEnqueueMapBuffer(
    cl_command_queue queue, cl_mem buffer, cl_bool blocking, cl_map_flags flags, size_t offset, size_t size,
    cl_uint count, const cl_event *wait_list, cl_event *event, cl_int *error)
{
    FAIL_CREATION_IF_TOLD
    if (!blocking)
        complain("mapped memory that is not there yet");
    begin(queue, count, wait_list, event);
    use(queue, buffer, flags != CL_MAP_READ, count != 0);
    buffer->being_read = buffer->being_written = false;
    return leave_with(range(buffer, offset, size), CL_SUCCESS, error);
}

cl_int clEnqueueUnmapMemObject(
    cl_command_queue queue, cl_mem buffer, void *mapped, cl_uint count, const cl_event *wait_list, cl_event *event)
{
    FAIL_IF_TOLD
    begin(queue, count, wait_list, event);
    use(queue, buffer, true, count != 0);
    if (range(buffer, 0, 0) != mapped)
        complain("not what was mapped");
    return leave(CL_SUCCESS);
}

cl_int clEnqueueNDRangeKernel(
    cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset, const size_t *global,
    const size_t *local, cl_uint count, const cl_event *wait_list, cl_event *event)
{
    FAIL_IF_TOLD
    (void)offset;
    checked(kernel, KERNEL);
    begin(queue, count, wait_list, event);
    for (cl_uint i = 0; i < kernel->count; ++i)
        if (!kernel->set[i])
            complain("an argument that was not set");
    /* First all, then all: a kernel may read and write one buffer, the arena. */
    for (cl_uint i = 0; i < kernel->count; ++i)
        if (kernel->buffers[i])
            check_order(queue, kernel->buffers[i], kernel->writes[i], count != 0);
    for (cl_uint i = 0; i < kernel->count; ++i)
        if (kernel->buffers[i])
            mark(queue, kernel->buffers[i], kernel->writes[i]);
    for (cl_uint i = 0; i < dimensions; ++i)
        if (!global[i] || (local && global[i] % local[i]))
            complain("a grid that work-groups do not divide");
    return leave(CL_SUCCESS);
}

cl_int clEnqueueBarrierWithWaitList(cl_command_queue queue, cl_uint count, const cl_event *wait_list, cl_event *event)
{
    FAIL_IF_TOLD
    checked(queue, QUEUE);
    if (count != 0 || wait_list || event)
        complain("only full barriers are known here");
    all_ended(queue);
    return leave(CL_SUCCESS);
}

cl_int clFinish(cl_command_queue queue)
{
    FAIL_IF_TOLD
    checked(queue, QUEUE);
    all_ended(queue);
    return leave(CL_SUCCESS);
}
