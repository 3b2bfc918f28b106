#ifndef PROCESS_H
#define PROCESS_H

#include <stdint.h>

uintptr_t _beginthreadex(
    void *security, unsigned stack, unsigned(__stdcall *start)(void *), void *argument, unsigned flags, unsigned *id);

#endif
