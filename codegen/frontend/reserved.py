"""Names that the generated C uses for its own things: what a model, whose name becomes a type, cannot be called.

A test collects them from generated files, and fails with those that are missing here.
"""

_WORDS = """
A ALIGNED ARENA_BUFFER B BATCH BOARD_BUFFER BOARD_LINE BOOL_ELEMENT BuildProgram C CL CLASSES CL_API_CALL CL_CALLBACK
CL_DEVICE_AVAILABLE CL_DEVICE_COMPILER_AVAILABLE CL_DEVICE_MAX_COMPUTE_UNITS CL_DEVICE_NAME
CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT CL_DEVICE_PLATFORM CL_DEVICE_TYPE CL_DEVICE_TYPE_ALL CL_DEVICE_TYPE_CPU
CL_DEVICE_TYPE_GPU CL_FALSE CL_MAP_READ CL_MAP_WRITE_INVALIDATE_REGION CL_MEM_COPY_HOST_PTR CL_MEM_READ_ONLY
CL_MEM_READ_WRITE CL_MEM_SIZE CL_MEM_USE_HOST_PTR CL_PLATFORM_NAME CL_PLATFORM_VERSION CL_PROGRAM_BUILD_LOG
CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE CL_QUEUE_PROPERTIES CL_SILENCE_DEPRECATION CL_SUCCESS CL_TARGET_OPENCL_VERSION
CL_TRUE COLUMNS CRITERIA CreateBuffer CreateCommandQueue CreateContext CreateKernel CreateProgramWithBinary
CreateProgramWithSource DEVICE_SVM_CAPABILITIES E EnqueueBarrierWithWaitList EnqueueFillBuffer EnqueueMapBuffer
EnqueueNDRangeKernel EnqueueReadBuffer EnqueueUnmapMemObject EnqueueWriteBuffer F FLOAT16_ELEMENT FLOAT32_ELEMENT
FLOAT64_ELEMENT FOR_EACH_FUNCTION Finish FreeLibrary G GCC GetCommandQueueInfo GetDeviceIDs GetDeviceInfo
GetMemObjectInfo GetPlatformIDs GetPlatformInfo GetProcAddress GetProgramBuildInfo GetProgramInfo HIDE
INCLUDE_BY_ASSEMBLER INCLUDE_BY_COMPILER INPUT_BUFFER INPUT_COUNT INT16_ELEMENT INT32_ELEMENT INT64_ELEMENT INT8_ELEMENT
INVALID_VALUE L LAST_TYPE LAUNCH_COUNT LOAD LoadLibraryA MAJOR MEMBER MOST_CACHED MOST_LISTED N NETWORK NO_ARGUMENT
NUMBER ON_X86_64 OUTPUT_BUFFER OUTPUT_COUNT OpenCL PIXELS PREPARATION_COUNT PREPARED_BUFFER QUOTE READ_AT_RUNTIME
RTLD_LOCAL RTLD_NODELETE RTLD_NOW RUN RUNTIMES ReleaseCommandQueue ReleaseContext ReleaseDevice ReleaseKernel
ReleaseMemObject ReleaseProgram RetainCommandQueue RetainContext RetainDevice SAMPLES SAMPLE_COUNT SECTION SHOWN
SIMULATORS SIZE_MAX SOURCE_LINES SVM_FINE_GRAIN_SYSTEM SYMBOL SetKernelArg SetKernelArgSVMPointer TAKE TEXT_BYTES
UINT16_ELEMENT UINT32_ELEMENT UINT64_ELEMENT UINT8_ELEMENT WEIGHTS_ALIGNMENT WEIGHTS_BUFFER WEIGHTS_SIZE Z ZEROS_BUFFER
a aligned answer arena argc argument argument_kind arguments argv begins best best_class binary bits blanks block board
buffer build_log build_program byte bytes cache cache_header cache_magic check choices choose_device cl clang classify
close_library compare_output compile_program contains context count count_workers create_buffer create_buffers
create_kernels ctype d define defined describe description device device_count device_facts device_name device_types
devices diagnostic difference digest digest_bytes digest_text dlclose dlfcn dllimport dlopen dlsym draw element_type
elif embed endif endpoints enqueue_barrier enqueue_batch enqueue_on_buffers enqueue_preparations error event exponent f
file fill_input fill_with_noise find_symbol finished first fit fits flags float_of_half folder fraction functions
get_cache_path get_device_text get_element get_platform_text get_type global got h half half_of has header high
host_weights i ifdef ifndef ignored in_order include input input_arrays input_counts input_noise input_sizes input_types
inputs is_better is_input is_large_enough kernel kernels kind labels last launch launch_table length letter library
library_names load_functions load_program load_sample local low lower magic make_up make_up_bool make_up_float16
make_up_float32 make_up_float64 make_up_int16 make_up_int32 make_up_int64 make_up_int8 make_up_uint16 make_up_uint32
make_up_uint64 make_up_uint8 mine model name native_floats needed needs_kernel noise num_events number o of_type one
open_library opencl options other output output_arrays output_sizes output_types outputs overlap p parameters part
part_size path platform platform_count platform_facts platform_name platforms pragma predicted predictions preferred
prepare prepared print_first print_first_bool print_first_float16 print_first_float32 print_first_float64
print_first_int16 print_first_int32 print_first_int64 print_first_int8 print_first_uint16 print_first_uint32
print_first_uint64 print_first_uint8 program program_source properties queue rank rank_device read_cache read_number
ready release release_buffer result right run run_batch run_once runtime runtimes sample samples scores selftest_samples
set_argument set_element set_endpoint shade shades shares_memory sharing sign simulator simulators size sound_from start
state status stdbool stddef stdint stdio stdlib step store_program string symbol text tolerance trim type u undef units
value values version wait_list wanted weights what whole workers write_cache zero zeros
"""

HOST_WORDS = frozenset(_WORDS.split())
