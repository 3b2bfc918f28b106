/* two_models.c: two models in one process, each with several instances, at the same time.
 *
 * usage: two_models DEVICE
 */
#include <pthread.h>
#include <stdio.h>

#include "instances.h"

static void *run_tables(void *nothing)
{
    tables_run_threads();
    return nothing;
}

int main(int argc, char **argv)
{
    pthread_t thread;

    if (argc != 2)
        return 1;
    /* Not in threads yet: PoCL (3.0, 3.1) crashes where two threads are the first to ask for its devices. */
    tables_take_turns(argv[1]);
    weighty_take_turns(argv[1]);
    if (pthread_create(&thread, NULL, run_tables, NULL))
        return 1;
    weighty_run_threads();
    pthread_join(thread, NULL);
    puts("ok");
    return 0;
}
