/* layer_times.c: prints the layers of a model of the plain C backend, with the time that each took in one run.
 *
 *     layer_times   needs -D<NAME>_TRACE; with -D<NAME>_THREADS it also runs with threads and with a pool
 */
#include "check.h"

#include <time.h>

struct times {
    int calls; /* of this run */
    int layers;
    clock_t last;
    double seconds;
};

static struct inputs inputs;
static struct outputs outputs;

/* The layer's time ends where the callback begins; the next one's begins where the callback ends. */
static void note_time(void *user, const M(layer) *layer)
{
    struct times *times = user;
    const clock_t now = clock();

    if (layer) {
        const double seconds = (double)(now - times->last) / CLOCKS_PER_SEC;
        CHECK(layer->index == times->calls - 1);
        CHECK(layer->data && layer->rank > 0 && layer->name[0] && layer->title[0]);
        printf("%3d  %10.6f s  %s: %s\n", layer->index, seconds, layer->name, layer->title);
        times->seconds += seconds;
        times->layers = layer->index + 1;
    } else {
        CHECK(times->calls == 0);
    }
    ++times->calls;
    times->last = clock();
}

static void time_layers(MODEL *model, struct times *times)
{
    memset(times, 0, sizeof *times);
    M(trace)(model, note_time, times);
    CHECK_IS(run(model, &inputs, &outputs), M_UPPER(OK));
    CHECK(times->calls == times->layers + 1);
    printf("all  %10.6f s\n", times->seconds);
}

#ifdef CALLS_OF_A_POOL
static void parallel_for(void *pool, void (*item)(void *context, int index), void *context, int count)
{
    ++*(int *)pool;
    for (int i = 0; i < count; ++i)
        item(context, i);
}
#endif

int main(void)
{
    MODEL *model = NULL;
    struct times times, again;
#ifdef CALLS_OF_A_POOL
    int pool_calls = 0;
#endif

    CHECK_IS(M(create)(&model, NULL), M_UPPER(OK));
    fill(&inputs, 1);
    time_layers(model, &times);
#ifdef CALLS_OF_A_POOL
    CHECK_IS(M(use_threads)(model, 3), M_UPPER(OK));
    time_layers(model, &again);
    CHECK(again.layers == times.layers);
    CHECK_IS(M(use_pool)(model, parallel_for, &pool_calls, 3), M_UPPER(OK));
    time_layers(model, &again);
    CHECK_IS(pool_calls, 1);
#else
    time_layers(model, &again);
#endif
    CHECK(again.layers == times.layers);
    M(trace)(model, NULL, NULL);
    CHECK_IS(run(model, &inputs, &outputs), M_UPPER(OK));
    CHECK(again.calls == again.layers + 1);
    M(destroy)(model);
    return 0;
}
