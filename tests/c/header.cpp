// header.cpp: the generated header in C++, with and without <CL/cl.h>, before or behind it.
#define CL_TARGET_OPENCL_VERSION 120
#ifdef CL_FIRST
#include <CL/cl.h>
#endif
#include HEADER
#ifdef CL_BEHIND
#include <CL/cl.h>
#endif

#include <cstdio>

#if defined CL_FIRST || defined CL_BEHIND
// OpenCL's own types go in as they are.
tables_status on_own(
    tables **model, cl_context context, cl_device_id device, cl_command_queue queue, cl_mem image, cl_mem scores,
    cl_event *event);

tables_status on_own(
    tables **model, cl_context context, cl_device_id device, cl_command_queue queue, cl_mem image, cl_mem scores,
    cl_event *event)
{
    tables_status status = tables_create_on(model, context, device, queue);
    return status ? status : tables_enqueue(*model, image, scores, 0, nullptr, event);
}
#endif

int main()
{
    static const int shape[] = TABLES_INPUT_IMAGE_SHAPE;
    static float image[TABLES_INPUT_IMAGE_COUNT], scores[TABLES_OUTPUT_SCORES_COUNT];
    static_assert(sizeof shape / sizeof *shape == 4, "one number for each axis");
    static_assert(sizeof image == TABLES_INPUT_IMAGE_BYTES, "bytes are four for each float");

    tables *model = nullptr;
    tables_status status = tables_create(&model, nullptr);
    if (status == TABLES_OK)
        status = tables_run(model, image, scores);
    std::puts(tables_status_text(status));
    tables_destroy(model);
    return status;
}
