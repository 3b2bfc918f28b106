/* Runs a generated model as often as it is told, and says how long each run took.
 *
 *     cc -O2 -I DIR -DMODEL=NAME -DINPUT=NAME_INPUT_X_COUNT -DOUTPUT=NAME_OUTPUT_Y_COUNT driver.c DIR/NAME.c ...
 *     ./driver DEVICE FILE OUTPUT.bin
 *
 * Commands come a line each: a number runs the model that often and answers with as many seconds; "memory" answers with
 * the process's peak memory in kilobytes.  The first answer is the seconds that create took, printed without being asked.
 * OUTPUT.bin holds the result of one run before any of them.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUOTE_(text) #text
#define QUOTE(text) QUOTE_(text)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define NAMED(suffix) JOIN(MODEL, suffix)

#define HEADER_(name) QUOTE(name.h)
#define HEADER(name) HEADER_(name)
#include HEADER(MODEL)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of this process.  Not getrusage's: that begins with the memory of the process that started this one. */
static long peak_kilobytes(void)
{
    char line[128];
    long kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %ld", &kilobytes) == 1)
            break;
    if (status)
        fclose(status);
    return kilobytes;
}

static void move(const char *path, const char *mode, float *values, size_t count)
{
    FILE *file = fopen(path, mode);
    size_t moved = !file ? 0 : *mode == 'r' ? fread(values, sizeof *values, count, file)
                                            : fwrite(values, sizeof *values, count, file);
    if (moved != count || fclose(file)) {
        fprintf(stderr, "%s: %zu floats cannot be moved\n", path, count);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    static float x[INPUT], y[OUTPUT];
    char line[32];
    MODEL *model;

    if (argc != 4)
        return 2;
    move(argv[2], "rb", x, INPUT);

    double start = now();
    int status = NAMED(_create)(&model, argv[1]);
#ifdef THREADS /* of plain C */
    if (status == 0)
        status = NAMED(_use_threads)(model, THREADS);
#endif
    printf("%.6f\n", now() - start);
    if (status == 0)
        status = NAMED(_run)(model, x, y);
    if (status == 0)
        move(argv[3], "wb", y, OUTPUT);
    fflush(stdout);

    while (status == 0 && fgets(line, sizeof line, stdin)) {
        if (strncmp(line, "memory", 6) == 0)
            printf("%ld\n", peak_kilobytes());
        for (long n = strtol(line, NULL, 10); status == 0 && n > 0; --n) {
            start = now();
            status = NAMED(_run)(model, x, y);
            printf("%.9f%c", now() - start, n == 1 ? '\n' : ' ');
        }
        fflush(stdout);
    }
    if (status)
#ifdef THREADS
        fprintf(stderr, QUOTE(MODEL) ": %s\n", NAMED(_status_text)((NAMED(_status))status));
#else
        fprintf(stderr, QUOTE(MODEL) ": %d, OpenCL error %d\n%s\n", status, NAMED(_cl_error)(model),
                NAMED(_build_log)(model));
#endif
    NAMED(_destroy)(model);
    return status != 0;
}
