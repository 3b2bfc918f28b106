/* instances.c: several instances of a model, in turns and in threads.  Compiled once for each model in the program. */
#include <pthread.h>

#include "check.h"
#include "instances.h"

#define OK M_UPPER(OK)

enum { THREADS = 4, ROUNDS = 10 };

/* One thread's: an instance, made in the thread, and what it has to answer. */
struct job {
    const char *device;
    struct inputs inputs;
    struct outputs wanted;
};

static void *work(void *argument)
{
    struct job *job = argument;
    struct outputs got;
    MODEL *model;

    CHECK_IS(M(create)(&model, job->device), OK);
    for (int i = 0; i < ROUNDS; ++i) {
        memset(&got, 0xff, sizeof got);
        CHECK_IS(run(model, &job->inputs, &got), OK);
        check_equal(&got, &job->wanted);
    }
    M(destroy)(model);
    return NULL;
}

static struct job jobs[THREADS];
static MODEL *models[2];

void M(take_turns)(const char *device)
{
    struct outputs got;

    for (int i = 0; i < 2; ++i)
        CHECK_IS(M(create)(&models[i], device), OK);
    for (unsigned i = 0; i < THREADS; ++i) {
        jobs[i].device = device;
        fill(&jobs[i].inputs, i);
        CHECK_IS(run(models[0], &jobs[i].inputs, &jobs[i].wanted), OK);
        CHECK_IS(run(models[1], &jobs[i].inputs, &got), OK);
        check_equal(&got, &jobs[i].wanted);
    }
    M(destroy)(models[1]);
}

void M(run_threads)(void)
{
    pthread_t threads[THREADS];
    struct outputs got;

    for (int i = 0; i < THREADS; ++i)
        CHECK(pthread_create(&threads[i], NULL, work, &jobs[i]) == 0);
    for (int i = 0; i < THREADS; ++i)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < THREADS; ++i) {
        CHECK_IS(run(models[0], &jobs[i].inputs, &got), OK);
        check_equal(&got, &jobs[i].wanted);
    }
    M(destroy)(models[0]);
}
