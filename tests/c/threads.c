/* threads.c: a model of the plain C backend on several threads.
 *
 *     threads   compares the results of one thread, of several, and of the application's own
 *
 * With -DSMALL_STACKS, for glibc, threads are started where the default is a stack of 64 KB, less than musl's.
 */
#ifdef SMALL_STACKS
#define _GNU_SOURCE
#endif
#include "check.h"

#include <pthread.h>

enum { COUNT = 3, RUNS = 20 };

static struct inputs inputs;
static struct outputs alone, together;

struct call {
    void (*item)(void *context, int index);
    void *context;
    int index;
};

static void *one_item(void *argument)
{
    const struct call *call = argument;
    call->item(call->context, call->index);
    return NULL;
}

/* A thread for each item: the simplest of all pools. */
static void parallel_for(void *pool, void (*item)(void *context, int index), void *context, int count)
{
    pthread_t threads[COUNT];
    struct call calls[COUNT];
    pthread_attr_t attributes;

    ++*(int *)pool;
    CHECK_IS(pthread_attr_init(&attributes), 0);
    CHECK_IS(pthread_attr_setstacksize(&attributes, 1 << 20), 0);
    for (int i = 0; i < count; ++i) {
        calls[i] = (struct call){item, context, i};
        CHECK_IS(pthread_create(&threads[i], &attributes, one_item, &calls[i]), 0);
    }
    for (int i = 0; i < count; ++i)
        CHECK_IS(pthread_join(threads[i], NULL), 0);
    CHECK_IS(pthread_attr_destroy(&attributes), 0);
}

/* Items one after the other: the first worker computes everything, and the others find nothing to do. */
static void serial_for(void *pool, void (*item)(void *context, int index), void *context, int count)
{
    ++*(int *)pool;
    for (int i = 0; i < count; ++i)
        item(context, i);
}

static void compare(MODEL *model)
{
    for (unsigned seed = 1; seed <= RUNS; ++seed) {
        fill(&inputs, seed);
        CHECK_IS(run(model, &inputs, &together), M_UPPER(OK));
    }
    CHECK(memcmp(&alone, &together, sizeof alone) == 0);
    CHECK_IS(M(selftest)(model), M_UPPER(OK));
}

#ifdef SMALL_STACKS
static void set_default_stack(size_t bytes)
{
    pthread_attr_t attributes;

    CHECK_IS(pthread_attr_init(&attributes), 0);
    CHECK_IS(pthread_attr_setstacksize(&attributes, bytes), 0);
    CHECK_IS(pthread_setattr_default_np(&attributes), 0);
    CHECK_IS(pthread_attr_destroy(&attributes), 0);
}
#else
#define set_default_stack(bytes) (void)(bytes)
#endif

int main(void)
{
    MODEL *model = NULL;
    int calls = 0;

    CHECK_IS(M(create)(&model, NULL), M_UPPER(OK));
    CHECK_IS(M(use_threads)(model, 0), M_UPPER(BAD_ARGUMENT));
    CHECK_IS(M(use_threads)(NULL, 2), M_UPPER(BAD_ARGUMENT));
    CHECK_IS(M(use_threads)(model, M_UPPER(MOST_THREADS) + 1), M_UPPER(BAD_ARGUMENT));
    CHECK_IS(M(use_pool)(model, NULL, NULL, 2), M_UPPER(BAD_ARGUMENT));

    fill(&inputs, RUNS);
    CHECK_IS(run(model, &inputs, &alone), M_UPPER(OK));
    set_default_stack(65536);
    CHECK_IS(M(use_threads)(model, COUNT), M_UPPER(OK));
    set_default_stack(8388608);
    compare(model);
    CHECK_IS(M(use_threads)(model, 1), M_UPPER(OK));
    compare(model);
    CHECK_IS(M(use_pool)(model, parallel_for, &calls, COUNT), M_UPPER(OK));
    compare(model);
    CHECK_IS(M(use_pool)(model, serial_for, &calls, COUNT), M_UPPER(OK));
    compare(model);
    CHECK_IS(calls, 2 * (RUNS + 1));
    CHECK_IS(M(use_threads)(model, 2), M_UPPER(OK));
    compare(model);
    M(destroy)(model);
    puts("ok");
    return 0;
}
