/* instances.h: what instances.c defines, for two models. */
#ifndef INSTANCES_H
#define INSTANCES_H

/* Two instances in turns; one of them lives on. */
void tables_take_turns(const char *device);
void weighty_take_turns(const char *device);

/* Four threads, each with an instance of its own and the answers of the one above; then that one again. */
void tables_run_threads(void);
void weighty_run_threads(void);

#endif
